"""What operators share that run a job as a process of this machine, in the model environment."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.sdk import Context

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.hooks import settings
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.names import safe_name
from airflow_mlops.hooks.transfer import local_path
from airflow_mlops.operators.base import MLOpsOperator

if TYPE_CHECKING:
    from airflow_mlops.references import DatasetRef, ModelRef
    from airflow_mlops.training.contract import JobRequest, JobResult
    from airflow_mlops.training.ports import JobRunner

__all__ = ["LocalJobOperator", "dataset_refs", "local_ref"]

_LOOK_SECONDS = 0.2
Ref = TypeVar("Ref", "DatasetRef", "ModelRef")


class LocalJobOperator(MLOpsOperator):
    """Runs one job per task instance, finds it again after a crash of the worker, and stops it when it is killed."""

    python: str | None
    timeout_seconds: float
    _runner: JobRunner | None = None
    _directory: Path | None = None

    def run_job(
        self,
        context: Context,
        store: ArtifactStore,
        request: JobRequest,
        *,
        entrypoint: str,
        environment: Mapping[str, str],
    ) -> tuple[Path, tuple[str, ...], JobResult]:
        """Run a job to its verified result, with its log in the task's.

        :param request: what to do; its output URI is filled in here
        :param entrypoint: path of a Python file, or name of a module
        :param environment: variables for the process
        :return: the job's directory, the same as parts below the store's root, and the result
        """
        # A job that asks for something else is another job: what the first one left stays as it is.
        identity = digest_of(self.job_identity(request, entrypoint)).removeprefix("sha256:")[:16]
        parts = (*_job_parts(context), identity)
        directory = _local_directory(store, parts)
        request = replace(request, output_uri=f"file://{directory}")
        runner = self.job_runner()
        self._runner, self._directory = runner, directory
        self._start(runner, directory, request, entrypoint, environment)
        return directory, parts, runner.collect(directory)

    def job_runner(self) -> JobRunner:
        """Return where the job runs; the one thing that differs between the places."""
        from airflow_mlops.adapters.jobs.local_process import LocalProcessRunner

        return LocalProcessRunner(Path(self.python) if self.python else settings.model_python())

    def job_identity(self, request: JobRequest, entrypoint: str) -> Any:
        """Return the JSON value of what makes two jobs of a task instance the same job."""
        return [encode(request), entrypoint]

    def on_kill(self) -> None:
        """Stop the job, if it is running and still ours."""
        if self._runner is not None and self._directory is not None and self._runner.stop(self._directory):
            self.log.info("Stopped the job in %s", self._directory)

    def _start(
        self,
        runner: JobRunner,
        directory: Path,
        request: JobRequest,
        entrypoint: str,
        environment: Mapping[str, str],
    ) -> None:
        from airflow_mlops.container.directory import JobDirectory
        from airflow_mlops.operators.log_lines import LogLines
        from airflow_mlops.training.ports import JobPhase

        job = JobDirectory(directory)
        size = job.log.stat().st_size if job.log.exists() else 0
        runner.start(directory, request, entrypoint, environment)
        found = job.attempt()
        # An attempt that is recorded already was begun by an earlier try; a new one records itself in a moment.
        offset = found.log_offset if found else size
        self.log.info("%s job %s", "Found" if found else "Started", directory)
        lines = LogLines(job.log, offset)
        deadline = (found.started_at if found else time.time()) + self.timeout_seconds
        while True:
            phase = runner.phase(directory)
            for line in lines.new(last=phase is not JobPhase.RUNNING):
                self.log.info("%s", line)
            if phase is not JobPhase.RUNNING:
                return
            if time.time() > deadline:
                runner.stop(directory)
                raise TransientAdapterError(
                    f"the job took longer than timeout_seconds={self.timeout_seconds:g} and was stopped; "
                    f"last lines of {job.log}:\n{job.log_tail()}"
                )
            time.sleep(_LOOK_SECONDS)


def dataset_refs(store: ArtifactStore, given: Any, *, where: str) -> tuple[DatasetRef, ...]:
    """Read one dataset reference or a list of them, and bring the data to this machine.

    :param given: an encoded DatasetRef or a list of them
    :param where: the field, for messages
    :raises SpecificationError: if it is neither
    :raises DigestMismatchError: if the data are not what a reference names
    """
    from airflow_mlops.references import DatasetRef

    if isinstance(given, (str, bytes)) or not hasattr(given, "__iter__"):
        raise SpecificationError(where, given, "an encoded DatasetRef or a list of them")
    many = [given] if isinstance(given, Mapping) else list(given)
    refs = tuple(decode(DatasetRef, one, where=f"{where}[{position}]") for position, one in enumerate(many))
    if not refs:
        raise SpecificationError(where, many, "at least one dataset")
    return tuple(local_ref(store, ref) for ref in refs)


def local_ref(store: ArtifactStore, ref: Ref) -> Ref:
    """Bring what a reference names to this machine and point the reference there."""
    path = store.localize(ref)
    return ref if local_path(ref.uri) is not None else replace(ref, uri=f"file://{path}")


def _job_parts(context: Context) -> tuple[str, ...]:
    who = origin(context)
    return "jobs", who.dag_id, who.run_id, who.task_id, str(who.map_index)


def _local_directory(store: ArtifactStore, parts: Sequence[str]) -> Path:
    local = local_path(store.uri(*parts))
    if local is not None:
        return local
    return Path(tempfile.gettempdir(), f"airflow-mlops-{os.getuid()}", *map(safe_name, parts))
