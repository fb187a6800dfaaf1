"""Training in a Docker container, and what every job in one needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.links.base import PushedLink
from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import ImageLink, ModelLink
from airflow_mlops.operators.training import TrainLocallyOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.ports import JobRunner
    from airflow_mlops.training.resources import DockerResources

__all__ = ["InDocker", "TrainInDockerOperator"]


class InDocker:
    """Gives an operator whose job is a process a runner that makes it a container; no operator itself."""

    image: str
    python: str | None
    docker_resources: DockerResources | Mapping[str, Any] | None
    network: str | None
    user: str | None
    read_only: bool
    docker_conn_id: str | None
    docker_url: str | None

    def job_runner(self) -> JobRunner:
        """Run jobs as containers."""
        from airflow_mlops.adapters.jobs.docker_engine import DockerEngineRunner
        from airflow_mlops.adapters.jobs.docker_options import ContainerOptions
        from airflow_mlops.codec import decode
        from airflow_mlops.hooks.docker import docker_client
        from airflow_mlops.training.resources import DockerResources

        options = ContainerOptions(
            image=self.image,
            resources=decode(DockerResources, self.docker_resources or {}, where="docker_resources"),
            python=self.python or "python",
            network=self.network,
            user=self.user,
            read_only=self.read_only,
        )
        return DockerEngineRunner(docker_client(self.docker_conn_id, self.docker_url), options)


class TrainInDockerOperator(InDocker, TrainLocallyOperator):
    """Train in a container of a Docker engine; otherwise the same as its base class, with the same result.

    The container sees the job's directory, its inputs read-only and the script's folder, at the paths that they have
    here, so the engine must see the same files: it runs on this machine or shares the storage. It cannot write
    elsewhere, has no capabilities and is not root. It survives the worker: a retry finds it again by its name and
    never starts a second one. Running out of memory fails the task with a message that says so.

    Returns ``model`` (encoded ModelRef), ``metrics``, ``summary``, ``job_uri``, ``mlflow_run_id`` and ``image``
    (``sha256:…`` of the image that the container was made from, whatever its tag names by now; None if the container
    was lost), for ``RegisterModelOperator(image=…)``.

    :param image: what to run, for example from ``docker/trainer``; it is fetched if the engine does not have it
        (templated)
    :param entrypoint: the training script; relative paths begin at the DAG's folder (templated)
    :param datasets: role to an encoded DatasetRef or a list of them, for example ``{"train": [...]}`` (templated)
    :param model_name: name of the model, also of the MLflow experiment (templated)
    :param parameters: settings for the script, JSON values (templated)
    :param models: role to an encoded ModelRef, for scripts that start from a model (templated)
    :param python: interpreter in the image; None for ``python``
    :param environment: variables for the container, which sees nothing of the worker's own (templated)
    :param timeout_seconds: how long the job may take, counted from its start, whichever try started it
    :param mlflow_conn_id: connection of type ``mlflow`` to log to; None for no tracking
    :param docker_resources: :class:`~airflow_mlops.training.resources.DockerResources` or a mapping of its fields
    :param network: name of a network of the engine, ``host`` or ``none``; None for the engine's default (templated)
    :param user: ``uid:gid``; None for the worker's own, or an unprivileged one where the worker is root
    :param read_only: False for images that must write elsewhere than to ``/tmp``
    :param docker_conn_id: connection of type ``docker``: the registry to fetch from and its credentials
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    """

    template_fields: Sequence[str] = (*TrainLocallyOperator.template_fields, "image", "network")
    operator_extra_links: tuple[PushedLink, ...] = (MLflowRunLink(), ModelLink(), ImageLink())
    ui_color = "#e3f2fd"

    def __init__(
        self,
        *,
        image: str,
        entrypoint: str,
        datasets: Mapping[str, Any],
        model_name: str,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 3600,
        mlflow_conn_id: str | None = None,
        docker_resources: DockerResources | Mapping[str, Any] | None = None,
        network: str | None = None,
        user: str | None = None,
        read_only: bool = True,
        docker_conn_id: str | None = None,
        docker_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            entrypoint=entrypoint,
            datasets=datasets,
            model_name=model_name,
            parameters=parameters,
            models=models,
            python=python,
            environment=environment,
            timeout_seconds=timeout_seconds,
            mlflow_conn_id=mlflow_conn_id,
            **kwargs,
        )
        self.image = image
        self.docker_resources = docker_resources
        self.network = network
        self.user = user
        self.read_only = read_only
        self.docker_conn_id = docker_conn_id
        self.docker_url = docker_url

    def job_identity(self, request: JobRequest, entrypoint: str) -> Any:
        """Another image makes another job; another limit does not."""
        return [super().job_identity(request, entrypoint), "docker", self.image]

    def _train(
        self,
        context: Context,
        store: ArtifactStore,
        request: JobRequest,
        entrypoint: str,
        environment: Mapping[str, str],
    ) -> dict[str, Any]:
        from airflow_mlops.adapters.jobs.docker_engine import DockerEngineRunner

        returned = super()._train(context, store, request, entrypoint, environment)
        image = None
        if isinstance(self._runner, DockerEngineRunner) and self._directory is not None:
            image = self._runner.image(self._directory)
        return {**returned, "image": image}
