"""Training by Kubeflow Trainer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from airflow.sdk.configuration import conf

from airflow_mlops.operators.custom_training import CustomTrainingOperator

if TYPE_CHECKING:
    from airflow_mlops.operators.custom_watch import Submission
    from airflow_mlops.operators.pod_training import PodTraining
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.custom_resource import ResourceKind
    from airflow_mlops.training.pods import PodResources, PodVolume

__all__ = ["TrainWithKubeflowOperator"]


class TrainWithKubeflowOperator(CustomTrainingOperator):
    """Train a model with Kubeflow Trainer, as a ``TrainJob``.

    The cluster's training runtime says how nodes are made and find each other; this operator says what they run. The
    task succeeds only after the result was read from the artefact store and every file matched its digest, whatever
    the TrainJob's status says. A try never trains twice, and a try that finds the TrainJob of an earlier one at work
    follows it. A failure gives the TrainJob's own reason and message, those of its pods and the script's.

    The artefact store (``[mlops] artifact_root``) must be a folder that worker and pods both see at the same path. The
    runtime's replicated job that trains, and its container, must be named ``node``, as in Trainer's own runtimes.

    :param image: container image with airflow-mlops installed (templated)
    :param entrypoint: path of a script on the worker, absolute or from the DAG's folder, which is taken along; or a
        module or path in the image (templated)
    :param datasets: role to one or several encoded :class:`~airflow_mlops.references.DatasetRef` (templated)
    :param model_name: what is being trained (templated)
    :param runtime: name of the training runtime (templated)
    :param runtime_kind: whether the runtime belongs to the cluster or to the namespace
    :param nodes: how many pods train together; each finds its rank and the others in its request
    :param parameters: the script's settings; JSON values (templated)
    :param models: role to encoded :class:`~airflow_mlops.references.ModelRef` (templated)
    :param pod_resources: what each node gets: :class:`~airflow_mlops.training.pods.PodResources` or a mapping of its
        fields
    :param artifacts: the artefact store as a volume, :class:`~airflow_mlops.training.pods.PodVolume` or a mapping of
        its fields; None if the runtime's pods have it otherwise
    :param python: interpreter in the image
    :param labels: more labels of the TrainJob and its pods, for example a queue's name (templated)
    :param annotations: more annotations of the TrainJob and its pods (templated)
    :param spec: more of the TrainJob's ``spec``, merged over what is made here (templated)
    :param active_deadline_seconds: how long it may take once it is active; None for no limit
    :param startup_timeout_seconds: how long it may wait for its pods, also in a queue; None for no limit
    :param keep_resource: whether the TrainJob stays when it has ended
    :param mlflow_conn_id: where to track; None for nowhere
    :param namespace: where to run; None for the connection's (templated)
    :param kubernetes_conn_id: connection of type ``kubernetes``
    :param config_file: kubeconfig that worker and triggerer have; None for the connection's (templated)
    :param cluster_context: context in the kubeconfig
    :param in_cluster: whether to use the service account of Airflow's own pod
    :param deferrable: whether to wait without a worker
    :param poll_interval: seconds between two looks
    :return: ``model`` (encoded reference), ``metrics``, ``summary``, ``job_uri`` and ``mlflow_run_id``
    """

    template_fields: Sequence[str] = (
        *("image", "entrypoint", "datasets", "model_name", "parameters", "models"),
        *("runtime", "labels", "annotations", "spec", "namespace", "config_file"),
    )

    def __init__(
        self,
        *,
        image: str,
        entrypoint: str,
        datasets: Mapping[str, Any],
        model_name: str,
        runtime: str,
        runtime_kind: Literal["ClusterTrainingRuntime", "TrainingRuntime"] = "ClusterTrainingRuntime",
        nodes: int = 1,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        pod_resources: PodResources | Mapping[str, Any] | None = None,
        artifacts: PodVolume | Mapping[str, Any] | None = None,
        python: str = "python",
        labels: Mapping[str, str] | None = None,
        annotations: Mapping[str, str] | None = None,
        spec: Mapping[str, Any] | None = None,
        active_deadline_seconds: int | None = None,
        startup_timeout_seconds: float | None = 900,
        keep_resource: bool = False,
        mlflow_conn_id: str | None = None,
        namespace: str | None = None,
        kubernetes_conn_id: str | None = "kubernetes_default",
        config_file: str | None = None,
        cluster_context: str | None = None,
        in_cluster: bool | None = None,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        poll_interval: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.image = image
        self.entrypoint = entrypoint
        self.datasets = datasets
        self.model_name = model_name
        self.runtime = runtime
        self.runtime_kind = runtime_kind
        self.nodes = nodes
        self.parameters = parameters
        self.models = models
        self.pod_resources = pod_resources
        self.artifacts = artifacts
        self.python = python
        self.labels = labels
        self.annotations = annotations
        self.spec = spec
        self.active_deadline_seconds = active_deadline_seconds
        self.startup_timeout_seconds = startup_timeout_seconds
        self.keep_resource = keep_resource
        self.mlflow_conn_id = mlflow_conn_id
        self.namespace = namespace
        self.kubernetes_conn_id = kubernetes_conn_id
        self.config_file = config_file
        self.cluster_context = cluster_context
        self.in_cluster = in_cluster
        self.deferrable = deferrable
        self.poll_interval = poll_interval

    def resource_kind(self) -> ResourceKind:
        """Return what a TrainJob is."""
        from airflow_mlops.training.kubeflow import TRAIN_JOB

        return TRAIN_JOB

    def document(self, given: Submission) -> dict[str, Any]:
        """Return the TrainJob."""
        from airflow_mlops.training.kubeflow import train_job

        return train_job(
            metadata=given.metadata,
            runtime=self.runtime,
            runtime_kind=self.runtime_kind,
            nodes=self.nodes,
            image=self.image,
            command=given.command,
            resources=given.resources,
            artifacts=given.artifacts,
            group=given.group,
            active_deadline_seconds=self.active_deadline_seconds,
        )

    def command(self, directory: str, entrypoint: str) -> list[str]:
        """Return what every node runs; where there are several, each asks for its rank first."""
        if self.nodes == 1:
            return super().command(directory, entrypoint)
        from airflow_mlops.container.ranks import rank_command

        return rank_command(self.python, directory, entrypoint)

    def request(self, training: PodTraining, attempt: str) -> JobRequest:
        """Return what an attempt is asked; several nodes are asked as a group."""
        request = super().request(training, attempt)
        if self.nodes == 1:
            return request
        from dataclasses import replace

        from airflow_mlops.container.ranks import RankFolder
        from airflow_mlops.training.contract import Group
        from airflow_mlops.training.kubeflow import leader

        name = self.resource_name(training.folder, attempt)
        request = replace(request, group=Group(world_size=self.nodes, rendezvous=leader(name)))
        RankFolder(training.folder, attempt).prepare(request)
        return request
