"""What training needs from the outside: somewhere to run a job."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Protocol

from airflow_mlops.training.contract import JobRequest, JobResult

__all__ = ["JobPhase", "JobRunner"]


class JobPhase(Enum):
    """Where a job stands."""

    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    #: No process, no result, no exit status: it was never started, or all of it was killed together.
    LOST = "lost"


class JobRunner(Protocol):
    """Runs one job per directory."""

    def start(self, job_dir: Path, request: JobRequest, entrypoint: str, environment: Mapping[str, str]) -> None:
        """Make sure that the job runs or has succeeded; safe to repeat, at any time and by several callers at once.

        :param job_dir: the job's own directory
        :param request: what to do
        :param entrypoint: path of a Python file, or name of a module
        :param environment: variables for the process, beyond the few that every process needs
        :raises SpecificationError: if the entrypoint or the interpreter does not exist
        :raises ConflictError: if a job with another request runs in this directory
        """
        ...

    def phase(self, job_dir: Path) -> JobPhase:
        """Say where the job stands."""
        ...

    def stop(self, job_dir: Path) -> bool:
        """End the job's processes, and only those; return whether there were any."""
        ...

    def collect(self, job_dir: Path) -> JobResult:
        """Return the result after every file was verified against the manifest.

        :raises PermanentAdapterError: if the job failed
        :raises TransientAdapterError: if it was killed or lost, or still runs
        :raises ContractError: if what it left is not what the contract says
        """
        ...
