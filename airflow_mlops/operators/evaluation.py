"""The operator that measures a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.base import PushedLink
from airflow_mlops.links.pages import ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.local_job import LocalJobOperator, dataset_refs, local_ref
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.evaluation.report import EvaluationReport
    from airflow_mlops.loading import Loading
    from airflow_mlops.references import ModelRef
    from airflow_mlops.training.contract import JobRequest

__all__ = [
    "ENTRYPOINT",
    "EvaluateModelOperator",
    "Evaluation",
    "examined_data",
    "measured",
    "published",
    "what_to_measure",
]

ENTRYPOINT = "airflow_mlops.container.evaluate"

#: The parameter of a job that holds how its models are loaded.
LOADING = "loading"
_METRIC_OPTIONS = ("threshold", "cutoff", "top_share", "block", "block_length")
_LATER = ("diagnostics", "task", "group_column", "cutoff", "top_share", "block", "block_length")


class EvaluateModelOperator(LocalJobOperator):
    """Measure a candidate, and the champion on the same rows, in the model environment.

    Every number comes with an interval that respects that rows of one day are not independent; the difference of the
    two models is measured row by row. This task never judges; the gate does.

    Returns ``evaluation_uri``, ``evaluation_digest``, ``report_uri`` (the page), ``summary`` (numbers), ``candidate``,
    ``champion`` and ``dataset``.

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
    :param python: interpreter of the model environment; None for the option ``[mlops] model_python``
    :param environment: variables for the process (templated)
    :param timeout_seconds: how long the evaluation may take
    """

    template_fields: Sequence[str] = (
        *("candidate", "champion", "dataset", "target", "model_name", "diagnostics", "training_data"),
        *("loading", "environment"),
    )
    operator_extra_links: tuple[PushedLink, ...] = (ReportLink(), ModelLink())
    ui_color = "#e8f5e9"

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
        python: str | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float = 3600,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.candidate = candidate
        self.dataset = dataset
        self.target = target
        self.model_name = model_name
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
        self.python = python
        self.environment = environment
        self.timeout_seconds = timeout_seconds

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Run the evaluation and publish its report."""
        from airflow_mlops.references import ModelRef

        store = ArtifactStore.from_config()
        models = {"candidate": decode(ModelRef, self.candidate, where="candidate")}
        if self.champion is not None:
            models["champion"] = decode(ModelRef, self.champion, where="champion")
        request = self._request(context, store, models)
        # Scoring is brief, and its threads would fight with Airflow and the model servers for the processors.
        environment = {"OMP_NUM_THREADS": "1", **(self.environment or {})}
        directory, parts, result = self.run_job(context, store, request, entrypoint=ENTRYPOINT, environment=environment)
        report = directory / result.artifacts["report"]
        found = measured(self, report, store.write_bytes(report.read_bytes(), *parts, report.name))
        return published(context, store, self.model_name, report, found)

    def _request(self, context: Context, store: ArtifactStore, models: Mapping[str, ModelRef]) -> JobRequest:
        from airflow_mlops.training.contract import JobRequest

        who = origin(context)
        # First of all, since it checks the models' signatures.
        parameters = what_to_measure(self)
        return JobRequest(
            kind="evaluate",
            job_id="/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index))),
            output_uri="",
            datasets={
                role: dataset_refs(store, given, where=field) for role, (field, given) in examined_data(self).items()
            },
            models={role: local_ref(store, ref) for role, ref in models.items()},
            parameters=parameters,
        )


class Evaluation(Protocol):
    """The rendered fields of an operator that evaluates, wherever it does so."""

    candidate: Mapping[str, Any]
    champion: Mapping[str, Any] | None
    dataset: Any
    target: str
    day_column: str
    slices: Sequence[str | Sequence[str]]
    minimum_slice_rows: int
    confidence: float
    task: str
    group_column: str | None
    metric_options: Mapping[str, Any] | None
    diagnostics: str | Path | Mapping[str, Any] | None
    training_data: Any
    loading: str | Path | Mapping[str, Any] | None

    @property
    def log(self) -> Any:
        """The task's log."""

    def get_dag(self) -> Any:
        """Return the DAG, whose folder relative paths begin at."""


