"""The training contract: the request that a job gets and the result that it leaves, both versioned.

A job sees one directory. ``request.json`` says what to do; ``result.json`` says what came of it; ``manifest.json``
lists a digest for every other file except the log and the control files in :data:`CONTROL_FILES`. A result without a
manifest is unfinished. Documents of version 1 stay readable for as long as this module lists it in :data:`SUPPORTED`.
"""

from __future__ import annotations

import ipaddress
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import DatasetRef, ModelRef

__all__ = [
    "CONTRACT_VERSION",
    "CONTROL_FILES",
    "JOB_DIRECTORY_VARIABLE",
    "LOG",
    "MANIFEST",
    "REQUEST",
    "RESULT",
    "SUPPORTED",
    "Group",
    "JobRequest",
    "JobResult",
    "Kind",
    "Tracking",
    "dump",
    "is_loopback",
    "parse_request",
    "parse_result",
]

CONTRACT_VERSION = 1
SUPPORTED = (1,)

REQUEST = "request.json"
RESULT = "result.json"
MANIFEST = "manifest.json"
LOG = "job.log"
#: Files of the machinery; they change while a job runs and are no part of its output.
CONTROL_FILES = (
    MANIFEST,
    f"{MANIFEST}.tmp",
    LOG,
    "job.lock",
    "job.pid",
    "job.pid.tmp",
    "exit.json",
    "exit.json.tmp",
    "container.json",
    "container.json.tmp",
)

#: The environment variable that tells a script where its job directory is.
JOB_DIRECTORY_VARIABLE = "MLOPS_JOB_DIRECTORY"

Kind = Literal["train", "evaluate", "check", "export"]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Tracking:
    """Where a script may log what it sees on its way.

    :param uri: address of the MLflow tracking server
    :param run_id: the run that was opened for this job
    """

    uri: str
    run_id: str


@dataclass(frozen=True, kw_only=True)
class Group:
    """Several processes that do one job together, as one of them sees it.

    :param world_size: how many there are
    :param rank: which of them this one is, from 0; the request that the processes have in common says 0
    :param rendezvous: ``host:port`` where rank 0 listens, if it wants to; port 0 where rank 0 shall choose one
    """

    world_size: int
    rank: int = 0
    rendezvous: str

    def __post_init__(self) -> None:
        """Refuse ranks that the group does not have, and addresses without a port."""
        if self.world_size < 1:
            raise SpecificationError("Group.world_size", self.world_size, "at least 1 process")
        if not 0 <= self.rank < self.world_size:
            raise SpecificationError("Group.rank", self.rank, f"a number from 0 to {self.world_size - 1}")
        host, _, port = self.rendezvous.rpartition(":")
        if not host or not port.isdecimal():
            raise SpecificationError("Group.rendezvous", self.rendezvous, "host:port")


def is_loopback(uri: str) -> bool:
    """Whether an address means another machine to everyone who is told of it, a container included."""
    host = urlsplit(uri).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """What a job is asked to do.

    :param kind: ``train``, ``evaluate``, ``check`` or ``export``
    :param job_id: unique name of the job, the same for every try of one task
    :param output_uri: the job directory
    :param datasets: role to the datasets that play it, for example ``train``
    :param models: role to model, for example ``champion``
    :param parameters: the script's own settings; JSON values only
    :param resume_uri: where an earlier try left a checkpoint
    :param tracking: where to log, None for nowhere
    :param code_digest: digest of the script that is to run, None where it is not known; a job whose code changed is
        another job
    :param group: the processes that do it together, None where there is only one
    """

    kind: Kind
    job_id: str
    output_uri: str
    datasets: Mapping[str, tuple[DatasetRef, ...]] = field(default_factory=dict)
    models: Mapping[str, ModelRef] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    resume_uri: str | None = None
    tracking: Tracking | None = None
    code_digest: str | None = None
    group: Group | None = None
    contract_version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        """Refuse what would not survive the way to the job."""
        if not self.job_id:
            raise SpecificationError("JobRequest.job_id", self.job_id, "a non-empty name")
        _check_json(self.parameters, "JobRequest.parameters")


@dataclass(frozen=True, kw_only=True)
class JobResult:
    """What came of a job.

    :param job_id: the request's
    :param status: ``succeeded`` or ``failed``
    :param metrics: name to number
    :param artifacts: role to path relative to the job directory, for example ``model`` to ``model``
    :param summary: anything else that is small and JSON-safe
    :param error: why the job failed; None when it succeeded
    """

    job_id: str
    status: Literal["succeeded", "failed"]
    metrics: Mapping[str, float] = field(default_factory=dict)
    artifacts: Mapping[str, str] = field(default_factory=dict)
    summary: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None
    contract_version: int = CONTRACT_VERSION

    def __post_init__(self) -> None:
        """Refuse paths that lead out of the job directory, metrics that are no numbers, values that are not JSON."""
        for role, path in self.artifacts.items():
            pure = PurePosixPath(path)
            if not path or pure.is_absolute() or ".." in pure.parts:
                raise SpecificationError(f"JobResult.artifacts.{role}", path, "a path inside the job directory")
        for name, value in self.metrics.items():
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
                raise SpecificationError(f"JobResult.metrics.{name}", value, "a finite number")
        _check_json(self.summary, "JobResult.summary")


def _check_json(value: Any, where: str) -> None:
    if value is None or isinstance(value, (str, bool, int)):
        return
    if isinstance(value, float) and math.isfinite(value):
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise SpecificationError(where, key, "text as a key")
            _check_json(item, f"{where}.{key}")
        return
    if isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            _check_json(item, f"{where}[{position}]")
        return
    raise SpecificationError(
        where, value, "a JSON value: text, a finite number, true, false, null, a list or a mapping"
    )


def dump(document: JobRequest | JobResult) -> str:
    """Serialise canonically, so that equal requests are equal text."""
    value = encode(document)
    if value.get("group", ...) is None:
        del value["group"]  # images from before there were groups do not know the field
    return canonical_json(value)


def parse_request(text: str, *, where: str = REQUEST) -> JobRequest:
    """Read a request.

    :param where: what is being read, for messages
    :raises ContractError: if it is not JSON, of an unknown version or has wrong fields
    """
    return _parse(JobRequest, text, where)


def parse_result(text: str, *, where: str = RESULT) -> JobResult:
    """Read a result.

    :param where: what is being read, for messages
    :raises ContractError: if it is not JSON, of an unknown version or has wrong fields
    """
    return _parse(JobResult, text, where)


def _parse(cls: type[T], text: str, where: str) -> T:
    try:
        document = json.loads(text)
    except ValueError as error:
        raise ContractError(f"{where} is not JSON ({error}); it begins with {text[:80]!r}") from error
    if not isinstance(document, dict):
        raise ContractError(f"{where} holds {type(document).__name__}, not a mapping")
    version = document.get("contract_version")
    if version not in SUPPORTED:
        accepted = ", ".join(map(str, SUPPORTED))
        raise ContractError(f"{where} has contract_version {version!r}; this side understands {accepted}")
    try:
        return decode(cls, document)
    except SpecificationError as error:
        raise ContractError(f"{where} breaks the training contract: {error}") from error
