"""Counts of ordered values in fine bins, group by group: what functions of the order need to be resampled.

A median, an average precision and a lift are no functions of sums over rows, but nearly ones of the counts in some
hundred bins between quantiles: whatever happens inside a bin of a third of a percent is small beside what sampling
does. The exact number comes from all rows; only its spread comes from the bins, moved so that both agree on the rows
as they are. With no more distinct values than bins nothing is lost at all.
"""

from __future__ import annotations

import math
from typing import Any

from airflow_mlops.stats.interval import Interval

__all__ = [
    "average_precision",
    "average_precision_of",
    "binned",
    "counts_by_group",
    "lift",
    "lift_of",
    "moved_to",
    "quantile",
]

_BINS = 300


def binned(values: Any, among: Any) -> tuple[Any, Any]:
    """Put values between quantiles.

    :param values: array of numbers
    :param among: the values whose quantiles are the lower edges of the bins, the first of them open below
    :return: each value's bin, from 0 for the lowest, and the edges
    """
    import numpy as np

    edges = np.unique(np.quantile(among, np.linspace(0, 1, _BINS + 1), method="lower"))
    return np.searchsorted(edges, values, side="right"), edges


def counts_by_group(codes: Any, groups: int, bins: Any, width: int, weights: Any = None) -> Any:
    """Count in each group and bin: an array of groups by bins.

    :param codes: number of each row's group
    :param groups: how many groups there are
    :param bins: number of each row's bin
    :param width: how many bins there are
    :param weights: what each row counts; None for one
    """
    import numpy as np

    return np.bincount(codes * width + bins, weights=weights, minlength=groups * width).reshape(groups, width)


def average_precision(counts: Any) -> Any:
    """Mean over the positive rows of the precision at their score: the area under the precision-recall curve by steps.

    :param counts: array of resamples by twice the bins: positive rows, then negative ones, each from the lowest bin on
    """
    positives, negatives = _halves(counts)
    from_above, others = _cumulated(positives), _cumulated(negatives)
    seen = from_above + others
    precision = from_above / (seen + (seen == 0))
    return (positives[:, ::-1] * precision).sum(axis=1) / from_above[:, -1]


def lift(counts: Any, share: float) -> Any:
    """How much more often a row is positive among the first share of the rows than anywhere; ties are split evenly.

    :param counts: as for :func:`average_precision`
    :param share: share of the rows, above 0 and below 1
    """
    import numpy as np

    positives, negatives = _halves(counts)
    rows = positives + negatives
    from_above, positives_above = _cumulated(rows), _cumulated(positives)
    wanted = share * from_above[:, -1]
    last = (from_above < wanted[:, None]).sum(axis=1)
    each = np.arange(len(counts))
    inside, inside_positives = rows[:, ::-1][each, last], positives[:, ::-1][each, last]
    part = (wanted - (from_above[each, last] - inside)) / inside
    found = positives_above[each, last] - inside_positives * (1 - part)
    return (found / wanted) / (positives_above[:, -1] / from_above[:, -1])


def average_precision_of(positive: Any, scores: Any) -> float:
    """Return the average precision of rows, exactly.

    :param positive: array of truth values, one at least true
    :param scores: array of numbers, higher for more likely positive
    """
    import numpy as np

    order = np.argsort(scores)[::-1]
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(order) - 1)
    found = np.cumsum(positive[order])[last]
    return float((np.diff(found, prepend=0) * (found / (last + 1))).sum() / found[-1])


def lift_of(positive: Any, scores: Any, share: float) -> float:
    """Return the lift of the first share of rows, exactly; the parameters are those of the functions above."""
    import numpy as np

    wanted = share * len(scores)
    place = len(scores) - max(1, math.ceil(wanted))
    edge = np.partition(scores, place)[place]
    above, tied = scores > edge, scores == edge
    found = positive[above].sum() + (wanted - above.sum()) / tied.sum() * positive[tied].sum()
    return float(found / wanted / positive.mean())


def quantile(counts: Any, edges: Any, share: float = 0.5) -> Any:
    """Value below which a share of the rows lies, by interpolation inside its bin.

    :param counts: array of resamples by bins
    :param edges: lower edges of all bins but the first
    """
    import numpy as np

    below = counts.cumsum(axis=1)
    wanted = share * below[:, -1]
    which = np.minimum((below < wanted[:, None]).sum(axis=1), len(edges))
    each = np.arange(len(counts))
    inside = counts[each, which]
    part = (wanted - (below[each, which] - inside)) / inside
    lower = edges[np.maximum(which - 1, 0)]
    upper = edges[np.minimum(which, len(edges) - 1)]
    return lower + part * (upper - lower)


def moved_to(value: float, rough: Interval, *, least: float | None = None, most: float | None = None) -> Interval:
    """Return the interval of a number whose spread was found from bins.

    :param value: the number from all rows
    :param rough: the number and its interval from the bins
    :param least: the smallest that there can be
    :param most: the largest
    """
    low, high = (value + end - rough.value for end in (rough.low, rough.high))
    low = low if least is None else max(low, min(least, value))
    high = high if most is None else min(high, max(most, value))
    return Interval(value=value, low=min(low, value), high=max(high, value))


def _halves(counts: Any) -> tuple[Any, Any]:
    half = counts.shape[1] // 2
    return counts[:, :half], counts[:, half:]


def _cumulated(counts: Any) -> Any:
    """Sum from the highest bin down."""
    return counts[:, ::-1].cumsum(axis=1)
