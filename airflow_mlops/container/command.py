"""A plain command as a job: what it leaves in the working directory is its result.

The request's parameter ``command`` holds the words. The command ends the job: with exit code 0 it has succeeded, with
any other it has failed and the job ends with the same code.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from types import FrameType
from typing import Any

from airflow_mlops.container.job import training_job
from airflow_mlops.exceptions import ContractError

__all__ = ["main"]

_NOT_FOUND = 127


def main() -> int:
    """Run the command of this job and return its exit code, or 128 and the signal's number."""
    try:
        with training_job() as job:
            code = _run(_words(job.parameters.get("command")))
            _check(code)
            job.finish(metrics={}, summary={"exit_code": 0})
    except CommandError as error:
        return error.code
    return 0


class CommandError(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(f"the command ended with exit code {code}")
        self.code = code


def _check(code: int) -> None:
    if code != 0:
        raise CommandError(code)


def _words(given: Any) -> list[str]:
    if not isinstance(given, list) or not given or not all(isinstance(one, str) for one in given):
        raise ContractError(f"the parameter 'command' is {given!r}, not a list of words")
    return given


def _run(words: list[str]) -> int:
    try:
        with subprocess.Popen(words) as process:  # noqa: S603 - the command is the user's own

            def pass_on(number: int, _: FrameType | None) -> None:
                process.send_signal(number)

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, pass_on)
            code = process.wait()
    except OSError as error:
        print(f"{words[0]}: {error.strerror}", file=sys.stderr)  # noqa: T201 - a command
        return _NOT_FOUND
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main())
