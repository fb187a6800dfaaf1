"""What was found about groups: rates, how far they lie apart, and what is needed to look at fewer of them later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.stats.spread import Spread

__all__ = ["COMBINED", "METRICS", "Apart", "FairnessColumn", "FairnessReport", "GroupRates", "RateSpread"]

#: What is measured by group: share predicted positive, of those labelled positive, of those labelled negative; share
#: labelled positive of those predicted so; area under the ROC curve.
METRICS = ("selection_rate", "true_positive_rate", "false_positive_rate", "precision", "roc_auc")
#: Several rates at once: the largest gap, or the smallest ratio.
COMBINED = {"equalized_odds": ("true_positive_rate", "false_positive_rate")}


@dataclass(frozen=True, kw_only=True)
class GroupRates:
    """One group.

    :param name: the column's value
    :param rows: how many rows
    :param positives: how many of them have label 1
    :param selected: how many are predicted positive
    :param days: over how many days they are spread
    :param rates: metric to estimate, where there are enough rows that it is over
    """

    name: str
    rows: int
    positives: int
    selected: int
    days: int
    rates: Mapping[str, Estimate] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RateSpread:
    """One metric over the groups.

    :param groups: the groups that were compared
    :param rows: their rows
    :param cases: their rows that the metric is over
    :param values: their rates
    :param covariance: covariances of the rates, row by row
    :param clusters: over how many days each one's cases are spread
    :param tail: one-sided tail probability of one pair with which all pairs hold together
    :param gap: largest minus smallest
    :param ratio: smallest over largest; None where all are 0
    """

    groups: tuple[str, ...]
    rows: tuple[int, ...]
    cases: tuple[int, ...]
    values: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    clusters: tuple[int, ...]
    tail: float
    gap: Estimate
    ratio: Estimate | None = None

    def among(self, min_rows: int, confidence: float, *, rates: int = 1) -> Spread | None:
        """Return what is known of the groups with at least so many rows; None if fewer than two are left.

        :param confidence: two-sided coverage of the report's intervals
        :param rates: how many rates are looked at together; what is to hold of all takes a smaller tail of each
        """
        kept = [index for index, rows in enumerate(self.rows) if rows >= min_rows]
        if len(kept) < 2:
            return None
        return Spread(
            values=[self.values[index] for index in kept],
            covariance=[[self.covariance[index][other] for other in kept] for index in kept],
            clusters=[self.clusters[index] for index in kept],
            tail=self.tail / rates,
            confidence=confidence,
        )


@dataclass(frozen=True, kw_only=True)
class Apart:
    """How far the same groups lie apart for another model.

    :param gap: largest minus smallest
    :param ratio: smallest over largest; None where all are 0
    """

    gap: Estimate
    ratio: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class FairnessColumn:
    """The groups that one column makes.

    :param column: the column
    :param groups: groups that were large enough
    :param small_groups: group to rows, for those that were not
    :param spreads: metric to how far the groups lie apart
    :param unmeasured: metric to the reason why that is not known
    :param champion: metric to how far the same groups lie apart for the champion; no rule looks at it
    """

    column: str
    groups: tuple[GroupRates, ...]
    small_groups: Mapping[str, int] = field(default_factory=dict)
    spreads: Mapping[str, RateSpread] = field(default_factory=dict)
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    champion: Mapping[str, Apart] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows of all groups."""
        return sum(group.rows for group in self.groups) + sum(self.small_groups.values())

    def spreads_of(self, metric: str, min_rows: int, confidence: float) -> tuple[Spread, ...]:
        """Return what a metric's gap is made of: one spread, two for equalized odds; none where one is not known.

        :param metric: one of :data:`METRICS`, or ``equalized_odds``
        :param min_rows: groups with fewer rows are left out
        :param confidence: two-sided coverage of the report's intervals
        """
        names = COMBINED.get(metric, (metric,))
        found = [
            self.spreads[name].among(min_rows, confidence, rates=len(names)) for name in names if name in self.spreads
        ]
        spreads = tuple(one for one in found if one is not None)
        return spreads if len(spreads) == len(names) else ()


@dataclass(frozen=True, kw_only=True)
class FairnessReport:
    """The candidate, group by group.

    :param threshold: probability from which a row counts as predicted positive
    :param confidence: two-sided coverage of every interval
    :param minimum_rows: groups with fewer rows were not measured
    :param minimum_cases: nor rates over fewer rows
    :param columns: what was found, column by column
    :param seed: of the draws behind the intervals
    """

    threshold: float
    confidence: float
    minimum_rows: int
    minimum_cases: int
    columns: tuple[FairnessColumn, ...]
    seed: int = 0
