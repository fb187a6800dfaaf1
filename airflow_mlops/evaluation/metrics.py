"""The measurements: one model on labelled rows, and two models on the same rows."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_mlops.evaluation.decision_metrics import DECISION_METRICS
from airflow_mlops.evaluation.metric import Metric
from airflow_mlops.evaluation.probability_metrics import PROBABILITY_METRICS
from airflow_mlops.evaluation.ranking_metrics import RANKING_METRICS
from airflow_mlops.evaluation.regression_metrics import REGRESSION_METRICS
from airflow_mlops.evaluation.report import Estimate, Measurements
from airflow_mlops.evaluation.scored import Scored, Task
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval

__all__ = ["METRICS", "Metric", "Scored", "Task", "compare", "measure", "metrics_of"]

METRICS: Mapping[str, Metric] = {
    metric.name: metric for metric in (*PROBABILITY_METRICS, *DECISION_METRICS, *REGRESSION_METRICS, *RANKING_METRICS)
}
"""Every metric by its name, which no two tasks share."""


def metrics_of(task: str) -> tuple[Metric, ...]:
    """Return what is measured of a model that does this."""
    return tuple(metric for metric in METRICS.values() if metric.task == task)


def measure(rows: Scored, confidence: float) -> Measurements:
    """Measure one model."""
    import numpy as np

    metrics, unmeasured = {}, {}
    for metric in metrics_of(rows.task):
        try:
            metrics[metric.name] = _estimate(metric.interval(rows, confidence), metric.method[0])
        except SpecificationError as error:
            unmeasured[metric.name] = str(error)
    return Measurements(
        rows=len(rows.labels),
        positives=0 if rows.task == "regression" else int((rows.labels > 0).sum()),
        days=len(np.unique(rows.days)),
        metrics=metrics,
        unmeasured=unmeasured,
    )


def compare(candidate: Scored, champion: Scored, confidence: float) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Measure candidate minus champion on the same rows.

    :return: metric name to difference, and metric name to the reason why there is none
    """
    differences, missing = {}, {}
    for metric in metrics_of(candidate.task):
        try:
            found = metric.difference(candidate, champion, confidence)
            differences[metric.name] = _estimate(found, metric.method[1])
        except SpecificationError as error:
            missing[metric.name] = str(error)
    return differences, missing


def _estimate(found: Interval, method: str) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high, method=method)
