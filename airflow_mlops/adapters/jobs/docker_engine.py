"""Run a job as a container of a Docker engine, so that it survives its worker.

The container's name follows from the job's directory, and an engine has one container of a name: however often and
from wherever a job is started, there is one. So a worker that comes back finds it without having stored anything.

Files are shared by path: the job's directory, its inputs and its script lie in the container where they lie here, so
the request reads the same inside and outside. The engine must see the same paths: on this machine or on shared storage.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.jobs.docker_client import JOB_LABEL, REQUEST_LABEL, Container, DockerClient
from airflow_mlops.adapters.jobs.docker_options import ContainerOptions, creation, owner_of_files
from airflow_mlops.codec import canonical_json, decode, digest_of, encode
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.launch import BUSY
from airflow_mlops.container.outcome import Outcome, collect, is_done, outcome
from airflow_mlops.exceptions import (
    ConflictError,
    ContractError,
    MLOpsError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.ports import JobPhase

__all__ = ["DockerEngineRunner"]

_FILE = "container.json"
# Containers of the same name that end or vanish while somebody looks: more often than this is no coincidence.
_MOST_LOOKS = 10
_LOOK_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class _Ended:
    """What the engine said of a container that has ended; kept, because the container is removed.

    :param exit_code: of its first process
    :param out_of_memory: whether a process was killed for want of memory
    :param memory_bytes: the limit, 0 for none
    :param error: why it could not be started
    :param last_lines: what it printed, where the job's own log cannot have it
    :param image: ``sha256:…`` of the image that it was made from
    """

    exit_code: int
    out_of_memory: bool
    memory_bytes: int
    error: str = ""
    last_lines: str = ""
    image: str = ""


class DockerEngineRunner:
    """Runs each job in a container of its own.

    :param api: ``docker.APIClient`` of the engine
    :param options: image, resources and the like
    :param stop_grace_seconds: how long a stopped job may take to end before it is killed
    """

    def __init__(self, api: Any, options: ContainerOptions, *, stop_grace_seconds: float = 10.0) -> None:
        self._docker = DockerClient(api)
        self._options = options
        self._stop_grace_seconds = stop_grace_seconds

    def start(self, job_dir: Path, request: JobRequest, entrypoint: str, environment: Mapping[str, str]) -> None:
        """Make sure that the job runs or has succeeded; see :class:`~airflow_mlops.training.ports.JobRunner`."""
        directory = JobDirectory(job_dir.resolve())
        owner = owner_of_files(self._options)
        arguments = creation(
            self._docker.api,
            self._options,
            directory=directory.path,
            request=request,
            entrypoint=entrypoint,
            environment=environment,
        )
        labels = {JOB_LABEL: request.job_id, REQUEST_LABEL: digest_of([encode(request), entrypoint])}
        name = _name(directory.path)
        directory.path.mkdir(parents=True, exist_ok=True)
        for _ in range(_MOST_LOOKS):
            found = self._docker.find(name)
            if found is not None and found.is_live and found.request != labels[REQUEST_LABEL]:
                raise ConflictError(f"{directory.path}: a job with another request is running here")
            if found is not None and found.is_live:
                if found.status == "created":
                    self._begin(directory, request, found, owner)
                return
            if found is None and is_done(directory, request):
                return
            if found is None and not directory.is_running:
                self._docker.create(name, labels, arguments)
            elif found is None or not self._settle(directory, found):
                # Somebody else is at it: another worker with the same job, or one that clears up the last attempt.
                time.sleep(_LOOK_SECONDS)
        if directory.is_running:
            raise ConflictError(f"{directory.path}: a process outside the Docker engine runs this job")
        raise TransientAdapterError(f"{directory.path}: containers named {name} come and go; somebody removes them")

    def phase(self, job_dir: Path) -> JobPhase:
        """Say where the job stands."""
        return self._look(JobDirectory(job_dir.resolve())).phase

    def stop(self, job_dir: Path) -> bool:
        """Stop and remove the job's container, and return whether it ran."""
        directory = JobDirectory(job_dir.resolve())
        found = self._docker.find(_name(directory.path))
        if found is None:
            return False
        if not found.is_over:
            self._docker.stop(found.id, self._stop_grace_seconds)
        ended = self._docker.find(found.id)
        if ended is not None:
            self._settle(directory, ended)
        return not found.is_over

    def collect(self, job_dir: Path) -> JobResult:
        """Return the verified result; see :class:`~airflow_mlops.training.ports.JobRunner`."""
        directory = JobDirectory(job_dir.resolve())
        seen = self._look(directory)
        if seen.problem is not None:
            raise seen.problem
        return collect(directory)

    def image(self, job_dir: Path) -> str | None:
        """Return ``sha256:…`` of the image that a job that is over ran in, None if nobody knows it any more."""
        ended = _ended(JobDirectory(job_dir.resolve()))
        return ended.image or None if ended is not None else None

    def _begin(
        self, directory: JobDirectory, request: JobRequest, container: Container, owner: tuple[int, int] | None
    ) -> None:
        lock = directory.lock()
        if lock is not None:
            try:
                # Another worker may have started it meanwhile; then the directory is the job's.
                now = self._docker.find(container.id)
                if now is not None and now.status == "created":
                    directory.prepare(request)
                    _hand_over(directory.path, owner)
            finally:
                os.close(lock)
        try:
            self._docker.start(container.id)
        except PermanentAdapterError:
            if self._docker.find(container.id) is None:
                return  # another worker started it, and it has ended already
            self._docker.remove(container.id)
            raise

    def _look(self, directory: JobDirectory) -> Outcome:
        found = self._docker.find(_name(directory.path))
        if found is not None and (not found.is_over or not self._settle(directory, found)):
            problem = TransientAdapterError(f"{directory.path}: the job is still running")
            return Outcome(phase=JobPhase.RUNNING, problem=problem)
        seen = outcome(directory)
        ended = _ended(directory)
        if ended is None or seen.phase not in (JobPhase.FAILED, JobPhase.LOST):
            return seen
        return _explained(directory, seen, ended)

    def _settle(self, directory: JobDirectory, container: Container) -> bool:
        """Keep what the engine knows of a container that has ended, and remove it; False if somebody else is at it."""
        lock = directory.lock()
        if lock is None:
            return False
        try:
            now = self._docker.find(container.id)
            if now is None:
                return True
            before_the_job = directory.attempt() is None and not directory.is_sealed
            ended = _Ended(
                exit_code=now.exit_code,
                out_of_memory=now.out_of_memory,
                memory_bytes=now.memory_bytes,
                error=now.error,
                last_lines=self._docker.last_lines(now.id) if before_the_job else "",
                image=now.image,
            )
            directory.write(_FILE, canonical_json(encode(ended)))
            self._docker.remove(now.id)
        finally:
            os.close(lock)
        return True


