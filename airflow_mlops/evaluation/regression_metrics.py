"""Measurements of foretold numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from airflow_mlops.evaluation.metric import Metric, group_sums, mean_metric
from airflow_mlops.evaluation.scored import Scored
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.ordered_counts import binned, counts_by_group, moved_to, quantile

__all__ = ["REGRESSION_METRICS"]


def _errors(rows: Scored) -> Any:
    return rows.scores.astype("float64") - rows.labels


def _absolute_errors(rows: Scored) -> Any:
    return abs(_errors(rows))


def _ones(rows: Scored) -> Any:
    import numpy as np

    return np.ones(len(rows.labels))


def _root(sums: Any) -> Any:
    """Root of the mean square, from rows and squares."""
    import numpy as np

    return np.sqrt(sums[:, 1] / sums[:, 0])


def _rmse(rows: Scored, confidence: float) -> Interval:
    """Take the mean square's interval on the scale of logarithms, where squares are far less lopsided."""
    found = cluster_mean(_errors(rows) ** 2, rows.days, confidence=confidence)
    value = math.sqrt(found.value)
    factor = math.exp((found.high - found.value) / (2 * found.value)) if value else 1.0
    return Interval(value=value, low=value / factor, high=value * factor)


def _rmse_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    return cluster_bootstrap(
        group_sums(first, _ones(first), _errors(first) ** 2, _errors(second) ** 2),
        lambda sums: _root(sums[:, [0, 1]]) - _root(sums[:, [0, 2]]),
        confidence=confidence,
    )


def _spread(rows: Scored) -> tuple[Any, Any, Any]:
    """Return ones, labels and their squares; labels from their mean, since large ones would drown their spread."""
    labels = rows.labels - rows.labels.mean()
    if not labels.any():
        raise SpecificationError("labels", float(rows.labels[0]), "values that differ; r2 is a share of their variance")
    return _ones(rows), labels, labels**2


def _total(sums: Any) -> Any:
    """Sum of squares around the mean, from rows, labels and their squares."""
    return sums[:, 2] - sums[:, 1] ** 2 / sums[:, 0]


def _r2(rows: Scored, confidence: float) -> Interval:
    sums = group_sums(rows, *_spread(rows), _errors(rows) ** 2)
    return cluster_bootstrap(sums, lambda found: 1 - found[:, 3] / _total(found), confidence=confidence)


def _r2_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    sums = group_sums(first, *_spread(first), _errors(first) ** 2, _errors(second) ** 2)
    return cluster_bootstrap(sums, lambda found: (found[:, 4] - found[:, 3]) / _total(found), confidence=confidence)


def _median(rows: Scored) -> tuple[Any, Callable[[Any], Any], float]:
    """Return counts by group and bin, what finds the median in them, and the median."""
    import numpy as np

    errors = _absolute_errors(rows)
    codes, groups = rows.groups
    bins, edges = binned(errors, errors)
    counts = counts_by_group(codes, groups, bins, len(edges) + 1)
    return counts, lambda found: quantile(found, edges), float(np.median(errors))


def _median_error(rows: Scored, confidence: float) -> Interval:
    counts, statistic, exact = _median(rows)
    return moved_to(exact, cluster_bootstrap(counts, statistic, confidence=confidence, smooth=False), least=0.0)


def _median_error_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    import numpy as np

    one, of_one, exact = _median(first)
    other, of_other, other_exact = _median(second)

    def change(counts: Any) -> Any:
        return of_one(counts[:, : one.shape[1]]) - of_other(counts[:, one.shape[1] :])

    both = np.concatenate([one, other], axis=1)
    return moved_to(exact - other_exact, cluster_bootstrap(both, change, confidence=confidence, smooth=False))


def _bias(rows: Scored, confidence: float) -> Interval:
    found = cluster_mean(_errors(rows), rows.days, confidence=confidence)
    ends = sorted((abs(found.low), abs(found.high)))
    return Interval(value=abs(found.value), low=0.0 if found.low <= 0 <= found.high else ends[0], high=ends[1])


def _bias_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    one, other = _errors(first), _errors(second)
    return cluster_bootstrap(
        group_sums(first, _ones(first), one, other),
        lambda sums: abs(sums[:, 1] / sums[:, 0]) - abs(sums[:, 2] / sums[:, 0]),
        confidence=confidence,
        smooth=False,
    )


def _metric(name: str, interval: Any, difference: Any, method: tuple[str, str], *, up: bool = False) -> Metric:
    return Metric(
        name=name,
        greater_is_better=up,
        by_day=True,
        method=method,
        interval=interval,
        difference=difference,
        task="regression",
    )


_MEAN = "mean, robust to dependence within days"
_LOGARITHM = "mean square on a logarithmic scale, robust to dependence within days"
_TILTED = "tilted bootstrap of days"
_PERCENTILE = "percentile bootstrap of days"

REGRESSION_METRICS = (
    mean_metric("mae", _absolute_errors, task="regression"),
    _metric("rmse", _rmse, _rmse_difference, (_LOGARITHM, f"paired, {_TILTED}")),
    _metric("r2", _r2, _r2_difference, (_TILTED, f"paired, {_TILTED}"), up=True),
    _metric("median_ae", _median_error, _median_error_difference, (_PERCENTILE, f"paired, {_PERCENTILE}")),
    # How far the answers are off on average, whichever way: a bound on it keeps the mean error near 0.
    _metric("bias", _bias, _bias_difference, (f"size of the {_MEAN}", f"paired, {_PERCENTILE}")),
)
