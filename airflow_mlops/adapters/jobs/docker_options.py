"""How a job's container is made: its limits, its files, and what it may not do."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.contract import JobRequest, is_loopback
from airflow_mlops.training.resources import DockerResources, size_in_bytes

__all__ = ["ContainerOptions", "creation", "owner_of_files"]

#: The user of this project's images; the container's where the worker itself is root.
UNPRIVILEGED = 10001


@dataclass(frozen=True, kw_only=True)
class ContainerOptions:
    """What is the same for every job of a runner.

    :param image: what to run; holds Python and this package
    :param resources: what the job may use
    :param python: interpreter in the image
    :param network: name of a network of the engine, ``host`` or ``none``; None for the engine's default
    :param user: ``uid:gid``; None for the worker's own, or an unprivileged one where the worker is root
    :param read_only: whether the job may write to its directory and ``/tmp`` only
    """

    image: str
    resources: DockerResources = field(default_factory=DockerResources)
    python: str = "python"
    network: str | None = None
    user: str | None = None
    read_only: bool = True

    def __post_init__(self) -> None:
        """Refuse an empty image name: the engine's own message would not say whose it is."""
        if not self.image.strip():
            raise SpecificationError("image", self.image, "the name of an image, for example mlops-trainer:1.2")


def owner_of_files(options: ContainerOptions) -> tuple[int, int] | None:
    """Return whom the job's directory must belong to so that the job can write; None where nothing needs to change."""
    if os.geteuid() != 0:
        return None
    name, _, group = _user(options).partition(":")
    if not name.isdigit() or not (group or name).isdigit():
        raise SpecificationError("user", options.user, "numbers, uid or uid:gid")
    return int(name), int(group or name)


def creation(
    client: Any,
    options: ContainerOptions,
    *,
    directory: Path,
    request: JobRequest,
    entrypoint: str,
    environment: Mapping[str, str],
) -> dict[str, Any]:
    """Return the arguments with which the Docker SDK makes the container.

    :raises SpecificationError: if the script does not exist or the job could not reach its tracking server
    """
    from docker.types import Mount

    _check_tracking(request, options)
    script = _script(entrypoint)
    files = dict(_files(directory, request, script))
    return {
        "image": options.image,
        "entrypoint": [options.python, "-m", "airflow_mlops.container.launch"],
        "command": ["--directory", str(directory), "--keep-output", str(script or entrypoint)],
        # A user who is not in the image's list has neither a name nor a home.
        "environment": {"HOME": "/tmp", "USER": "mlops", "TMPDIR": "/tmp", **environment},  # noqa: S108 - its own tmpfs
        "user": _user(options),
        "working_dir": str(directory),
        "host_config": client.create_host_config(
            mounts=[
                Mount(target=str(path), source=str(path), type="bind", read_only=not writable)
                for path, writable in files.items()
            ],
            tmpfs={"/tmp": _tmpfs(options.resources)},  # noqa: S108 - its own tmpfs
            network_mode=options.network,
            read_only=options.read_only,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            **_limits(options.resources),
        ),
    }


def _user(options: ContainerOptions) -> str:
    if options.user is not None:
        return options.user
    if os.geteuid() == 0:
        return f"{UNPRIVILEGED}:{UNPRIVILEGED}"
    return f"{os.geteuid()}:{os.getegid()}"


def _script(entrypoint: str) -> Path | None:
    if not (entrypoint.endswith(".py") or os.sep in entrypoint):
        return None
    path = Path(entrypoint).absolute()
    if not path.is_file():
        raise SpecificationError("entrypoint", entrypoint, "the path of a Python file that exists, or a module name")
    return path


def _files(directory: Path, request: JobRequest, script: Path | None) -> Iterator[tuple[Path, bool]]:
    yield directory, True
    inputs = [
        *(ref.uri for refs in request.datasets.values() for ref in refs),
        *(ref.uri for ref in request.models.values()),
    ]
    shown = [Path(uri.removeprefix("file://")) for uri in inputs if uri.startswith(("file://", "/"))]
    if script is not None:
        # What lies beside a script can be imported by it, as everywhere else.
        shown.append(script.parent if script.parent != Path("/") else script)
    for path in shown:
        if not path.is_relative_to(directory):
            yield path, False


def _tmpfs(resources: DockerResources) -> str:
    size = resources.temporary_space
    limit = "" if size is None else f",size={size_in_bytes(size, where='DockerResources.temporary_space')}"
    return f"rw,nosuid,nodev,exec,mode=1777{limit}"


def _limits(resources: DockerResources) -> dict[str, Any]:
    from docker.types import DeviceRequest, Ulimit

    limits: dict[str, Any] = {}
    if resources.cpus is not None:
        limits["nano_cpus"] = round(resources.cpus * 10**9)
    if resources.memory_bytes is not None:
        # Equal limits with and without swap: a job that needs more ends at once instead of crawling.
        limits["mem_limit"] = limits["memswap_limit"] = resources.memory_bytes
    if resources.shared_memory is not None:
        limits["shm_size"] = size_in_bytes(resources.shared_memory, where="DockerResources.shared_memory")
    if resources.gpus is not None or resources.gpu_ids:
        chosen = {"device_ids": list(resources.gpu_ids)} if resources.gpu_ids else {"count": resources.gpus}
        limits["device_requests"] = [DeviceRequest(capabilities=[["gpu"]], **chosen)]
    limits["ulimits"] = [
        Ulimit(name=name, soft=limit.soft, hard=limit.soft if limit.hard is None else limit.hard)
        for name, limit in resources.ulimits.items()
    ]
    return limits


def _check_tracking(request: JobRequest, options: ContainerOptions) -> None:
    if request.tracking is None or options.network == "host":
        return
    if is_loopback(request.tracking.uri):
        raise SpecificationError(
            "tracking.uri",
            request.tracking.uri,
            "an address that means the same in a container (this one would be the container itself), or network='host'",
        )
