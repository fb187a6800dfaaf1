"""What the command ``airflow mlops doctor`` does."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.cli.doctor.areas import chosen_checks
from airflow_mlops.cli.doctor.examine import examine
from airflow_mlops.cli.doctor.finding import as_json, as_table, summary, worst
from airflow_mlops.cli.doctor.site import Site
from airflow_mlops.cli.output import exits, say
from airflow_mlops.exceptions import SpecificationError

__all__ = ["doctor"]


@exits
def doctor(args: argparse.Namespace) -> int:
    """Look at the installation and print what was found; status 1 if something fails."""
    if args.timeout is not None and args.timeout <= 0:
        raise SpecificationError("--timeout", args.timeout, "more than 0 seconds")
    if args.home:
        return _of_stack(Path(args.home), sys.argv[1:])
    # Airflow's own commands do the same; without it only connections from the environment are found.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    site = Site(conn_ids=args.conn_id, namespace=args.namespace)
    checks = chosen_checks(site, args.only)
    found = list(examine(checks, site, timeout_seconds=args.timeout))
    if args.json:
        say(as_json(found))
    else:
        say(as_table([one for one in found if one.level != "ok"] if args.quiet else found))
        say(summary(found))
    return 1 if worst(found) in ("fail", "error") else 0


def _of_stack(folder: Path, words: Sequence[str]) -> int:
    """Run the same command in the environment of an embedded stack's Airflow."""
    from airflow_mlops.local.airflow import airflow_command, airflow_environment
    from airflow_mlops.local.home import LocalHome

    home = LocalHome(folder)
    settings = home.settings()
    if settings is None:
        raise SpecificationError("--home", str(folder), "the folder of a stack that `airflow mlops local up` started")
    variables = airflow_environment(home, settings.ports, settings.dags_folder)
    command = airflow_command(*_without_home(words))
    return subprocess.run(command, env={**os.environ, **variables}, check=False).returncode  # noqa: S603


def _without_home(words: Sequence[str]) -> list[str]:
    kept, skip = [], False
    for word in words:
        if not skip and not word.startswith("--home"):
            kept.append(word)
        skip = word == "--home" and not skip
    return kept
