"""Training by a custom resource: a controller in the cluster makes the pods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.links.mlflow import MLflowRunLink
from airflow_mlops.links.pages import ImageLink, ModelLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.container.attempt import AttemptFolder
    from airflow_mlops.operators.custom_run import CustomRun
    from airflow_mlops.operators.custom_watch import Submission
    from airflow_mlops.operators.pod_training import PodTraining
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.custom_resource import ResourceKind
    from airflow_mlops.training.pods import PodResources, PodVolume

__all__ = ["CustomTrainingOperator"]


class CustomTrainingOperator(MLOpsOperator):
    """Follows a training that a custom resource stands for; subclasses say which and what its document is.

    A try has one resource, whose name is derived from the try; the cluster refuses a second one of that name. Success
    means that the manifest in the artefact store was verified, whatever the resource's status says. A failure names
    the resource's own reason and message.
    """

    operator_extra_links = (MLflowRunLink(), ModelLink(), ImageLink())
    ui_color = "#e3f2fd"
    trains = True

    # Set by the constructors of subclasses, which name every argument.
    image: str
    entrypoint: str
    datasets: Mapping[str, Any]
    model_name: str
    parameters: Mapping[str, Any] | None
    models: Mapping[str, Any] | None
    pod_resources: PodResources | Mapping[str, Any] | None
    artifacts: PodVolume | Mapping[str, Any] | None
    python: str
    labels: Mapping[str, str] | None
    annotations: Mapping[str, str] | None
    spec: Mapping[str, Any] | None
    active_deadline_seconds: int | None
    startup_timeout_seconds: float | None
    keep_resource: bool
    mlflow_conn_id: str | None
    namespace: str | None
    kubernetes_conn_id: str | None
    config_file: str | None
    cluster_context: str | None
    in_cluster: bool | None
    deferrable: bool
    poll_interval: float

    _run: CustomRun | None = None

    def resource_kind(self) -> ResourceKind:
        """Return which resource stands for the training."""
        raise NotImplementedError

    def document(self, given: Submission) -> dict[str, Any]:
        """Return the resource's document."""
        raise NotImplementedError

    def request(self, training: PodTraining, attempt: str) -> JobRequest:
        """Return what an attempt is asked, and put what else its pods need into the job's folder."""
        return training.request_of(attempt)

    def command(self, directory: str, entrypoint: str) -> list[str]:
        """Return what runs in the pods."""
        from airflow_mlops.container.attempt import attempt_command

        return attempt_command(self.python, directory, entrypoint)

    def resource_name(self, folder: AttemptFolder, attempt: str) -> str:
        """Return the name of an attempt's resource."""
        from airflow_mlops.training.custom_resource import resource_name

        return resource_name(self.task_id, str(folder.path), attempt)

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Make or follow the resource, or find that all is done; in deferrable mode, go to sleep meanwhile."""
        from airflow_mlops.operators.custom_run import CustomRun

        self._run = CustomRun(self)
        return self._run.begin(context)

    @airflow_errors()
    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Come back from the trigger; its event says where to look, and is never evidence."""
        from airflow_mlops.operators.custom_run import CustomRun

        self._run = CustomRun(self)
        return self._run.resume(context, event)

    def on_kill(self) -> None:
        """Delete the resource, and with it its pods."""
        if self._run is not None:
            self._run.stop()
