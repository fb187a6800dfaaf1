"""The helper for training scripts: read the request, verify the inputs, leave a result that counts."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_mlops.container.collective import Collective
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.manifest import verify
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JOB_DIRECTORY_VARIABLE, Group, JobRequest, JobResult, Tracking

__all__ = ["TrainingJob", "training_job"]

# What a process is that works alone; the port is the one that users of torch.distributed know.
_ALONE = Group(world_size=1, rendezvous="127.0.0.1:29500")


class TrainingJob:
    """A running job as its script sees it.

    :param directory: the job's directory
    :param request: what was asked
    """

    def __init__(self, directory: JobDirectory, request: JobRequest) -> None:
        self.request = request
        self.finished = False
        self._directory = directory
        self._group = request.group or _ALONE
        self._collective = Collective(self._group, request.job_id)

    @property
    def rank(self) -> int:
        """Which of the job's processes this is, from 0; its result is the job's if it is 0."""
        return self._group.rank

    @property
    def world_size(self) -> int:
        """How many processes do the job together."""
        return self._group.world_size

    @property
    def rendezvous(self) -> tuple[str, int]:
        """Host and port that are rank 0's to listen at, as other processes reach them."""
        host, _, port = self._group.rendezvous.rpartition(":")
        return host.strip("[]"), int(port)

    @property
    def parameters(self) -> Mapping[str, Any]:
        """The settings of this job, as given."""
        return self.request.parameters

    @property
    def output(self) -> Path:
        """Where the script writes; everything below becomes part of the job's output."""
        return self._directory.path

    @property
    def tracking(self) -> Tracking | None:
        """Where to log, None when nobody asked for it."""
        return self.request.tracking

    def settings(self, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters over their defaults.

        :param defaults: every accepted parameter and its default, whose type the given value must have
        :raises SpecificationError: on a parameter that is not accepted or has another type
        """
        for name, value in self.parameters.items():
            if name not in defaults:
                near = difflib.get_close_matches(name, defaults, n=1)
                hint = f"did you mean {near[0]!r}? One of" if near else "one of"
                raise SpecificationError(
                    f"parameters.{name}", value, f"no such parameter; {hint} {', '.join(defaults)}"
                )
            _check_type(f"parameters.{name}", value, type(defaults[name]))
        return {**defaults, **self.parameters}

    def datasets(self, role: str) -> tuple[DatasetRef, ...]:
        """Return the references that play a role.

        :raises SpecificationError: if the request names none for it
        """
        refs = self.request.datasets.get(role, ())
        if not refs:
            given = ", ".join(sorted(self.request.datasets)) or "none"
            raise SpecificationError(f"datasets.{role}", None, f"at least one dataset; the request has roles: {given}")
        return refs

    def paths(self, role: str) -> list[Path]:
        """Return the local paths of a role's datasets, each verified against its digest.

        :raises DigestMismatchError: if the bytes are not the ones that the request names
        """
        return [_local(ref) for ref in self.datasets(role)]

    def model(self, role: str) -> tuple[Path, ModelRef]:
        """Return a model's verified local path and its reference.

        :raises SpecificationError: if the request has no model in this role
        """
        ref = self.request.models.get(role)
        if ref is None:
            given = ", ".join(sorted(self.request.models)) or "none"
            raise SpecificationError(f"models.{role}", None, f"a model; the request has roles: {given}")
        return _local(ref), ref

    def all_reduce(self, numbers: Iterable[float]) -> list[float]:
        """Return the sum of all processes' vectors, number by number; a lone process gets its own back.

        It goes through rank 0 over TCP, at :attr:`rendezvous`, so nothing else can listen there.

        :param numbers: this process's vector; all have the same length
        :raises PeerLostError: if another process has gone away, or does not come
        :raises ContractError: if the processes disagree about how often they sum, or how many numbers
        """
        return self._collective.all_reduce(numbers)

    def close(self) -> None:
        """Leave the other processes."""
        self._collective.close()

    def finish(
        self,
        *,
        metrics: Mapping[str, float],
        artifacts: Mapping[str, str] | None = None,
        summary: Mapping[str, Any] | None = None,
    ) -> None:
        """Report success; the last thing that a script does. Only rank 0 must: its output is the job's.

        :param metrics: name to number
        :param artifacts: role to path relative to :attr:`output`
        :param summary: anything else that is small and JSON-safe
        :raises ContractError: if an artefact does not exist
        """
        result = JobResult(
            job_id=self.request.job_id,
            status="succeeded",
            metrics={name: float(value) for name, value in metrics.items()},
            artifacts=dict(artifacts or {}),
            summary=dict(summary or {}),
        )
        for role, path in result.artifacts.items():
            if not (self.output / path).exists():
                raise ContractError(f"artefact {role!r}: nothing lies at {path!r} in the job directory")
        self._directory.finish(result)
        self.finished = True


@contextmanager
def training_job() -> Iterator[TrainingJob]:
    """Open the job that this process was started for; an exception inside becomes the job's reported failure.

    :raises ContractError: outside a job, or if the body ends without :meth:`TrainingJob.finish`
    """
    location = os.environ.get(JOB_DIRECTORY_VARIABLE)
    if not location:
        raise ContractError(
            f"{JOB_DIRECTORY_VARIABLE} is not set: start this script as a job, "
            "python -m airflow_mlops.container.launch --directory DIR SCRIPT"
        )
    directory = JobDirectory(Path(location))
    request = directory.request()
    if request is None:
        raise ContractError(f"{location}: no request.json, so there is nothing to do")
    job = TrainingJob(directory, request)
    try:
        yield job
        if not job.finished and job.rank:
            job.finish(metrics={})
        if not job.finished:
            raise ContractError("the script came to its end without calling job.finish()")  # noqa: TRY301
    except BaseException as error:
        text = f"{type(error).__name__}: {error}"
        directory.finish(JobResult(job_id=request.job_id, status="failed", error=text[:2000]))
        raise
    finally:
        # Last, so that whoever is left alone by a failure finds its reason recorded before its own.
        job.close()


def _local(ref: DatasetRef | ModelRef) -> Path:
    if ref.uri.startswith("file://"):
        path = Path(ref.uri.removeprefix("file://"))
    elif "://" in ref.uri:
        raise ContractError(f"{ref.uri}: a job reads local files only; whoever starts it brings the data to it")
    else:
        path = Path(ref.uri)
    verify(path, ref.digest)
    return path


def _check_type(where: str, value: Any, expected: type) -> None:
    number_for_float = expected is float and isinstance(value, int) and not isinstance(value, bool)
    exact = isinstance(value, expected) and not (isinstance(value, bool) and expected is not bool)
    if not (exact or number_for_float):
        raise SpecificationError(where, value, f"a value of type {expected.__name__}")
