"""Checking an image by the tests that it brings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow.sdk import Context

from airflow_mlops.links.pages import ImageLink
from airflow_mlops.operators.image_command import ImageCommandOperator, texts
from airflow_mlops.operators.outcome import airflow_errors

__all__ = ["CheckImageOperator"]


class CheckImageOperator(ImageCommandOperator):
    """Run an image's own tests in a container of exactly this image; another exit code than 0 fails the task.

    Each line that the command prints appears in the task's log as it comes. The container runs as the image's own
    user, without capabilities, and sees no file of this machine. It is removed however the task ends; what the killed
    worker of an earlier try left is removed by the next one.

    Returns ``image`` and ``summary``, the last line that the command printed.

    :param image: names the image by its digest, like ``reference`` of ``BuildImageOperator``; it is fetched if it
        lies in a registry only (templated)
    :param command: program and arguments, in place of the image's own, for example
        ``["python", "-m", "airflow_mlops.container.selfcheck", "trainer"]`` (templated)
    :param environment: variables beside the image's own (templated)
    :param network: name of a network of the engine, ``host`` or ``none`` (templated)
    :param read_only: False for images that must write elsewhere than to ``/tmp``
    :param timeout_seconds: how long the command may take
    :param docker_conn_id: connection of type ``docker``: the registry to fetch from and its credentials
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    """

    template_fields: Sequence[str] = ("image", "command", "environment", "network")
    operator_extra_links = (ImageLink(),)
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        image: str,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        network: str = "none",
        read_only: bool = True,
        timeout_seconds: float = 600,
        docker_conn_id: str | None = None,
        docker_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.command = command
        self.environment = environment
        self.network = network
        self.read_only = read_only
        self.timeout_seconds = timeout_seconds
        self.docker_conn_id = docker_conn_id
        self.docker_url = docker_url

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Run the command and see how it ends."""
        from airflow_mlops.adapters.images.commands import ImageCommand

        what = ImageCommand(
            image=self.image,
            command=self.command,
            environment=texts("environment", self.environment),
            network=self.network,
            read_only=self.read_only,
            timeout_seconds=self.timeout_seconds,
        )
        commands, container = self.commands(context)
        return {"image": self.image, "summary": commands.run(what, container)}
