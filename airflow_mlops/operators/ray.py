"""Training by Ray, on a cluster of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.configuration import conf

from airflow_mlops.operators.custom_training import CustomTrainingOperator

if TYPE_CHECKING:
    from airflow_mlops.operators.custom_watch import Submission
    from airflow_mlops.training.custom_resource import ResourceKind
    from airflow_mlops.training.pods import PodResources, PodVolume

__all__ = ["TrainWithRayOperator"]


class TrainWithRayOperator(CustomTrainingOperator):
    """Train a model with Ray, as KubeRay's ``RayJob``.

    KubeRay makes a Ray cluster for this training alone, runs the script on its head, and removes the cluster. The
    script reaches Ray with ``ray.init()``. The task succeeds only after the result was read from the artefact store
    and every file matched its digest, whatever the RayJob's status says. A try never trains twice, and a try that
    finds the RayJob of an earlier one at work follows it. A failure gives the RayJob's own reason and message, those
    of its pods and the script's.

    The artefact store (``[mlops] artifact_root``) must be a folder that worker and pods both see at the same path.

    :param image: container image with Ray and airflow-mlops installed (templated)
    :param entrypoint: path of a script on the worker, absolute or from the DAG's folder, which is taken along; or a
        module or path in the image (templated)
    :param datasets: role to one or several encoded :class:`~airflow_mlops.references.DatasetRef` (templated)
    :param model_name: what is being trained (templated)
    :param workers: how many pods there are beside the head
    :param ray_version: Ray's version in the image; None leaves it to KubeRay
    :param parameters: the script's settings; JSON values (templated)
    :param models: role to encoded :class:`~airflow_mlops.references.ModelRef` (templated)
    :param pod_resources: what the head gets: :class:`~airflow_mlops.training.pods.PodResources` or a mapping of its
        fields
    :param worker_resources: what each worker gets; None for the same
    :param artifacts: the artefact store as a volume, :class:`~airflow_mlops.training.pods.PodVolume` or a mapping of
        its fields
    :param python: interpreter in the image
    :param labels: more labels of the RayJob and its pods, for example a queue's name (templated)
    :param annotations: more annotations of the RayJob and its pods (templated)
    :param spec: more of the RayJob's ``spec``, merged over what is made here (templated)
    :param active_deadline_seconds: how long it may take, with the making of its cluster; None for no limit
    :param startup_timeout_seconds: how long it may wait for its cluster, also in a queue; None for no limit
    :param keep_resource: whether the RayJob stays when it has ended
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
        *("labels", "annotations", "spec", "namespace", "config_file"),
    )

    def __init__(
        self,
        *,
        image: str,
        entrypoint: str,
        datasets: Mapping[str, Any],
        model_name: str,
        workers: int = 1,
        ray_version: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        models: Mapping[str, Any] | None = None,
        pod_resources: PodResources | Mapping[str, Any] | None = None,
        worker_resources: PodResources | Mapping[str, Any] | None = None,
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
        self.workers = workers
        self.ray_version = ray_version
        self.parameters = parameters
        self.models = models
        self.pod_resources = pod_resources
        self.worker_resources = worker_resources
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
        """Return what a RayJob is."""
        from airflow_mlops.training.ray import RAY_JOB

        return RAY_JOB

    def document(self, given: Submission) -> dict[str, Any]:
        """Return the RayJob."""
        from airflow_mlops.operators.custom_watch import decoded
        from airflow_mlops.training.pods import PodResources
        from airflow_mlops.training.ray import ray_job

        return ray_job(
            metadata=given.metadata,
            workers=self.workers,
            ray_version=self.ray_version,
            image=self.image,
            command=given.command,
            resources=given.resources,
            worker_resources=decoded(PodResources, self.worker_resources, "worker_resources") or given.resources,
            artifacts=given.artifacts,
            group=given.group,
            active_deadline_seconds=self.active_deadline_seconds,
        )
