"""Evaluation as a Kubernetes pod."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.sdk import Context

from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.links.pages import ImageLink, ModelLink, PodLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.evaluation import ENTRYPOINT, examined_data, measured, published, what_to_measure
from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.training.contract import JobResult, Kind

__all__ = ["EvaluateOnKubernetesOperator"]


class EvaluateOnKubernetesOperator(TrainOnKubernetesOperator):
    """Measure a candidate, and the champion on the same rows, in a pod.

    The result is that of :class:`~airflow_mlops.operators.evaluation.EvaluateModelOperator`. The pod, what becomes of
    it and what counts as success are as in :class:`~airflow_mlops.operators.kubernetes.TrainOnKubernetesOperator`,
    whose other arguments (``pod_resources``, ``artifacts`` and all of the pod operator's) are accepted too. The image
    needs what ``docker/trainer`` holds.

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
    """

    template_fields: Sequence[str] = (
        *KubernetesPodOperator.template_fields,
        *("candidate", "champion", "dataset", "target", "model_name", "diagnostics", "training_data"),
        "loading",
    )
    operator_extra_links = (ReportLink(), ModelLink(), PodLink(), ImageLink())
    ui_color = "#e8f5e9"
    job_kind: Kind = "evaluate"
    trains = False

    def __init__(
        self,
        *,
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
        **kwargs: Any,
    ) -> None:
        # The request is made from the fields below, once they are rendered.
        super().__init__(
            entrypoint=ENTRYPOINT, datasets={}, model_name=model_name, mlflow_conn_id=None, parallelism=1, **kwargs
        )
        self.candidate = candidate
        self.dataset = dataset
        self.target = target
        self.champion = champion
        self.day_column = day_column
        self.slices = slices
        self.minimum_slice_rows = minimum_slice_rows
        self.confidence = confidence
        self.task = task
        self.group_column = group_column
        self.metric_options = metric_options
        self.diagnostics = diagnostics
        self.training_data = training_data
        self.loading = loading

    def execute(self, context: Context) -> dict[str, Any]:
        """Start or follow the pod, or find that all is done; in deferrable mode, go to sleep meanwhile."""
        self.datasets = {role: given for role, (_, given) in examined_data(self).items()}
        self.models = {"candidate": self.candidate}
        if self.champion is not None:
            self.models = {**self.models, "champion": self.champion}
        with airflow_errors():
            self.parameters = what_to_measure(self)
        return self._show(context, super().execute(context))

    def trigger_reentry(self, context: Context, event: dict[str, Any]) -> dict[str, Any]:
        """Come back from the trigger; its event is a reason to look, never evidence."""
        return self._show(context, super().trigger_reentry(context, event))

    def deliver(self, result: JobResult, folder: AttemptFolder, attempt: str, run_id: str | None) -> dict[str, Any]:
        """Return the report's numbers and where it lies: in the store already, and verified."""
        del run_id
        directory, relative = folder.directory(attempt).path, result.artifacts.get("report")
        if relative is None:
            raise ContractError(f"the result of the job in {directory} names no artefact 'report'")
        path = directory / relative
        return measured(self, path, f"file://{path}")

    def _show(self, context: Context, found: dict[str, Any]) -> dict[str, Any]:
        with airflow_errors():
            path = Path(str(found["evaluation_uri"]).removeprefix("file://"))
            return published(context, ArtifactStore.from_config(), self.model_name, path, found)