def _name(path: Path) -> str:
    return f"mlops-{hashlib.sha256(str(path).encode()).hexdigest()[:24]}"


def _hand_over(directory: Path, owner: tuple[int, int] | None) -> None:
    if owner is None:
        return
    for path in (directory, *directory.rglob("*")):
        os.chown(path, *owner, follow_symlinks=False)


def _ended(directory: JobDirectory) -> _Ended | None:
    try:
        return decode(_Ended, json.loads((directory.path / _FILE).read_text()))
    except FileNotFoundError:
        return None
    except (ValueError, SpecificationError) as error:
        raise ContractError(f"{directory.path / _FILE} cannot be read: {error}") from error


def _explained(directory: JobDirectory, seen: Outcome, ended: _Ended) -> Outcome:
    if ended.out_of_memory:
        return replace(seen, phase=JobPhase.FAILED, problem=_out_of_memory(directory, seen, ended))
    if seen.phase is not JobPhase.LOST:
        return seen
    if ended.exit_code in (0, BUSY, 137, 143) and not ended.error:
        text = f"the container was ended from outside, with exit code {ended.exit_code}"
        return replace(seen, problem=TransientAdapterError(f"{text}; {_tail(directory, ended)}"))
    text = f"the container ended with exit code {ended.exit_code} before the job began"
    said = f" ({ended.error})" if ended.error else ""
    problem = PermanentAdapterError(f"{text}{said}; {_tail(directory, ended)}")
    return replace(seen, phase=JobPhase.FAILED, problem=problem)


def _out_of_memory(directory: JobDirectory, seen: Outcome, ended: _Ended) -> MLOpsError:
    limit = f"its limit is {ended.memory_bytes / 2**20:.0f} MiB" if ended.memory_bytes else "the machine has no more"
    reported = f"; the script said: {seen.result.error}" if seen.result is not None and seen.result.error else ""
    text = f"the job ran out of memory and was killed: {limit}. Give it more with docker_resources{reported}"
    return PermanentAdapterError(f"{text}; {_tail(directory, ended)}")


def _tail(directory: JobDirectory, ended: _Ended) -> str:
    said = ended.last_lines or directory.log_tail()
    return f"last lines:\n{said}" if said else "it printed nothing"
