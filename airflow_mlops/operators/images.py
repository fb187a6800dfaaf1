"""Operators that make container images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import Context

from airflow_mlops.codec import encode
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.pages import ImageLink, show_image
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.image_command import texts
from airflow_mlops.operators.outcome import airflow_errors

__all__ = ["BuildImageOperator"]

# A registry may be silent for minutes while it takes in a layer.
_SILENCE_SECONDS = 600


class BuildImageOperator(MLOpsOperator):
    """Make sure that an image exists and was made of what lies in a folder now; push it if asked.

    Each line of the build appears in the task's log as it comes. Nothing is built if the image of this name was made
    of the same files, Dockerfile and build arguments before: it carries their digest as a label. What a base image or
    a package index holds meanwhile does not count; pin them, or set ``rebuild``.

    Returns ``image`` (encoded ImageRef), ``reference`` (names exactly this image, for ``TrainInDockerOperator``),
    ``context_digest`` and ``built``.

    :param folder: what the Dockerfile copies from, without what ``.dockerignore`` names; relative paths begin at the
        DAG's folder (templated)
    :param tag: the image's name, which begins with the registry if it is pushed (templated)
    :param dockerfile: path of the Dockerfile, relative to ``folder`` (templated)
    :param build_args: values of ``ARG`` lines; they stay readable in the image, so they are no place for secrets
        (templated)
    :param target: stage to stop at, None for the last
    :param labels: labels of the image, for example its revision; they do not cause another build (templated)
    :param network: network of ``RUN`` lines, for example ``host``; None or empty for the engine's default (templated)
    :param rebuild: build in any case, with newer base images and without the engine's cache
    :param push: bring the image to its registry; the digest is the registry's then
    :param docker_conn_id: connection of type ``docker``: the registry and its credentials
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    """

    template_fields: Sequence[str] = ("folder", "tag", "dockerfile", "build_args", "labels", "network")
    operator_extra_links = (ImageLink(),)
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        folder: str,
        tag: str,
        dockerfile: str = "Dockerfile",
        build_args: Mapping[str, str] | None = None,
        target: str | None = None,
        labels: Mapping[str, str] | None = None,
        network: str | None = None,
        rebuild: bool = False,
        push: bool = False,
        docker_conn_id: str | None = None,
        docker_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.folder = folder
        self.tag = tag
        self.dockerfile = dockerfile
        self.build_args = build_args
        self.target = target
        self.labels = labels
        self.network = network
        self.rebuild = rebuild
        self.push = push
        self.docker_conn_id = docker_conn_id
        self.docker_url = docker_url

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Build unless there is nothing to do, and push."""
        from airflow_mlops.adapters.images.context import BuildContext
        from airflow_mlops.adapters.images.docker_engine import DockerImageBuilder
        from airflow_mlops.hooks.docker import docker_client

        build = BuildContext(
            folder=self._folder(),
            dockerfile=self.dockerfile,
            build_args=texts("build_args", self.build_args),
            target=self.target,
        )
        client = docker_client(self.docker_conn_id, self.docker_url, timeout_seconds=_SILENCE_SECONDS)
        built = DockerImageBuilder(client, lambda line: self.log.info("%s", line)).ensure(
            build,
            self.tag,
            labels=texts("labels", self.labels),
            network=self.network or None,
            rebuild=self.rebuild,
            push=self.push,
        )
        self.log.info("%s, %.0f MB: %s", built.image.uri, built.image.size_bytes / 1e6, built.reference)
        show_image(context, built.reference)
        returned: dict[str, Any] = encode(built)
        return returned

    def _folder(self) -> Path:
        path, start = Path(self.folder), dag_folder(self)
        return path if path.is_absolute() or start is None else Path(start) / path
