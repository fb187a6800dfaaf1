"""Start a job's script and see it end: ``python -m airflow_mlops.container.launch --directory DIR ENTRYPOINT``.

The launcher holds the directory's lock, or inherits it from whoever started it, and passes it to the script, so the
job counts as running for as long as either lives. It stays beside the script for one reason: when the worker that
started the job has died, somebody must still record how the script ended.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from airflow_mlops.container.directory import Attempt, ExitStatus, JobDirectory, ProcessIdentity
from airflow_mlops.container.outcome import outcome
from airflow_mlops.container.output import copied_to
from airflow_mlops.exceptions import ContractError
from airflow_mlops.training.contract import JOB_DIRECTORY_VARIABLE
from airflow_mlops.training.ports import JobPhase

__all__ = ["command", "main"]

#: Exit code for "another process runs this job" (EX_TEMPFAIL).
BUSY = 75


def command(entrypoint: str) -> list[str]:
    """Interpreter arguments for a file (``train.py``) or a module (``package.module``)."""
    return [entrypoint] if entrypoint.endswith(".py") or os.sep in entrypoint else ["-m", entrypoint]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the job of one directory and return the script's exit code, or 128 and the signal's number."""
    parser = argparse.ArgumentParser(prog="python -m airflow_mlops.container.launch", description=__doc__)
    parser.add_argument("--directory", type=Path, required=True, help="the job directory, with its request.json")
    parser.add_argument("--lock-fd", type=int, help="open file that already holds the directory's lock")
    parser.add_argument("--keep-output", action="store_true", help="append what the job prints to its log, too")
    parser.add_argument("entrypoint", help="path of a Python file, or name of a module")
    options = parser.parse_args(arguments)
    directory = JobDirectory(options.directory.resolve())
    lock = options.lock_fd
    if lock is None:
        lock = directory.lock()
        if lock is None:
            print(f"{directory.path}: another process runs this job", file=sys.stderr)  # noqa: T201 - a command
            return BUSY
        request = directory.request()
        if request is None:
            raise ContractError(f"{directory.path}: no request.json, so there is nothing to do")
        if outcome(directory, running=False).phase is JobPhase.SUCCEEDED:
            return 0
        directory.prepare(request)
    if not options.keep_output:
        return _run(directory, lock, options.entrypoint)
    with copied_to(directory.log):
        return _run(directory, lock, options.entrypoint)


def _run(directory: JobDirectory, lock: int, entrypoint: str) -> int:
    launcher, started_at = ProcessIdentity.of(os.getpid()), time.time()
    offset = directory.log.stat().st_size if directory.log.exists() else 0
    begun = Attempt(launcher=launcher, script=None, started_at=started_at, log_offset=offset)
    directory.record_attempt(begun)
    environment = {**os.environ, JOB_DIRECTORY_VARIABLE: str(directory.path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(  # noqa: S603 - the entrypoint is what the caller asked to run
        [sys.executable, *command(entrypoint)], cwd=directory.path, env=environment, pass_fds=[lock]
    ) as script:
        directory.record_attempt(
            Attempt(launcher=launcher, script=ProcessIdentity.of(script.pid), started_at=started_at, log_offset=offset)
        )
        _forward(script)
        code = script.wait()
    directory.record_exit(ExitStatus(code=code if code >= 0 else None, signal=-code if code < 0 else None))
    return code if code >= 0 else 128 - code


def _forward(script: subprocess.Popen[bytes]) -> None:
    def pass_on(number: int, _: FrameType | None) -> None:
        script.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, pass_on)


if __name__ == "__main__":
    sys.exit(main())
