"""Measurements of probabilities, and of the order that they put rows in."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from airflow_mlops.evaluation.metric import Metric, mean_metric
from airflow_mlops.evaluation.scored import Scored
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap
from airflow_mlops.stats.delong import auc_difference, auc_interval
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.ordered_counts import (
    average_precision,
    average_precision_of,
    binned,
    counts_by_group,
    lift,
    lift_of,
    moved_to,
)

__all__ = ["PROBABILITY_METRICS"]

# Probabilities of exactly 0 or 1 would make one wrong row infinitely bad.
_CLIP = 1e-7


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


def _both_classes(rows: Scored) -> Any:
    positive = rows.labels == 1
    if positive.all() or not positive.any():
        raise SpecificationError("labels", sorted(set(positive.astype(int).tolist())), "0 and 1, each at least once")
    return positive


def _by_group(rows: Scored) -> Any:
    """Count positive and negative rows by group and bin; every bin begins with a positive row's score."""
    import numpy as np

    codes, groups = rows.groups
    bins, edges = binned(rows.scores, rows.scores[_both_classes(rows)])
    counts = [counts_by_group(codes, groups, bins, len(edges) + 1, chosen) for chosen in _classes(rows)]
    return np.concatenate(counts, axis=1)


def _classes(rows: Scored) -> tuple[Any, Any]:
    positive = rows.labels == 1
    return positive.astype("float64"), (~positive).astype("float64")


def _order_metric(
    name: str,
    exactly: Callable[[Scored], float],
    of: Callable[[Scored], Callable[[Any], Any]],
    *,
    smooth: bool,
    most: float | None,
) -> Metric:
    """Return a function of the rows' order as a measurement.

    :param exactly: rows to the number
    :param of: rows to the function that makes it of counts by score
    :param smooth: whether it reacts smoothly to the counts
    :param most: the largest value that there can be
    """

    def interval(rows: Scored, confidence: float) -> Interval:
        rough = cluster_bootstrap(_by_group(rows), of(rows), confidence=confidence, smooth=smooth)
        if rough.low == rough.high:
            raise SpecificationError(name, rough.value, "days that differ; here all are the same, so nothing is known")
        return moved_to(exactly(rows), rough, least=0.0, most=most)

    def difference(first: Scored, second: Scored, confidence: float) -> Interval:
        import numpy as np

        one, other = _by_group(first), _by_group(second)
        statistic = of(first)

        def change(counts: Any) -> Any:
            return statistic(counts[:, : one.shape[1]]) - statistic(counts[:, one.shape[1] :])

        both = np.concatenate([one, other], axis=1)
        rough = cluster_bootstrap(both, change, confidence=confidence, smooth=smooth)
        return moved_to(exactly(first) - exactly(second), rough)

    how = "tilted bootstrap of days" if smooth else "percentile bootstrap of days"
    return Metric(
        name=name,
        greater_is_better=True,
        by_day=True,
        method=(how, f"paired, {how}"),
        interval=interval,
        difference=difference,
    )


PROBABILITY_METRICS = (
    Metric(
        name="roc_auc",
        greater_is_better=True,
        by_day=True,
        method=("DeLong, summed within days", "paired DeLong, summed within days"),
        interval=_auc,
        difference=_auc_difference,
    ),
    mean_metric("brier", _squared_errors),
    mean_metric("log_loss", _log_losses),
    _order_metric(
        "average_precision",
        lambda rows: average_precision_of(rows.labels == 1, rows.scores),
        lambda _: average_precision,
        smooth=True,
        most=1.0,
    ),
    _order_metric(
        "lift",
        lambda rows: lift_of(rows.labels == 1, rows.scores, rows.top_share),
        lambda rows: partial(lift, share=rows.top_share),
        smooth=False,
        most=None,
    ),
)