def what_to_measure(wanted: Evaluation) -> dict[str, Any]:
    """Return the parameters of an evaluation's request.

    :raises SpecificationError: if a field is wrong
    :raises ContractError: if a model is not signed as the loading policy asks
    """
    from airflow_mlops.evaluation.diagnostics import Diagnostics
    from airflow_mlops.evaluation.spec import EvaluationSpec

    if isinstance(wanted.slices, str):
        raise SpecificationError("slices", wanted.slices, "a list of column names")
    document = None
    if wanted.diagnostics is not None:
        document = load_document(wanted.diagnostics, field="diagnostics", folder=dag_folder(wanted))
    options = dict(wanted.metric_options or {})
    for name, value in options.items():
        if name not in _METRIC_OPTIONS:
            raise SpecificationError(f"metric_options.{name}", value, "one of " + ", ".join(_METRIC_OPTIONS))
    fields = {
        "target": wanted.target,
        "day_column": wanted.day_column,
        "slices": tuple(wanted.slices),
        "minimum_slice_rows": wanted.minimum_slice_rows,
        "confidence": wanted.confidence,
        "task": wanted.task,
        "group_column": wanted.group_column,
        "diagnostics": None if document is None else decode(Diagnostics, document, where="diagnostics"),
    }
    parameters: dict[str, Any] = encode(decode(EvaluationSpec, {**fields, **options}, where="evaluation"))
    # Images from before these words existed do not know them.
    plain = encode(EvaluationSpec(target=wanted.target))
    found = {name: value for name, value in parameters.items() if name not in _LATER or value != plain[name]}
    return found if wanted.loading is None else {**found, LOADING: encode(_loading(wanted))}


def _loading(wanted: Evaluation) -> Loading:
    from airflow_mlops.hooks.model_signatures import read_loading
    from airflow_mlops.references import ModelRef

    given = {"candidate": wanted.candidate, "champion": wanted.champion}
    models = [decode(ModelRef, one, where=role) for role, one in given.items() if one is not None]
    return read_loading(
        wanted.loading or {},
        [model.digest for model in models],
        store=ArtifactStore.from_config(),
        folder=dag_folder(wanted),
    )


def examined_data(wanted: Evaluation) -> dict[str, tuple[str, Any]]:
    """Return the request's datasets: role to the name of the field and what it holds."""
    data = {"test": ("dataset", wanted.dataset)}
    if wanted.training_data is not None:
        data["train"] = ("training_data", wanted.training_data)
    return data


def measured(wanted: Evaluation, path: Path, uri: str) -> dict[str, Any]:
    """Return what a task that evaluates returns.

    :param path: the report of a verified job
    :param uri: where the report is kept
    """
    from airflow_mlops.evaluation.report import parse_report
    from airflow_mlops.manifest import manifest_of

    report = parse_report(path.read_text(), where=str(path))
    for name, estimate in report.candidate.metrics.items():
        wanted.log.info("%s %.4f (%.4f to %.4f)", name, estimate.value, estimate.low, estimate.high)
    return {
        "evaluation_uri": uri,
        "evaluation_digest": manifest_of(path).digest,
        "summary": _summary(report),
        "candidate": _reference(wanted.candidate, "candidate"),
        "champion": None if wanted.champion is None else _reference(wanted.champion, "champion"),
        "dataset": encode(wanted.dataset if isinstance(wanted.dataset, Mapping) else list(wanted.dataset)),
    }


def published(
    context: Context, store: ArtifactStore, model_name: str, path: Path, found: Mapping[str, Any]
) -> dict[str, Any]:
    """Show an evaluation as a page, and add its URI to what the task returns.

    :param path: the report of a verified job
    :param found: what :func:`measured` returned
    """
    from airflow_mlops.clock import SystemClock
    from airflow_mlops.evaluation.evaluation_html import render_evaluation
    from airflow_mlops.evaluation.report import parse_report
    from airflow_mlops.links.report import publish_report

    page = render_evaluation(
        parse_report(path.read_text(), where=str(path)),
        model_name=model_name,
        evaluated_at=datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        where=str(found["evaluation_uri"]),
        digest=str(found["evaluation_digest"]),
    )
    return {**found, "report_uri": publish_report(context, store, "evaluation", page)}


def _reference(given: Mapping[str, Any], where: str) -> Any:
    from airflow_mlops.references import ModelRef

    return encode(decode(ModelRef, given, where=where))


def _summary(report: EvaluationReport) -> dict[str, Any]:
    def numbers(estimates: Mapping[str, Any]) -> dict[str, float]:
        return {name: estimate.value for name, estimate in estimates.items()}

    return {
        "rows": report.candidate.rows,
        "positives": report.candidate.positives,
        "days": report.days,
        "candidate": numbers(report.candidate.metrics),
        "champion": numbers(report.champion.metrics) if report.champion else {},
        "difference": numbers(report.differences),
    }
