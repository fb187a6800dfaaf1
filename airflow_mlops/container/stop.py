"""End a job's processes, and only those."""

from __future__ import annotations

import os
import signal
import time

from airflow_mlops.container.directory import Attempt, JobDirectory

__all__ = ["stop_job"]

_KILLED_SECONDS = 5.0


def stop_job(directory: JobDirectory, grace_seconds: float) -> bool:
    """End the job's processes, after checking that they are still the ones that were started.

    :param grace_seconds: how long they may take to end by themselves before they are killed
    :return: whether there were any
    """
    attempt = directory.attempt()
    if not directory.is_running or attempt is None or not _is_ours(attempt):
        return False
    for number, seconds in ((signal.SIGTERM, grace_seconds), (signal.SIGKILL, _KILLED_SECONDS)):
        try:
            os.killpg(attempt.launcher.pid, number)
        except ProcessLookupError:
            break
        if _ended_within(directory, seconds):
            break
    return True


def _is_ours(attempt: Attempt) -> bool:
    # A process group lives on when its leader was killed but the script was not.
    return attempt.launcher.alive or (attempt.script is not None and attempt.script.alive)


def _ended_within(directory: JobDirectory, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while directory.is_running:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
