"""Evaluation in a Docker container."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.links.base import PushedLink
from airflow_mlops.links.pages import ImageLink, ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.docker import InDocker
from airflow_mlops.operators.evaluation import EvaluateModelOperator

if TYPE_CHECKING:
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.resources import DockerResources

__all__ = ["EvaluateInDockerOperator"]


class EvaluateInDockerOperator(InDocker, EvaluateModelOperator):
    """Measure a candidate, and the champion on the same rows, in a container of a Docker engine.

    The same as its base class, with the same result. What the container sees and how it is found again is as in
    :class:`~airflow_mlops.operators.docker.TrainInDockerOperator`.

    :param image: what to run, for example from ``docker/trainer`` (templated)
    :param candidate: encoded ModelRef (templated)
    :param dataset: encoded DatasetRef, or a list of them, that neither model was trained on (templated)
    :param target: column with the labels: 0 or 1, or what the task has (templated)
    :param model_name: name of the model (templated)
    :param champion: encoded ModelRef of what serves now; None for a first release (templated)
    :param day_column: column that groups rows which are not independent
    :param slices: columns by which the measurements are repeated, value by value, and pairs of columns
    :param minimum_slice_rows: smaller slices are counted but not measured
    :param confidence: two-sided coverage of all intervals
    :param task: ``classification`` into 0 and 1, ``regression`` or ``ranking``; each has metrics of its own
    :param group_column: for ranking: the column that names the query which a row answers
    :param metric_options: ``threshold``, ``cutoff``, ``top_share``, ``block`` and ``block_length`` as in
        :class:`~airflow_mlops.evaluation.spec.EvaluationSpec`
    :param diagnostics: what else to find out: mapping, or path of a YAML file, with the sections of
        :class:`~airflow_mlops.evaluation.diagnostics.Diagnostics`; relative paths begin at the DAG's folder (templated)
    :param training_data: encoded DatasetRef, or a list of them, that the candidate was trained on, for the diagnostics
        that compare with it (templated)
    :param loading: how the models may be loaded: mapping, or path of a YAML file, with the fields of
        :class:`~airflow_mlops.loading.LoadingPolicy`; None for its defaults (templated)
    :param python: interpreter in the image; None for ``python``
    :param environment: variables for the container (templated)
    :param timeout_seconds: how long the evaluation may take
    :param docker_resources: :class:`~airflow_mlops.training.resources.DockerResources` or a mapping of its fields
    :param network: name of a network of the engine, ``host`` or ``none``; None for the engine's default (templated)
    :param user: ``uid:gid``; None for the worker's own, or an unprivileged one where the worker is root
    :param read_only: False for images that must write elsewhere than to ``/tmp``
    :param docker_conn_id: connection of type ``docker``: the registry to fetch from and its credentials
    :param docker_url: the engine's address; None for the environment variable DOCKER_HOST or this machine's own engine
    """

    template_fields: Sequence[str] = (*EvaluateModelOperator.template_fields, "image", "network")
    operator_extra_links: tuple[PushedLink, ...] = (ReportLink(), ModelLink(), ImageLink())

    def __init__(
        self,
        *,
        image: str,
        candidate: Mapping[str, Any],
        dataset: Any,
        target: str,
        model_name: str,
        champion: Mapping[str, Any] | None = None,
        day_column: str = "date",
        slices: Sequence[str | Sequence[str]] = (),
        minimum_slice_rows: int = 200,
        confidence: float = 0.95,
        task: str = "classification",
        group_column: str | None = None,
        metric_options: Mapping[str, Any] | None = None,
        diagnostics: str | Path | Mapping[str, Any] | None = None,
        training_data: Any = None,
        loading: str | Path | Mapping[str, Any] | None = None,
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 3600,
        docker_resources: DockerResources | Mapping[str, Any] | None = None,
        network: str | None = None,
        user: str | None = None,
        read_only: bool = True,
        docker_conn_id: str | None = None,
        docker_url: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            candidate=candidate,
            dataset=dataset,
            target=target,
            model_name=model_name,
            champion=champion,
            day_column=day_column,
            slices=slices,
            minimum_slice_rows=minimum_slice_rows,
            confidence=confidence,
            task=task,
            group_column=group_column,
            metric_options=metric_options,
            diagnostics=diagnostics,
            training_data=training_data,
            loading=loading,
            python=python,
            environment=environment,
            timeout_seconds=timeout_seconds,
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
