"""The few calls of a Docker engine that running a job takes, with this project's errors."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import AdapterError, PermanentAdapterError, TransientAdapterError

__all__ = ["REQUEST_LABEL", "Container", "DockerClient", "engine_errors"]

_LOG = logging.getLogger(__name__)

JOB_LABEL = "airflow-mlops.job"
REQUEST_LABEL = "airflow-mlops.request"

# Engines answer 500 to these although no later try will go better.
_NEVER = re.compile(
    r"device driver|executable file not found|no such file or directory|invalid reference|permission denied"
    r"|cannot exceed",
    re.IGNORECASE,
)


@contextmanager
def engine_errors(what: str) -> Iterator[None]:
    """Raise this project's errors for what the engine or the way to it did.

    :param what: what was being done, for the message
    """
    import docker.errors
    import requests.exceptions

    try:
        yield
    except docker.errors.APIError as error:
        raise _translate(what, error) from error
    except (docker.errors.DockerException, requests.exceptions.RequestException) as error:
        raise TransientAdapterError(f"{what}: the Docker engine does not answer ({error})") from error


def _translate(what: str, error: Any) -> AdapterError:
    said = str(error.explanation or error).strip()
    status = error.status_code or 500
    kind = PermanentAdapterError if status < 500 or _NEVER.search(said) else TransientAdapterError
    return kind(f"{what}: {said}")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container as the engine describes it.

    :param id: the engine's own name of it
    :param status: ``created``, ``running``, ``paused``, ``restarting``, ``removing``, ``exited`` or ``dead``
    :param request: digest of what it was made for
    :param exit_code: how its first process ended
    :param out_of_memory: whether the kernel killed one of its processes for want of memory
    :param memory_bytes: its limit, 0 for none
    :param error: why it could not be started
    :param image: ``sha256:…`` of the image that it was made from
    """

    id: str
    status: str
    request: str
    exit_code: int
    out_of_memory: bool
    memory_bytes: int
    error: str
    image: str = ""

    @property
    def is_over(self) -> bool:
        """Whether none of its processes lives or ever will."""
        return self.status in ("exited", "dead")

    @property
    def is_live(self) -> bool:
        """Whether its processes run, or will once it is started."""
        return not self.is_over and self.status != "removing"


class DockerClient:
    """Looks after containers that are found by name.

    :param api: ``docker.APIClient``
    """

    def __init__(self, api: Any) -> None:
        self.api = api

    def find(self, name: str) -> Container | None:
        """Return a container by its name or id, None where there is none."""
        import docker.errors

        with engine_errors(f"looking for container {name}"):
            try:
                found = self.api.inspect_container(name)
            except docker.errors.NotFound:
                return None
        state = found["State"]
        return Container(
            id=found["Id"],
            status=state["Status"],
            request=(found["Config"]["Labels"] or {}).get(REQUEST_LABEL, ""),
            exit_code=state["ExitCode"],
            out_of_memory=state["OOMKilled"],
            memory_bytes=found["HostConfig"]["Memory"],
            error=state["Error"],
            image=found["Image"],
        )

    def create(self, name: str, labels: Mapping[str, str], arguments: Mapping[str, Any]) -> str | None:
        """Make a container and return its id, None if there is one of this name."""
        import docker.errors

        image = arguments["image"]
        for pulled in (False, True):
            with engine_errors(f"making a container of image {image}"):
                try:
                    made = self.api.create_container(name=name, labels=dict(labels), **arguments)
                except docker.errors.ImageNotFound:
                    if pulled:
                        raise
                except docker.errors.APIError as error:
                    if error.status_code == 409:
                        return None
                    raise
                else:
                    return str(made["Id"])
            self.pull(image)
        raise AssertionError("unreachable")  # pragma: no cover

    def pull(self, image: str) -> None:
        """Fetch an image from its registry, with the credentials that the client has."""
        repository, tag = split_tag(image)
        with engine_errors(f"the image {image} is not there and cannot be fetched"):
            for line in self.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in line:
                    raise PermanentAdapterError(f"the image {image} cannot be fetched: {line['error']}")
                if "id" not in line:
                    _LOG.info("%s", line.get("status", ""))

    def start(self, container: str) -> None:
        """Start a container; one that runs is left alone."""
        with engine_errors("starting the container"):
            self.api.start(container)

    def stop(self, container: str, grace_seconds: float) -> None:
        """Ask a container's first process to end, and kill all of them after a while."""
        import docker.errors

        with engine_errors("stopping the container"):
            try:
                self.api.stop(container, timeout=round(grace_seconds))
            except docker.errors.NotFound:
                return

    def remove(self, container: str) -> None:
        """Remove a container that has ended; one that runs stays."""
        import docker.errors

        with engine_errors("removing the container"):
            try:
                self.api.remove_container(container, v=True)
            except docker.errors.APIError as error:
                # Gone, being removed by somebody else, or alive again.
                if error.status_code not in (404, 409):
                    raise

    def last_lines(self, container: str, lines: int = 20) -> str:
        """Return the end of what a container printed; empty where the engine keeps no logs."""
        import docker.errors

        with engine_errors("reading the container's output"):
            try:
                return str(self.api.logs(container, tail=lines).decode(errors="replace")).strip()
            except docker.errors.APIError:
                return ""


def split_tag(image: str) -> tuple[str, str | None]:
    """Split ``registry:5000/name:tag`` into repository and tag; a digest stays with the repository."""
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag or "@" in image:
        return image, None if "@" in image else "latest"
    return repository, tag
