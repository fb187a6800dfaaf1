"""What pairs of answers came to, as counts that can be added."""

from __future__ import annotations

from dataclasses import dataclass, fields

from airflow_mlops.exceptions import SpecificationError

__all__ = ["PairCounts"]


@dataclass(frozen=True, kw_only=True)
class PairCounts:
    """What a set of pairs came to; sets that do not overlap can be added.

    :param pairs: requests that both answered
    :param candidate_failed: requests that the stable model answered and the candidate did not
    :param stable_failed: requests that the candidate answered and the stable model did not
    :param differing: pairs whose predictions differ by more than the tolerance
    :param difference_sum: sum of candidate's less stable model's prediction
    :param difference_squares: sum of the squares of these differences
    :param slower: pairs in which the candidate took longer than the stable model by more than is tolerated
    :param apart: pairs that fall on different sides of the threshold
    :param candidate_wrong: those of them whose label has arrived and says that the candidate is wrong
    :param stable_wrong: those of them whose label has arrived and says that the stable model is wrong
    """

    pairs: int = 0
    candidate_failed: int = 0
    stable_failed: int = 0
    differing: int = 0
    difference_sum: float = 0.0
    difference_squares: float = 0.0
    slower: int = 0
    apart: int = 0
    candidate_wrong: int = 0
    stable_wrong: int = 0

    def __post_init__(self) -> None:
        """Refuse counts that contradict themselves."""
        if min(getattr(self, one.name) for one in fields(self) if one.name != "difference_sum") < 0:
            raise SpecificationError("PairCounts", self, "counts of 0 or more")
        if max(self.differing, self.slower, self.apart) > self.pairs:
            raise SpecificationError("PairCounts", self, "parts that are no larger than the whole")

    def __add__(self, other: PairCounts) -> PairCounts:
        """Add the counts of two sets of pairs that do not overlap."""
        return PairCounts(**{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)})
