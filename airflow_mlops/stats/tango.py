"""Tango's score interval for the difference of two proportions that were seen on the same subjects.

Source: T. Tango, "Equivalence test and confidence interval for the difference in proportions for the paired-sample
design", Statistics in Medicine 17 (1998), 891-908. Unlike the Wald interval it keeps its level for small samples and
when hardly any pair disagrees.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval, normal_quantile

__all__ = ["tango_interval"]


def tango_interval(only_first: int, only_second: int, pairs: int, *, confidence: float = 0.95) -> Interval:
    """Interval for P(first) - P(second).

    :param only_first: pairs in which only the first succeeded
    :param only_second: pairs in which only the second succeeded
    :param pairs: all pairs, at least 1
    :param confidence: two-sided coverage
    """
    if pairs < 1 or only_first < 0 or only_second < 0 or only_first + only_second > pairs:
        raise SpecificationError(
            "only_first, only_second, pairs",
            (only_first, only_second, pairs),
            "counts of at least 0 that sum to no more than pairs, and pairs >= 1",
        )
    z = normal_quantile(confidence)
    value = (only_first - only_second) / pairs
    low = _root(lambda delta: _score(delta, only_first, only_second, pairs) - z, -1.0, value)
    high = _root(lambda delta: _score(delta, only_first, only_second, pairs) + z, value, 1.0)
    return Interval(value=value, low=min(low, value), high=max(high, value))


def _score(delta: float, only_first: int, only_second: int, pairs: int) -> float:
    """Score statistic for the hypothesis that the difference is ``delta``; it falls as ``delta`` grows."""
    numerator = only_first - only_second - pairs * delta
    a = 2 * pairs
    b = -only_first - only_second + (2 * pairs - only_first + only_second) * delta
    c = -only_second * delta * (1 - delta)
    # The probability of "only the second", estimated under the hypothesis; its bounds are those of a probability.
    second = (math.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)
    second = min(max(second, 0.0, -delta), (1 - delta) / 2)
    variance = pairs * (2 * second + delta * (1 - delta))
    if variance <= 0:
        return 0.0 if numerator == 0 else math.copysign(math.inf, numerator)
    return numerator / math.sqrt(variance)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a falling function crosses zero, by halving; a bound where it does not cross."""
    if function(low) <= 0:
        return low
    if function(high) >= 0:
        return high
    for _ in range(100):
        middle = (low + high) / 2
        if function(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
