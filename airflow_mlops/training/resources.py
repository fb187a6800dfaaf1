"""What a training in a container may use of its machine."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.exceptions import SpecificationError

__all__ = ["DockerResources", "Ulimit", "size_in_bytes"]

_UNITS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(Ki|Mi|Gi|Ti|)")
#: The engine refuses containers with less.
_LEAST_MEMORY_BYTES = 6 * 2**20
_ULIMITS = frozenset(
    {
        *("core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio"),
        *("rttime", "sigpending", "stack"),
    }
)


def size_in_bytes(value: str, *, where: str) -> int:
    """Read a size such as ``512Mi`` or ``2Gi``, as Kubernetes writes them.

    :param where: the field, for messages
    :raises SpecificationError: if it is not one
    """
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise SpecificationError(where, value, "a size in bytes, or with a unit: 512Mi, 2Gi (Ki, Mi, Gi or Ti)")
    return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True, kw_only=True)
class Ulimit:
    """A limit that the kernel sets to each process.

    :param soft: what applies
    :param hard: how far a process may raise it; None for ``soft``
    """

    soft: int
    hard: int | None = None

    def __post_init__(self) -> None:
        """Refuse a hard limit below the soft one; -1 means that there is none."""
        for name, value in (("soft", self.soft), ("hard", self.hard)):
            if value is not None and value < -1:
                raise SpecificationError(f"Ulimit.{name}", value, "a whole number of at least 0, or -1 for no limit")
        if self.hard is not None and self.hard != -1 and (self.soft == -1 or self.hard < self.soft):
            raise SpecificationError("Ulimit.hard", self.hard, f"at least the soft limit, {self.soft}")


@dataclass(frozen=True, kw_only=True)
class DockerResources:
    """What a training in a Docker container may use; what is not said is not limited.

    :param cpus: processors, for example ``1.5``; a hard limit, not a share
    :param memory: such as ``2Gi``; a job that needs more is killed and its failure says so. Swap is not used.
    :param shared_memory: size of ``/dev/shm``, which data loaders with several processes need
    :param temporary_space: size of ``/tmp``, which is kept in memory and counts against ``memory``
    :param gpus: how many GPUs, -1 for all
    :param gpu_ids: particular GPUs instead, by index or identifier; a MIG slice is one too
    :param ulimits: name, for example ``nofile``, to limit
    """

    cpus: float | None = None
    memory: str | None = None
    shared_memory: str | None = None
    temporary_space: str | None = None
    gpus: int | None = None
    gpu_ids: tuple[str, ...] = ()
    ulimits: Mapping[str, Ulimit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no engine would accept."""
        if self.cpus is not None and not 0.01 <= self.cpus <= 4096:
            raise SpecificationError("DockerResources.cpus", self.cpus, "a number of processors of at least 0.01")
        if self.memory_bytes is not None and self.memory_bytes < _LEAST_MEMORY_BYTES:
            raise SpecificationError("DockerResources.memory", self.memory, "at least 6Mi")
        for name in ("shared_memory", "temporary_space"):
            value = getattr(self, name)
            if value is not None and size_in_bytes(value, where=f"DockerResources.{name}") == 0:
                raise SpecificationError(f"DockerResources.{name}", value, "a size above 0")
        if self.gpus is not None and (self.gpus < -1 or self.gpus == 0):
            raise SpecificationError("DockerResources.gpus", self.gpus, "a number of at least 1, or -1 for all")
        if self.gpus is not None and self.gpu_ids:
            raise SpecificationError("DockerResources.gpu_ids", self.gpu_ids, "nothing where gpus is given, or no gpus")
        for name in self.ulimits:
            if name not in _ULIMITS:
                raise SpecificationError(
                    f"DockerResources.ulimits.{name}", name, f"one of {', '.join(sorted(_ULIMITS))}"
                )

    @property
    def memory_bytes(self) -> int | None:
        """The memory limit as a number."""
        return None if self.memory is None else size_in_bytes(self.memory, where="DockerResources.memory")
