"""How far several groups' numbers lie apart: largest difference and smallest ratio, with intervals that keep promises.

Largest minus smallest of several estimates is too large on average, and never 0, even where all groups are equal; its
bootstrap interval inherits that. So the interval is made from the pairs. The upper end of a difference is the largest
upper end of all pairs, each at its own confidence: if the truth is larger, then for one pair the interval missed it
(an intersection-union test, which needs no correction). The lower end is the largest lower end of all pairs, each
widened so that all hold together. Both ends err at most as often as one side of the confidence, and less where many
groups are alike; the estimate itself lies in the interval, though rarely in its middle. Ratios are the same with
Fieller's interval, which stays honest where the denominator is near 0. Only the standard library is needed.

Sources: R. L. Berger, "Multiparameter hypothesis testing and acceptance sampling", Technometrics 24 (1982), 295-300;
Y. Hochberg and A. C. Tamhane, *Multiple Comparison Procedures* (1987), chapter 5; E. C. Fieller, "Some problems in
interval estimation", Journal of the Royal Statistical Society B 16 (1954), 175-185.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.student import student_quantile

__all__ = ["Spread"]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Several groups' estimates and what is known about their errors.

    :param values: estimates of shares, from 0 to 1
    :param covariance: their covariances, row by row
    :param clusters: over how many clusters of rows each group is spread, at least 2
    :param tail: one-sided tail probability of one pair, of :func:`~airflow_mlops.stats.simultaneous.pair_tail`
    :param confidence: two-sided coverage of the intervals
    """

    values: Sequence[float]
    covariance: Sequence[Sequence[float]]
    clusters: Sequence[int]
    tail: float
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Refuse what has no pairs."""
        if len(self.values) < 2 or not len(self.values) == len(self.covariance) == len(self.clusters):
            raise SpecificationError(
                "Spread.values", list(self.values), "two or more, each with covariance and clusters"
            )
        if min(self.clusters) < 2:
            raise SpecificationError("Spread.clusters", min(self.clusters), "at least two clusters for each group")

    def difference(self) -> Interval:
        """Return the largest minus the smallest."""
        low, high = 0.0, 0.0
        for first, second in self._pairs():
            found = self.values[first] - self.values[second]
            error = math.sqrt(self._variance(first, second))
            low = max(low, found - self._reach(first, second, self.tail) * error)
            high = max(high, found + self._reach(first, second, (1 - self.confidence) / 2) * error)
        return Interval(value=max(self.values) - min(self.values), low=low, high=min(high, 1.0))

    def ratio(self) -> Interval:
        """Return the smallest over the largest.

        :raises SpecificationError: if all are 0, so that there is nothing to compare
        """
        if not max(self.values) > 0:
            raise SpecificationError("Spread.values", list(self.values), "at least one above 0")
        low, high = 1.0, 1.0
        for first, second in self._pairs():
            low = min(low, self._fieller(first, second, (1 - self.confidence) / 2)[0])
            high = min(high, self._fieller(first, second, self.tail)[1])
        value = min(self.values) / max(self.values)
        return Interval(value=value, low=min(low, value), high=max(high, value))

    def _pairs(self) -> Iterator[tuple[int, int]]:
        count = len(self.values)
        return ((first, second) for first in range(count) for second in range(count) if first != second)

    def _variance(self, first: int, second: int) -> float:
        shared = self.covariance[first][second]
        return max(self.covariance[first][first] + self.covariance[second][second] - 2 * shared, 0.0)

    def _reach(self, first: int, second: int, tail: float) -> float:
        return student_quantile(1 - 2 * tail, min(self.clusters[first], self.clusters[second]) - 1)

    def _fieller(self, first: int, second: int, tail: float) -> tuple[float, float]:
        """Return the ends of the interval of first over second, from 0 on and without an upper end above 1."""
        reach = self._reach(first, second, tail)
        top, bottom = self.values[first], self.values[second]
        square = bottom**2 - reach**2 * self.covariance[second][second]
        middle = top * bottom - reach**2 * self.covariance[first][second]
        rest = top**2 - reach**2 * self.covariance[first][first]
        if square <= 0:
            return 0.0, 1.0
        root = math.sqrt(max(middle**2 - square * rest, 0.0))
        return max((middle - root) / square, 0.0), min((middle + root) / square, 1.0)
