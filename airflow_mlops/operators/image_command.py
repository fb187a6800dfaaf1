"""What operators share that run a command in a container of an image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import origin
from airflow_mlops.operators.base import MLOpsOperator

if TYPE_CHECKING:
    from airflow_mlops.adapters.images.commands import ImageCommands

__all__ = ["ImageCommandOperator", "texts"]


class ImageCommandOperator(MLOpsOperator):
    """Runs one container per task instance: a later try removes what an earlier one left, and so does a kill."""

    docker_conn_id: str | None
    docker_url: str | None
    timeout_seconds: float
    _commands: ImageCommands | None = None
    _container: str | None = None

    def commands(self, context: Context) -> tuple[ImageCommands, str]:
        """Return where commands run, and the name of this task instance's container."""
        from airflow_mlops.adapters.images.commands import ImageCommands
        from airflow_mlops.hooks.docker import docker_client

        who = origin(context)
        identity = digest_of([who.dag_id, who.run_id, who.task_id, who.map_index]).removeprefix("sha256:")[:16]
        client = docker_client(self.docker_conn_id, self.docker_url)
        self._commands = ImageCommands(client, lambda line: self.log.info("%s", line))
        self._container = f"mlops-command-{identity}"
        return self._commands, self._container

    def on_kill(self) -> None:
        """Remove the container, whatever it is doing."""
        if self._commands is not None and self._container is not None:
            self._commands.remove(self._container)
            self.log.info("Removed the container %s", self._container)


def texts(where: str, given: Any) -> dict[str, str]:
    """Read a mapping from name to text; None is an empty one.

    :param where: the field, for messages
    :raises SpecificationError: if it is something else
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise SpecificationError(where, given, "a mapping from name to text")
    for name, value in given.items():
        if not isinstance(value, str):
            raise SpecificationError(f"{where}.{name}", value, "text")
    return dict(given)
