"""The measurements: one model on labelled rows, and two models on the same rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.evaluation.report import Estimate, Measurements
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.delong import auc_difference, auc_interval
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.tango import tango_interval
from airflow_mlops.stats.wilson import wilson_interval

__all__ = ["METRICS", "Metric", "Scored", "compare", "measure"]

# Probabilities of exactly 0 or 1 would make one wrong row infinitely bad.
_CLIP = 1e-7


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Labelled rows with a model's probabilities, as numpy arrays of one length.

    :param labels: 0 or 1
    :param scores: probabilities of 1
    :param days: group of each row
    :param threshold: probability from which a row counts as predicted positive
    """

    labels: Any
    scores: Any
    days: Any
    threshold: float = 0.5

    def __post_init__(self) -> None:
        """Refuse labels that are no labels and scores that are no probabilities."""
        import numpy as np

        if len(self.labels) == 0:
            raise ContractError("there are no rows to evaluate on")
        if not np.isin(self.labels, (0, 1)).all():
            found = np.unique(np.asarray(self.labels, dtype="object").astype(str))[:5].tolist()
            raise ContractError(f"labels must be 0 or 1; found {', '.join(found)}")
        if not (np.isfinite(self.scores).all() and (self.scores >= 0).all() and (self.scores <= 1).all()):
            raise ContractError("the model's answers must be probabilities between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measurement.

    :param name: its name in policies and reports
    :param greater_is_better: which way is good
    :param by_day: whether days count as observations: intervals by Student's distribution over the days
    :param method: how the intervals of one model and of a difference are made
    :param interval: rows and confidence to the estimate for one model
    :param difference: rows scored by two models, and confidence, to first minus second
    """

    name: str
    greater_is_better: bool
    by_day: bool
    method: tuple[str, str]
    interval: Callable[[Scored, float], Interval]
    difference: Callable[[Scored, Scored, float], Interval]


def measure(rows: Scored, confidence: float) -> Measurements:
    """Measure one model."""
    import numpy as np

    metrics, unmeasured = {}, {}
    for metric in METRICS.values():
        try:
            metrics[metric.name] = _estimate(metric.interval(rows, confidence), metric.method[0])
        except SpecificationError as error:
            unmeasured[metric.name] = str(error)
    return Measurements(
        rows=len(rows.labels),
        positives=int(rows.labels.sum()),
        days=len(np.unique(rows.days)),
        metrics=metrics,
        unmeasured=unmeasured,
    )


def compare(candidate: Scored, champion: Scored, confidence: float) -> tuple[dict[str, Estimate], dict[str, str]]:
    """Measure candidate minus champion on the same rows.

    :return: metric name to difference, and metric name to the reason why there is none
    """
    differences, missing = {}, {}
    for metric in METRICS.values():
        try:
            found = metric.difference(candidate, champion, confidence)
            differences[metric.name] = _estimate(found, metric.method[1])
        except SpecificationError as error:
            missing[metric.name] = str(error)
    return differences, missing


def _estimate(found: Interval, method: str) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high, method=method)


def _auc(rows: Scored, confidence: float) -> Interval:
    return auc_interval(rows.labels, rows.scores, clusters=rows.days, confidence=confidence)


def _auc_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    return auc_difference(first.labels, first.scores, second.scores, clusters=first.days, confidence=confidence)


def _squared_errors(rows: Scored) -> Any:
    return (rows.scores - rows.labels) ** 2


def _log_losses(rows: Scored) -> Any:
    import numpy as np

    scores = np.clip(rows.scores, _CLIP, 1 - _CLIP)
    return -np.where(rows.labels == 1, np.log(scores), np.log1p(-scores))


def _correct(rows: Scored) -> Any:
    return (rows.scores >= rows.threshold) == (rows.labels == 1)


def _accuracy(rows: Scored, confidence: float) -> Interval:
    right = _correct(rows)
    low, high = wilson_interval(int(right.sum()), len(right), confidence)
    return Interval(value=float(right.mean()), low=low, high=high)


def _accuracy_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    one, other = _correct(first), _correct(second)
    return tango_interval(int((one & ~other).sum()), int((other & ~one).sum()), len(one), confidence=confidence)


def _mean_metric(name: str, losses: Callable[[Scored], Any]) -> Metric:
    def interval(rows: Scored, confidence: float) -> Interval:
        return cluster_mean(losses(rows), rows.days, confidence=confidence)

    def difference(first: Scored, second: Scored, confidence: float) -> Interval:
        return cluster_mean(losses(first) - losses(second), first.days, confidence=confidence)

    method = "mean, robust to dependence within days"
    return Metric(
        name=name,
        greater_is_better=False,
        by_day=True,
        method=(method, f"paired {method}"),
        interval=interval,
        difference=difference,
    )


METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            name="roc_auc",
            greater_is_better=True,
            by_day=True,
            method=("DeLong, summed within days", "paired DeLong, summed within days"),
            interval=_auc,
            difference=_auc_difference,
        ),
        _mean_metric("brier", _squared_errors),
        _mean_metric("log_loss", _log_losses),
        Metric(
            name="accuracy",
            greater_is_better=True,
            by_day=False,
            method=("Wilson", "Tango"),
            interval=_accuracy,
            difference=_accuracy_difference,
        ),
    )
}
