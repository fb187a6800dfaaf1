"""Quantiles of many numbers in a few hundred: a summary that merges, says how wrong it may be, and is no dice.

A point stands for the rows from just above the point before it up to itself. What a summary says about the number of
rows up to a value is therefore never too high, and too low by at most ``error`` rows; merging adds errors, thinning
adds what it drops. Sketches with random sampling (KLL and its kin) bound the error over any number of merges, but give
other bytes for the same rows each time; here equal rows give an equal document. The idea of mergeable summaries is that
of Agarwal et al., *Mergeable Summaries*, PODS 2012.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

from airflow_mlops.exceptions import SpecificationError

__all__ = ["POINTS", "RankSummary", "merge_summaries", "summarise_ranks"]

#: At most how many points a summary keeps, but for one; a share of 2 / POINTS of the rows bounds one thinning's error.
POINTS = 400


@dataclass(frozen=True, kw_only=True)
class RankSummary:
    """How numbers are spread.

    :param values: points, ascending
    :param weights: how many rows each point stands for
    :param error: at most how many rows more than told may lie at or below a value; 0 where every row is told exactly
    """

    values: tuple[float, ...] = ()
    weights: tuple[int, ...] = ()
    error: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no summary."""
        ascending = all(low < high for low, high in zip(self.values, self.values[1:], strict=False))
        if len(self.values) != len(self.weights) or not ascending or any(weight < 1 for weight in self.weights):
            raise SpecificationError("RankSummary", self.values[:3], "ascending points, each with a weight")

    @property
    def rows(self) -> int:
        """Number of rows summarised."""
        return sum(self.weights)

    def rank(self, value: float) -> int:
        """Count rows at or below a value: never too many, and too few by at most ``error``."""
        return sum(self.weights[: bisect_right(self.values, value)])

    def quantile(self, share: float) -> float:
        """Return a value of a row with about this share of the rows at or below it.

        With r = share x rows: at least r rows are at or below it, and fewer than r + ``error`` below it.

        :param share: between 0 and 1
        :raises SpecificationError: if there are no rows, or the share is none
        """
        if not self.values or not 0 <= share <= 1:
            raise SpecificationError("share", share, "a number between 0 and 1, of at least one row")
        wanted, reached = share * self.rows, 0
        for value, weight in zip(self.values, self.weights, strict=True):
            reached += weight
            if reached >= wanted:
                return value
        return self.values[-1]


def summarise_ranks(values: Sequence[float], counts: Sequence[int], *, points: int = POINTS) -> RankSummary:
    """Summarise rows given as distinct values and their counts; up to ``points`` distinct values are kept exactly.

    :param values: distinct, ascending, finite
    :param counts: how many rows have each
    """
    return _thinned(values, counts, 0, points)


def merge_summaries(summaries: Iterable[RankSummary], *, points: int = POINTS) -> RankSummary:
    """Summarise the rows of all summaries together; many at once lose less than one after the other."""
    weights: dict[float, int] = {}
    error = 0
    for summary in summaries:
        error += summary.error
        for value, weight in zip(summary.values, summary.weights, strict=True):
            weights[value] = weights.get(value, 0) + weight
    values = sorted(weights)
    return _thinned(values, [weights[value] for value in values], error, points)


def _thinned(values: Sequence[float], weights: Sequence[int], error: int, points: int) -> RankSummary:
    """Join neighbours until few are left; the highest of a group stands for it.

    A value that by itself outweighs a group stays as it is.
    """
    if len(values) <= points:
        return RankSummary(values=tuple(values), weights=tuple(weights), error=error)
    reached = list(accumulate(weights, initial=0))
    most = math.ceil(2 * reached[-1] / points)
    kept_values, kept_weights, lost, start = [], [], 0, 0
    while start < len(values):
        # As many values as weigh no more than `most` together, but at least one.
        end = max(start + 1, bisect_right(reached, reached[start] + most) - 1)
        weight = reached[end] - reached[start]
        kept_values.append(values[end - 1])
        kept_weights.append(weight)
        lost = max(lost, weight - weights[end - 1])
        start = end
    return RankSummary(values=tuple(kept_values), weights=tuple(kept_weights), error=error + lost)
