"""Confidence interval of a quantile from order statistics; right for every continuous distribution.

The number of observations below the true quantile is binomial, so two of the ordered observations enclose it with a
coverage that follows from the binomial distribution alone.

Source: G. J. Hahn and W. Q. Meeker, *Statistical Intervals*, Wiley 1991, section 5.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval

__all__ = ["quantile_interval"]


def quantile_interval(values: Sequence[float], share: float, *, confidence: float = 0.95) -> Interval:
    """Quantile with its interval; a bound that too few observations reach is the smallest or the largest of them.

    :param values: observations, in any order
    :param share: which quantile, above 0 and below 1; 0.5 for the median
    :param confidence: two-sided coverage
    :raises SpecificationError: if there are no observations or the share is out of range
    """
    if not 0 < share < 1:
        raise SpecificationError("share", share, "a number between 0 and 1")
    ordered = sorted(values)
    count = len(ordered)
    if count == 0:
        raise SpecificationError("values", "none", "at least one observation")
    tail = (1 - confidence) / 2
    # The low bound is the largest order statistic that lies above the quantile with a chance of at most one tail.
    low = _most_with(count, share, tail)
    high = count - 1 - _most_with(count, 1 - share, tail)
    value = ordered[min(count - 1, math.ceil(count * share) - 1)]
    return Interval(value=value, low=min(value, ordered[max(low, 0)]), high=max(value, ordered[min(high, count - 1)]))


def _most_with(count: int, share: float, tail: float) -> int:
    """Largest position, from 0, with a chance of at most ``tail`` that no more than so many lie below the quantile."""
    total, position = 0.0, -1
    for below in range(count):
        total += math.exp(
            math.lgamma(count + 1) - math.lgamma(below + 1) - math.lgamma(count - below + 1)
            + below * math.log(share) + (count - below) * math.log1p(-share)
        )  # fmt: skip
        if total > tail:
            break
        position = below
    return position
