"""Whether the DAGs parse, how long it takes, and whether they load what tasks alone should load."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.cli.doctor import parse_side
from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import Site

__all__ = ["parse_cost", "tell_cost"]

PARSE_SECONDS = 60.0
_SLOW_SECONDS = 2.0
_NAMED = 5


def parse_cost(site: Site) -> Iterator[Finding]:
    """Parse the DAG folder in a process of its own, as the DAG processor does."""
    del site
    from airflow.configuration import conf

    folder = Path(conf.get_mandatory_value("core", "dags_folder")).expanduser()
    if not folder.is_dir():
        yield warn("dags_folder", f"{folder}: there is no such folder", "set [core] dags_folder")
        return
    with tempfile.TemporaryDirectory() as scratch:
        output = Path(scratch) / "found.json"
        # DAG files print what they like; the answer goes to a file.
        done = subprocess.run(  # noqa: S603 - this interpreter
            [sys.executable, str(Path(parse_side.__file__)), str(folder), str(output)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PARSE_SECONDS,
        )
        if not output.exists():
            said = (done.stderr.strip().splitlines() or [f"status {done.returncode}"])[-1]
            yield failed("dags_folder", f"{folder} cannot be parsed: {said}", "run `airflow dags list-import-errors`")
            return
        yield from tell_cost(json.loads(output.read_text()), str(folder))


def tell_cost(found: Mapping[str, Any], folder: str) -> Iterator[Finding]:
    """Say what parsing showed.

    :param found: what :mod:`airflow_mlops.cli.doctor.parse_side` wrote
    """
    for file, error in sorted(found["errors"].items()):
        last = error.strip().splitlines()[-1] if error.strip() else "no message"
        yield failed(file, f"does not parse: {last}", "correct the file; its DAGs are missing until then")
    files = found["files"]
    slow = {name: seconds for name, seconds in files.items() if seconds > _SLOW_SECONDS}
    for name, seconds in slow.items():
        yield warn(
            name,
            f"takes {seconds:.1f} s to parse",
            "move work out of the file into tasks; it is parsed again and again",
        )
    if found["heavy"]:
        yield warn(
            "imports",
            f"parsing loads {', '.join(found['heavy'])}",
            "import these inside tasks: every parse pays for them in time and memory",
        )
    if not files:
        yield note("dags_folder", f"{folder} holds no DAG file")
    elif not slow and not found["errors"]:
        slowest, seconds = max(files.items(), key=lambda one: one[1])
        total = sum(files.values())
        many = "1 file" if len(files) == 1 else f"{len(files)} files"
        yield ok("dags_folder", f"{many} in {total:.2f} s; the slowest, {slowest}, takes {seconds:.2f} s")
