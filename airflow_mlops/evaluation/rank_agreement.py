"""Importances with intervals, and whether two models' orders of them agree."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_bootstrap import cluster_bootstrap
from airflow_mlops.stats.cluster_mean import cluster_codes, cluster_mean

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_mlops.evaluation.attribution import Attribution
    from airflow_mlops.evaluation.explanations import Agreement

__all__ = ["agreement", "importance"]

_FEWEST_DAYS = 5
_FEWEST_COLUMNS = 3


def importance(found: Attribution, days: Any, confidence: float) -> dict[str, Estimate]:
    """Return the mean effect of each column, with its interval.

    :raises SpecificationError: if all rows are of one day
    """
    return {name: _mean(found.effects[:, at], days, confidence) for at, name in enumerate(found.columns)}


def _mean(effects: Any, days: Any, confidence: float) -> Estimate:
    found = cluster_mean(effects, days, confidence=confidence)
    return Estimate(value=found.value, low=found.low, high=found.high, method="mean, robust to dependence within days")


def agreement(
    first: Attribution, second: Attribution, days: Any, *, top: int, confidence: float, seed: int
) -> tuple[Agreement | None, str | None]:
    """Compare the orders in which two models hold columns important.

    Days are drawn anew, the same for both models, and the intervals are percentiles of what the draws give. They say
    how sure the order is given these two models; another training of either would differ, too.

    :param first: effects of the columns that the one reads
    :param second: those that the other reads, on the same rows
    :param top: how many columns count as the most important ones
    :return: the agreement, or why there is none
    """
    import numpy as np

    from airflow_mlops.evaluation.explanations import Agreement

    shared = [name for name in first.columns if name in second.columns]
    if len(shared) < _FEWEST_COLUMNS:
        return None, f"{len(shared)} columns are read by both models; an order needs {_FEWEST_COLUMNS}"
    codes, count = cluster_codes(days, len(days))
    if count < _FEWEST_DAYS:
        return None, f"the rows come from {count} days; an interval needs {_FEWEST_DAYS}"
    effects = np.concatenate(
        [part.effects[:, [part.columns.index(name) for name in shared]] for part in (first, second)], axis=1
    )
    sums = np.stack([np.bincount(codes, weights=column, minlength=count) for column in effects.T], axis=1)
    kept = min(top, len(shared))

    def interval(statistic: Callable[[Any, Any], Any]) -> Estimate:
        found = cluster_bootstrap(
            sums,
            lambda totals: statistic(totals[:, : len(shared)], totals[:, len(shared) :]),
            confidence=confidence,
            smooth=False,
            seed=seed,
        )
        return Estimate(value=found.value, low=found.low, high=found.high, method="bootstrap over days, percentiles")

    try:
        correlation = interval(_correlation)
    except SpecificationError:
        return None, "one of the models holds all columns equally important, so there is no order to compare"
    overlap = interval(lambda one, other: _overlap(one, other, kept))
    return Agreement(rank_correlation=correlation, top_overlap=overlap, top=kept), None


def _correlation(first: Any, second: Any) -> Any:
    """Return Spearman's correlation of the rows of two arrays; NaN where one of them has no order."""
    import numpy as np
    from scipy.stats import rankdata

    one, other = (rankdata(part, axis=1) for part in (first, second))
    one, other = (part - part.mean(axis=1, keepdims=True) for part in (one, other))
    return (one * other).sum(axis=1) / np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))


def _overlap(first: Any, second: Any, top: int) -> Any:
    """Return the share of the largest entries, row by row, that two arrays have in the same places."""
    import numpy as np

    chosen = []
    for part in (first, second):
        mark = np.zeros(part.shape, dtype=bool)
        np.put_along_axis(mark, np.argsort(-part, axis=1, kind="stable")[:, :top], values=True, axis=1)
        chosen.append(mark)
    return (chosen[0] & chosen[1]).sum(axis=1) / top
