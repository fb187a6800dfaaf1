"""The rules that a policy is made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.exceptions import SpecificationError

__all__ = ["AbsoluteRule", "MinimumRows", "NonInferiorityRule", "Severity", "SliceRule", "SuperiorityRule"]

Severity = Literal["fail", "warn"]
"""What a rule does that is broken, or about which nothing was shown: stop the candidate, or only say so."""

Correction = Literal["holm", "benjamini_hochberg", "none"]
"""How the chance that one of many slices looks worse by accident is kept small."""


@dataclass(frozen=True, kw_only=True)
class MinimumRows:
    """How much evidence there must be at least.

    :param rows: labelled rows
    :param positives: rows with label 1, and as many with label 0; asked of classifications only
    """

    rows: int = 1000
    positives: int = 100

    def __post_init__(self) -> None:
        """Refuse a policy that would accept no evidence."""
        for name in ("rows", "positives"):
            if getattr(self, name) < 1:
                raise SpecificationError(f"minimum_rows.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True, kw_only=True)
class AbsoluteRule:
    """A bound on one metric; the whole interval must lie on its good side.

    :param metric: name of the metric
    :param minimum: the interval's low bound must reach it
    :param maximum: the interval's high bound must not exceed it
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    metric: str
    minimum: float | None = None
    maximum: float | None = None
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse unknown metrics and rules with no bound or two."""
        _check_metric("absolute", self.metric)
        if (self.minimum is None) == (self.maximum is None):
            raise SpecificationError(
                f"absolute[{self.metric}]", (self.minimum, self.maximum), "either a minimum or a maximum"
            )
        _check_side(f"absolute[{self.metric}]", self.metric, self.minimum, self.maximum)


@dataclass(frozen=True, kw_only=True)
class NonInferiorityRule:
    """The candidate must be shown to be no worse than the champion by the margin or more.

    :param metric: name of the metric
    :param margin: how much worse would still be acceptable, in the metric's unit; above 0
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    metric: str
    margin: float
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse unknown metrics and margins that nothing could show."""
        _check_metric("non_inferiority", self.metric)
        if not self.margin > 0:
            raise SpecificationError(f"non_inferiority[{self.metric}].margin", self.margin, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class SuperiorityRule:
    """The candidate must be shown to be better than the champion, by more than the margin.

    :param metric: name of the metric
    :param margin: how much better it must at least be, in the metric's unit; 0 for any improvement
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    metric: str
    margin: float = 0.0
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse unknown metrics and margins that ask for less than an improvement."""
        _check_metric("superiority", self.metric)
        if not self.margin >= 0:
            raise SpecificationError(f"superiority[{self.metric}].margin", self.margin, "0 or a number above 0")


@dataclass(frozen=True, kw_only=True)
class SliceRule:
    """What must hold in every part of the data that the evaluation looked at.

    A slice fails if it is shown to be worse than asked, with the correction for the number of slices. To pass it must
    be shown to be no worse: that every slice is shown needs no correction, since one that is not is enough to stop.

    :param metric: name of the metric
    :param margin: how much worse than the champion a slice may be, in the metric's unit; or a bound instead:
    :param minimum: what the metric must reach in each slice
    :param maximum: what the metric must not exceed in each slice
    :param columns: columns, or pairs of them, whose slices are meant; empty for all that the evaluation has
    :param correction: ``holm`` keeps the chance that *any* slice is wrongly called worse at what the confidence leaves
        for one side (2.5 % at 95 %); ``benjamini_hochberg`` the expected share of wrong ones among those called worse;
        ``none`` is right for a few slices of which each one counts by itself
    :param min_rows: slices with fewer rows hold too little data
    :param undecided: ``inconclusive``, or ``warn`` to let a candidate go on whose slices are not shown to be worse; the
        less there is to be seen of a slice, the more easily it gets by then
    :param too_little_data: ``inconclusive``, or ``ignore`` to leave such slices out; the report names them
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    metric: str
    margin: float | None = None
    minimum: float | None = None
    maximum: float | None = None
    columns: tuple[str | tuple[str, ...], ...] = ()
    correction: Correction = "holm"
    min_rows: int = 200
    undecided: Literal["inconclusive", "warn"] = "inconclusive"
    too_little_data: Literal["inconclusive", "ignore"] = "inconclusive"
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse unknown metrics, rules with no bound or several, and slices without rows."""
        _check_metric("slices", self.metric)
        where = f"slices[{self.metric}]"
        given = [name for name in ("margin", "minimum", "maximum") if getattr(self, name) is not None]
        if len(given) != 1:
            raise SpecificationError(where, ", ".join(given) or None, "one of margin, minimum and maximum")
        if self.margin is None:
            _check_side(where, self.metric, self.minimum, self.maximum)
        elif not self.margin > 0:
            raise SpecificationError(f"{where}.margin", self.margin, "a number above 0")
        if self.min_rows < 1:
            raise SpecificationError(f"{where}.min_rows", self.min_rows, "at least 1")

    @property
    def kind(self) -> str:
        """What is asked of a slice, as the names of the checks have it."""
        if self.margin is not None:
            return "non_inferiority"
        return "minimum" if self.maximum is None else "maximum"


def _check_metric(section: str, name: str) -> None:
    if name not in METRICS:
        raise SpecificationError(f"{section}.metric", name, "one of " + ", ".join(METRICS))


def _check_side(where: str, metric: str, minimum: float | None, maximum: float | None) -> None:
    if (minimum is not None) != METRICS[metric].greater_is_better:
        bound = "minimum" if METRICS[metric].greater_is_better else "maximum"
        raise SpecificationError(where, (minimum, maximum), f"a {bound}")
