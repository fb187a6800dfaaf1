"""What a user asks of monitoring: which change matters, and how much must be seen before anything is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.exceptions import SpecificationError

__all__ = ["DayTotals", "MonitorPolicy", "ReferenceProfile", "parse_policy", "parse_reference"]


@dataclass(frozen=True, kw_only=True)
class MonitorPolicy:
    """When a change counts as drift.

    A change is drift when it is real and matters: its interval excludes zero, and its size reaches the limit. With
    many rows the interval alone would call every trifle a drift, with few the size alone would call noise one.

    :param min_rows: joined rows below which nothing is concluded
    :param min_days: days below which nothing is concluded; days are the blocks that intervals are built from, because
        flights of one day share their weather
    :param min_labelled_share: share of predictions that must have a label, or nothing is concluded; labels that come
        late are not a random part
    :param max_unreadable_share: share of unreadable log lines above which the log is not trusted
    :param confidence: of the two-sided intervals, for example 0.95
    :param calibration_gap: how far label rate and mean prediction may be apart, in probability; None switches the
        check off
    :param brier_increase: how much the Brier score may exceed the reference's; None switches the check off
    :param score_shift: how far the mean prediction may move from the reference's, in probability; None switches the
        check off
    :param day_characters: how many leading characters of a row's id name its day, for example 10 for
        ``2013-06-14-UA-1545``; None takes the UTC day at which the prediction was made
    """

    min_rows: int
    calibration_gap: float | None = None
    brier_increase: float | None = None
    score_shift: float | None = None
    confidence: float = 0.95
    min_days: int = 10
    min_labelled_share: float = 0.9
    max_unreadable_share: float = 0.01
    day_characters: int | None = None

    def __post_init__(self) -> None:
        """Refuse a policy that could pass without evidence."""
        _at_least(self.min_rows, 2, "policy.min_rows")
        _at_least(self.min_days, 2, "policy.min_days")
        if self.day_characters is not None:
            _at_least(self.day_characters, 1, "policy.day_characters")
        _between(self.confidence, 0.5, 1.0, "policy.confidence")
        for name in ("min_labelled_share", "max_unreadable_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SpecificationError(f"policy.{name}", value, "a share between 0 and 1")
        limits = {name: getattr(self, name) for name in ("calibration_gap", "brier_increase", "score_shift")}
        for name, limit in limits.items():
            if limit is not None:
                _between(limit, 0.0, 1.0, f"policy.{name}")
        if all(limit is None for limit in limits.values()):
            raise SpecificationError("policy", limits, "at least one limit: a policy without checks shows nothing")

    @property
    def needs_reference(self) -> bool:
        """Whether a check compares with the reference."""
        return self.brier_increase is not None or self.score_shift is not None

    @property
    def digest(self) -> str:
        """``sha256:…`` of the policy's canonical form."""
        return digest_of(encode(self))


@dataclass(frozen=True, kw_only=True)
class DayTotals:
    """Sums over the rows of one day.

    :param day: name of the day; days are told apart by it
    :param rows: number of rows
    :param label_sum: sum of the labels
    :param prediction_sum: sum of the predicted probabilities
    :param brier_sum: sum of the squared differences of label and prediction
    """

    day: str
    rows: int
    label_sum: float
    prediction_sum: float
    brier_sum: float

    def __post_init__(self) -> None:
        """Refuse an empty day."""
        _at_least(self.rows, 1, f"day {self.day!r}.rows")


@dataclass(frozen=True, kw_only=True)
class ReferenceProfile:
    """How the champion did on the rows that it was judged on.

    :param rows: number of rows
    :param label_rate: mean label
    :param mean_prediction: mean predicted probability
    :param brier: mean squared difference of label and prediction
    :param by_day: the same as sums per day, from which intervals are built
    """

    rows: int
    label_rate: float
    mean_prediction: float
    brier: float
    by_day: tuple[DayTotals, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        """Refuse a profile of nothing, and one whose days do not add up to its rows."""
        _at_least(self.rows, 1, "reference.rows")
        counted = sum(day.rows for day in self.by_day)
        if self.by_day and counted != self.rows:
            raise SpecificationError("reference.by_day", counted, f"days that hold {self.rows} rows together")


def parse_policy(document: Any, *, where: str = "policy") -> MonitorPolicy:
    """Read a policy from a mapping.

    :param where: where it comes from; errors begin with it
    :raises SpecificationError: on unknown keys, wrong types or values out of range
    """
    return decode(MonitorPolicy, document, where=where)


def parse_reference(document: Any, *, where: str = "reference") -> ReferenceProfile:
    """Read a profile from an evaluation report, or from its block ``reference`` alone.

    :param document: a mapping
    :param where: where it comes from; errors begin with it
    :raises SpecificationError: if it holds no such block, or a broken one
    """
    if isinstance(document, Mapping) and "reference" in document and "by_day" not in document:
        if document["reference"] is None:
            why = document.get("unreferenced") or "this one has no reference"
            raise SpecificationError(f"{where}.reference", None, f"the evaluation of a classification; {why}")
        return decode(ReferenceProfile, document["reference"], where=f"{where}.reference")
    return decode(ReferenceProfile, document, where=where)


def _at_least(value: int, least: int, name: str) -> None:
    if value < least:
        raise SpecificationError(name, value, f"{least} or more")


def _between(value: float, low: float, high: float, name: str) -> None:
    if not low < value < high:
        raise SpecificationError(name, value, f"a number between {low:g} and {high:g}, both excluded")
