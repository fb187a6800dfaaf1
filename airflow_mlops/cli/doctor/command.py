"""What the command ``airflow mlops doctor`` does."""

from __future__ import annotations

import argparse
import os
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from airflow_mlops.cli.doctor.areas import chosen_checks
from airflow_mlops.cli.doctor.examine import examine
from airflow_mlops.cli.doctor.finding import Finding, as_json, as_table, summary, worst
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.cli.output import exits, say
from airflow_mlops.exceptions import SpecificationError

__all__ = ["doctor", "words_of"]


@exits
def doctor(args: argparse.Namespace) -> int:
    """Look at the installation and print what was found; status 1 if something fails."""
    if args.timeout is not None and args.timeout <= 0:
        raise SpecificationError("--timeout", args.timeout, "more than 0 seconds")
    if args.home:
        return _of_stack(Path(args.home), words_of(args))
    # Airflow's own commands do the same; without it only connections from the environment are found.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    site = Site(conn_ids=args.conn_id, namespace=args.namespace)
    checks = chosen_checks(site, args.only)
    found = _without_log(lambda: examine(checks, site, timeout_seconds=args.timeout))
    if args.json:
        say(as_json(found))
    else:
        say(as_table([one for one in found if one.level != "ok"] if args.quiet else found))
        say(summary(found))
    return 1 if worst(found) in ("fail", "error") else 0


def _without_log(look: Callable[[], Iterable[Finding]]) -> list[Finding]:
    """Keep what hooks log, which Airflow prints to standard output, out of the answer, as its own commands do."""
    from airflow.utils.cli import suppress_logs_and_warning

    found: list[Finding] = []
    suppress_logs_and_warning(lambda _: found.extend(look()))(argparse.Namespace(verbose=False))
    return found


def _of_stack(folder: Path, words: Sequence[str]) -> int:
    """Run the same command in the environment of an embedded stack's Airflow."""
    from airflow_mlops.local.airflow import airflow_command, airflow_environment
    from airflow_mlops.local.home import LocalHome

    home = LocalHome(folder)
    settings = home.settings()
    if settings is None:
        raise SpecificationError("--home", str(folder), "the folder of a stack that `airflow mlops local up` started")
    variables = airflow_environment(home, settings.ports, settings.dags_folder)
    done = subprocess.run(airflow_command(*words), env={**os.environ, **variables}, check=False)  # noqa: S603
    return done.returncode


def words_of(args: argparse.Namespace) -> list[str]:
    """Write the arguments as a command again, without ``--home``."""
    words = ["mlops", "doctor"]
    words += [word for area in args.only for word in ("--only", area)]
    words += [word for conn_id in args.conn_id for word in ("--conn-id", conn_id)]
    words += ["--namespace", args.namespace] if args.namespace else []
    words += ["--timeout", str(args.timeout)] if args.timeout is not None else []
    return words + [f"--{name}" for name in ("quiet", "json") if getattr(args, name)]
