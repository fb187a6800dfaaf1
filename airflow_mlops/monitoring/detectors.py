"""Has the world changed? Drift is a change that is real, its interval excludes zero, and that reaches the limit.

Intervals are built from days as blocks: flights of one day share weather and congestion, so a month of two thousand
flights says about as much as its thirty days do. Differences of two independent means get their interval from those
of the two means (square-and-add: Zou and Donner 2008, *Statistics in Medicine* 27:1693-1702).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.spec import DayTotals, MonitorPolicy, ReferenceProfile
from airflow_mlops.monitoring.window import JoinedRows, ReadResult, by_day
from airflow_mlops.stats.cluster_totals import cluster_mean_of_totals
from airflow_mlops.stats.interval import Interval
from airflow_mlops.verdict import CheckResult, Verdict, combine

__all__ = ["DriftReport", "detect_drift"]


@dataclass(frozen=True, kw_only=True)
class DriftReport:
    """What monitoring concluded about a window.

    :param verdict: ``FAIL`` where a check shows drift, else the worst of the checks
    :param checks: the single judgements
    :param days: the window's sums per day
    :param counts: how many rows were read, joined and left over
    """

    verdict: Verdict
    checks: tuple[CheckResult, ...]
    days: tuple[DayTotals, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def drifted(self) -> bool:
        """Whether a change was shown."""
        return self.verdict is Verdict.FAIL

    @property
    def reason(self) -> str:
        """The sentence that decided, for people."""
        return " ".join(check.reason for check in self.checks if check.verdict is self.verdict)


def detect_drift(
    joined: JoinedRows,
    policy: MonitorPolicy,
    reference: ReferenceProfile | None,
    *,
    read: ReadResult,
) -> DriftReport:
    """Judge a window.

    :param joined: the window's predictions with their labels
    :param policy: which change matters and how much must be seen
    :param reference: how the champion did where it was judged; None only if no check needs it
    :param read: what reading the logs came to
    :raises SpecificationError: if a check needs the reference and there is none
    """
    if policy.needs_reference and reference is None:
        raise SpecificationError("reference", None, "a profile: brier_increase and score_shift compare with it")
    days = by_day(joined, policy.day_characters)
    lacking = [*_unusable(joined, read, policy), *_thin(joined, days, policy)]
    checks = lacking or list(_checks(days, len(joined.pairs), policy, reference))
    shown = any(check.verdict is Verdict.FAIL for check in checks)
    return DriftReport(
        verdict=Verdict.FAIL if shown else combine(checks),
        checks=tuple(checks),
        days=days,
        counts=_counts(joined, read),
    )


def _counts(joined: JoinedRows, read: ReadResult) -> dict[str, int]:
    return {
        "joined": len(joined.pairs),
        "predictions": joined.predictions,
        "labels": joined.labels,
        "unlabelled": joined.unlabelled,
        "unpredicted": joined.unpredicted,
        "repeated_predictions": joined.repeated_predictions,
        "repeated_labels": joined.repeated_labels,
        "torn_lines": read.torn,
        "unreadable_lines": read.unreadable,
    }


def _unusable(joined: JoinedRows, read: ReadResult, policy: MonitorPolicy) -> Iterator[CheckResult]:
    if not joined.predictions:
        reason = f"no predictions lie in the window ({read.lines:,} log lines were read in {read.files} files)"
        yield CheckResult(name="predictions", verdict=Verdict.ERROR, reason=reason, sample_size=0)
    share = read.unreadable / read.lines if read.lines else 0.0
    if share > policy.max_unreadable_share:
        yield CheckResult(
            name="log",
            verdict=Verdict.ERROR,
            reason=f"{read.unreadable:,} of {read.lines:,} log lines are unreadable; the first: {read.first_problem}",
            value=share,
            threshold=policy.max_unreadable_share,
            sample_size=read.lines,
        )


def _thin(joined: JoinedRows, days: Sequence[DayTotals], policy: MonitorPolicy) -> Iterator[CheckResult]:
    rows = len(joined.pairs)
    share = rows / joined.predictions if joined.predictions else 0.0
    if joined.predictions and share < policy.min_labelled_share:
        reason = f"{rows:,} of {joined.predictions:,} predictions have a label ({share:.0%}); others may still come"
        yield _inconclusive("labels", reason, share, policy.min_labelled_share, joined.predictions)
    if rows < policy.min_rows:
        reason = f"{rows:,} rows have a prediction and a label; {policy.min_rows:,} are needed"
        yield _inconclusive("rows", reason, rows, policy.min_rows, rows)
    if len(days) < policy.min_days:
        reason = f"the rows come from {len(days)} days; {policy.min_days} are needed"
        yield _inconclusive("days", reason, len(days), policy.min_days, rows)


def _inconclusive(name: str, reason: str, value: float, threshold: float, sample_size: int) -> CheckResult:
    return CheckResult(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        value=float(value),
        threshold=float(threshold),
        sample_size=sample_size,
    )


def _checks(
    days: Sequence[DayTotals], rows: int, policy: MonitorPolicy, reference: ReferenceProfile | None
) -> Iterator[CheckResult]:
    if policy.calibration_gap is not None:
        gap = _mean(days, [day.label_sum - day.prediction_sum for day in days], policy.confidence)
        yield _beyond(
            "calibration_gap", "label rate minus mean prediction", gap, policy.calibration_gap, rows=rows, days=days
        )
    if reference is not None:
        yield from _against(days, rows, policy, reference)
    rate = _mean(days, [day.label_sum for day in days], policy.confidence)
    known = "" if reference is None else f"; {reference.label_rate:.3f} where the champion was judged"
    yield CheckResult(
        name="label_rate",
        verdict=Verdict.PASS,
        reason=f"for information: the label rate is {_shown(rate)}{known}",
        value=rate.value,
        low=rate.low,
        high=rate.high,
        sample_size=rows,
    )


def _against(
    days: Sequence[DayTotals], rows: int, policy: MonitorPolicy, reference: ReferenceProfile
) -> Iterator[CheckResult]:
    wanted = (
        ("brier_increase", "Brier score minus the reference's", policy.brier_increase, "brier_sum"),
        ("score_shift", "mean prediction minus the reference's", policy.score_shift, "prediction_sum"),
    )
    for name, words, limit, field_name in wanted:
        if limit is None:
            continue
        if len(reference.by_day) < policy.min_days:
            reason = f"{words}: the reference has {len(reference.by_day)} days; {policy.min_days} are needed"
            yield _inconclusive(name, reason, len(reference.by_day), policy.min_days, rows)
            continue
        now = _mean(days, [getattr(day, field_name) for day in days], policy.confidence)
        before = _mean(reference.by_day, [getattr(day, field_name) for day in reference.by_day], policy.confidence)
        difference = _difference(now, before)
        yield _beyond(name, words, difference, limit, rows=rows, days=days, two_sided=name == "score_shift")


def _mean(days: Sequence[DayTotals], sums: Sequence[float], confidence: float) -> Interval:
    return cluster_mean_of_totals(sums, [day.rows for day in days], confidence=confidence)


def _difference(now: Interval, before: Interval) -> Interval:
    value = now.value - before.value
    return Interval(
        value=value,
        low=value - math.hypot(now.value - now.low, before.high - before.value),
        high=value + math.hypot(now.high - now.value, before.value - before.low),
    )


def _beyond(
    name: str,
    words: str,
    estimate: Interval,
    limit: float,
    *,
    rows: int,
    days: Sequence[DayTotals],
    two_sided: bool = True,
) -> CheckResult:
    is_real = estimate.low > 0 or (two_sided and estimate.high < 0)
    matters = abs(estimate.value) >= limit
    return CheckResult(
        name=name,
        verdict=Verdict.FAIL if is_real and matters else Verdict.PASS,
        reason=f"{words} is {_shown(estimate, sign=True)} on {rows:,} rows of {len(days)} days: "
        f"{_judgement(is_real, matters, limit)}",
        value=estimate.value,
        low=estimate.low,
        high=estimate.high,
        threshold=limit,
        sample_size=rows,
    )


def _judgement(is_real: bool, matters: bool, limit: float) -> str:
    if is_real and matters:
        return f"the interval excludes 0 and the size reaches the limit of {limit:g}."
    if matters:
        return f"the size reaches the limit of {limit:g}, but the interval holds 0."
    return f"the size is below the limit of {limit:g}."


def _shown(estimate: Interval, *, sign: bool = False) -> str:
    form = "+.3f" if sign else ".3f"
    return f"{estimate.value:{form}} [{estimate.low:{form}}, {estimate.high:{form}}]"
