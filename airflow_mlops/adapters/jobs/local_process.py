"""Run a job as a process of this machine, in another Python environment, so that it survives its worker."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Mapping
from pathlib import Path

from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.outcome import collect, is_done, outcome
from airflow_mlops.container.stop import stop_job
from airflow_mlops.exceptions import ConflictError, SpecificationError, TransientAdapterError
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.ports import JobPhase

__all__ = ["LocalProcessRunner"]

# What a process needs to work at all. The rest of this process's environment stays here: it may hold Airflow's
# connections and keys. The last one tells which embedded stack a job belongs to, so that the stack can stop it.
_PASSED_ON = (
    *("PATH", "HOME", "LANG", "LANGUAGE", "LC_ALL", "TMPDIR", "TZ", "USER", "LD_LIBRARY_PATH"),
    "AIRFLOW_MLOPS_STACK",
)


class LocalProcessRunner:
    """Starts each job in a session of its own.

    :param python: interpreter of the model environment
    :param stop_grace_seconds: how long a stopped job may take to end before it is killed
    """

    def __init__(self, python: Path, *, stop_grace_seconds: float = 5.0) -> None:
        self._python = python
        self._stop_grace_seconds = stop_grace_seconds

    def start(self, job_dir: Path, request: JobRequest, entrypoint: str, environment: Mapping[str, str]) -> None:
        """Make sure that the job runs or has succeeded; see :class:`~airflow_mlops.training.ports.JobRunner`."""
        self._check(entrypoint)
        directory = JobDirectory(job_dir.resolve())
        lock = directory.lock()
        if lock is None:
            self._join(directory, request)
            return
        try:
            if not is_done(directory, request, running=False):
                directory.prepare(request)
                self._launch(directory, lock, entrypoint, environment)
        finally:
            # The job's processes hold the lock by their own copies of the open file.
            os.close(lock)

    def phase(self, job_dir: Path) -> JobPhase:
        """Say where the job stands."""
        return outcome(JobDirectory(job_dir)).phase

    def stop(self, job_dir: Path) -> bool:
        """End the job's processes, after checking that they are still the ones that were started."""
        return stop_job(JobDirectory(job_dir), self._stop_grace_seconds)

    def collect(self, job_dir: Path) -> JobResult:
        """Return the verified result; see :class:`~airflow_mlops.training.ports.JobRunner`."""
        return collect(JobDirectory(job_dir))

    def _check(self, entrypoint: str) -> None:
        if not self._python.is_file():
            raise SpecificationError("python", str(self._python), "the path of a Python interpreter that exists")
        if (entrypoint.endswith(".py") or os.sep in entrypoint) and not Path(entrypoint).is_file():
            raise SpecificationError(
                "entrypoint", entrypoint, "the path of a Python file that exists, or a module name"
            )

    @staticmethod
    def _join(directory: JobDirectory, request: JobRequest) -> None:
        # Whoever holds the lock writes the request first; wait for it rather than judge a half-prepared directory.
        deadline = time.monotonic() + 5
        while directory.is_running and time.monotonic() < deadline:
            running = directory.request()
            if running == request:
                return
            if running is not None and directory.attempt() is not None:
                break
            time.sleep(0.02)
        if directory.is_running:
            raise ConflictError(f"{directory.path}: a job with another request is running here")
        if not is_done(directory, request, running=False):
            raise TransientAdapterError(f"{directory.path}: another process held the job and let it go unfinished")

    def _launch(self, directory: JobDirectory, lock: int, entrypoint: str, environment: Mapping[str, str]) -> None:
        inherited = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        command = [
            str(self._python), "-m", "airflow_mlops.container.launch",
            "--directory", str(directory.path), "--lock-fd", str(lock), entrypoint,
        ]  # fmt: skip
        with directory.log.open("ab") as log:
            child = subprocess.Popen(  # noqa: S603 - the interpreter and the script are the user's own
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=directory.path,
                env={**inherited, **environment},
                pass_fds=[lock],
                start_new_session=True,
            )
        # Nobody here needs the exit code, but the system keeps a dead child until its parent asks.
        threading.Thread(target=child.wait, name=f"reaper of {child.pid}", daemon=True).start()
