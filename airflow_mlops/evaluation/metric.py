"""What a measurement is: how it is taken of one model, and of two on the same rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from airflow_mlops.evaluation.scored import Scored, Task
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.interval import Interval

__all__ = ["Metric", "group_sums", "mean_metric"]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One measurement.

    :param name: its name in policies and reports
    :param greater_is_better: which way is good
    :param by_day: whether groups of rows count as observations: intervals by Student's distribution over the groups
    :param method: how the intervals of one model and of a difference are made
    :param interval: rows and confidence to the estimate for one model
    :param difference: rows scored by two models, and confidence, to first minus second
    :param task: what the models do that it measures
    """

    name: str
    greater_is_better: bool
    by_day: bool
    method: tuple[str, str]
    interval: Callable[[Scored, float], Interval]
    difference: Callable[[Scored, Scored, float], Interval]
    task: Task = "classification"


def mean_metric(name: str, losses: Callable[[Scored], Any], *, task: Task = "classification") -> Metric:
    """Return the mean of a loss over the rows as a measurement.

    :param losses: rows to an array with a number for each, smaller for better
    """

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
        task=task,
    )


def group_sums(rows: Scored, *columns: Any) -> Any:
    """Return an array of groups by columns: each group's sums over its rows.

    :param columns: arrays with a number for each row
    """
    import numpy as np

    codes, count = rows.groups
    return np.stack([np.bincount(codes, weights=column, minlength=count) for column in columns], axis=1)
