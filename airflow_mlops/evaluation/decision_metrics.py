"""Measurements of decisions: rows at or above the threshold count as predicted positive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_mlops.evaluation.metric import Metric
from airflow_mlops.evaluation.scored import Scored
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.tango import tango_interval
from airflow_mlops.stats.wilson import wilson_interval

__all__ = ["DECISION_METRICS", "balanced_accuracy", "decisions_by_group", "f1", "precision", "recall"]

# Columns of counts by group: true negatives, false positives, false negatives, true positives.
_TN, _FP, _FN, _TP = range(4)


def precision(counts: Any) -> Any:
    """Share of positive rows among those that are predicted positive.

    :param counts: array whose columns are the true negatives, false positives, false negatives and true positives
    """
    return counts[:, _TP] / (counts[:, _TP] + counts[:, _FP])


def recall(counts: Any) -> Any:
    """Share of those that are predicted positive among the positive rows; ``counts`` as in :func:`precision`."""
    return counts[:, _TP] / (counts[:, _TP] + counts[:, _FN])


def f1(counts: Any) -> Any:
    """Harmonic mean of precision and recall; ``counts`` as in :func:`precision`."""
    return 2 * counts[:, _TP] / (2 * counts[:, _TP] + counts[:, _FP] + counts[:, _FN])


def balanced_accuracy(counts: Any) -> Any:
    """Mean of the shares that are right among positive and among negative rows; ``counts`` as in :func:`precision`."""
    return (recall(counts) + counts[:, _TN] / (counts[:, _TN] + counts[:, _FP])) / 2


def decisions_by_group(rows: Scored, second: Scored | None = None) -> Any:
    """Count the rows of each group by label and decision: an array of groups by 4, or 8 with a second model.

    The column's number is ``2 * label + decision``, or ``4 * label + 2 * decision + second decision``.

    :param rows: rows with the first model's answers
    :param second: the same rows with the second's
    """
    import numpy as np

    codes, count = rows.groups
    cells = 2 * (rows.labels == 1).astype("int64") + rows.chosen
    width = 4
    if second is not None:
        cells, width = 2 * cells + second.chosen, 8
    return np.bincount(codes * width + cells, minlength=count * width).reshape(count, width)


def _first(counts: Any) -> Any:
    return counts[:, 0::2] + counts[:, 1::2]


def _second(counts: Any) -> Any:
    return counts[:, [0, 1, 4, 5]] + counts[:, [2, 3, 6, 7]]


def _decision_metric(name: str, statistic: Callable[[Any], Any]) -> Metric:
    def interval(rows: Scored, confidence: float) -> Interval:
        import numpy as np

        _exists(name, statistic, rows)
        # Two successes and two failures more: A. Agresti and B. A. Coull, "Approximate is better than 'exact'",
        # The American Statistician 52 (1998). Without them, three right answers of three would be certainty.
        unseen = np.repeat(np.eye(4), 2, axis=0)
        return cluster_bootstrap(decisions_by_group(rows), statistic, confidence=confidence, unseen=unseen)

    def difference(first: Scored, second: Scored, confidence: float) -> Interval:
        import numpy as np

        def change(counts: Any) -> Any:
            return statistic(_first(counts)) - statistic(_second(counts))

        _exists(name, statistic, first)
        _exists(name, statistic, second)
        # One row more for each way to disagree, twice as many as A. Agresti and Y. Min have for this purpose ("Simple
        # improved confidence intervals for comparing matched proportions", Statistics in Medicine 24 (2005)): with
        # theirs, models that differ on four rows of a hundred are accepted at the margin in 8 cases of 100, not 5.
        unseen = np.eye(8)[[1, 2, 5, 6]]
        return cluster_bootstrap(decisions_by_group(first, second), change, confidence=confidence, unseen=unseen)

    return Metric(
        name=name,
        greater_is_better=True,
        by_day=True,
        method=("tilted bootstrap of days", "paired, tilted bootstrap of days"),
        interval=interval,
        difference=difference,
    )


def _exists(name: str, statistic: Callable[[Any], Any], rows: Scored) -> None:
    import numpy as np

    counts = decisions_by_group(rows).sum(axis=0)
    with np.errstate(invalid="ignore"):
        if np.isfinite(statistic(counts[None])[0]):
            return
    found = {"rows with label 1": counts[_FN] + counts[_TP], "with label 0": counts[_TN] + counts[_FP]}
    found["predicted positive"] = counts[_FP] + counts[_TP]
    shown = ", ".join(f"{count} {what}" for what, count in found.items())
    raise SpecificationError(name, shown, "rows on which it is no division by zero")


def _correct(rows: Scored) -> Any:
    return rows.chosen == (rows.labels == 1)


def _accuracy(rows: Scored, confidence: float) -> Interval:
    right = _correct(rows)
    low, high = wilson_interval(int(right.sum()), len(right), confidence)
    return Interval(value=float(right.mean()), low=low, high=high)


def _accuracy_difference(first: Scored, second: Scored, confidence: float) -> Interval:
    one, other = _correct(first), _correct(second)
    return tango_interval(int((one & ~other).sum()), int((other & ~one).sum()), len(one), confidence=confidence)


DECISION_METRICS = (
    Metric(
        name="accuracy",
        greater_is_better=True,
        by_day=False,
        method=("Wilson", "Tango"),
        interval=_accuracy,
        difference=_accuracy_difference,
    ),
    _decision_metric("precision", precision),
    _decision_metric("recall", recall),
    _decision_metric("f1", f1),
    _decision_metric("balanced_accuracy", balanced_accuracy),
)
