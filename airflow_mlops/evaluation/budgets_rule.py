"""What a policy lets a candidate cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields

from airflow_mlops.evaluation.budgets import BudgetsReport, Latency
from airflow_mlops.evaluation.ceiling import at_most, exactly_at_most, not_asked
from airflow_mlops.evaluation.question import first_release
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult

__all__ = ["BudgetsRule", "judge_budgets"]

_ASK = "add the section 'budgets' to 'diagnostics' of the task that evaluates"


@dataclass(frozen=True, kw_only=True)
class BudgetsRule:
    """Bounds on time and size.

    On times the whole interval must keep the bound. Machines that others use are noisy, so what is said about times
    only warns unless ``latency_severity`` is ``fail``; sizes are counted and stop a candidate.

    :param maximum_p95_ms: number of rows in a call, as text, to milliseconds that 95 of 100 calls may take
    :param maximum_latency_ratio: how many times as long as the champion a call may take, at every number of rows
    :param maximum_bytes: size of the model's directory
    :param maximum_bytes_ratio: how many times as large as the champion's it may be
    :param maximum_peak_bytes: what one call with the largest number of rows may allocate at a time
    :param latency_severity: what the bounds on times do
    :param severity: what the bounds on sizes and memory do
    """

    maximum_p95_ms: Mapping[str, float] = field(default_factory=dict)
    maximum_latency_ratio: float | None = None
    maximum_bytes: int | None = None
    maximum_bytes_ratio: float | None = None
    maximum_peak_bytes: int | None = None
    latency_severity: Severity = "warn"
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse a rule that asks nothing, or what no model could keep."""
        bounds = [one.name for one in fields(self) if one.name.startswith("maximum_")]
        if not any(getattr(self, name) for name in bounds):
            raise SpecificationError("budgets", "no bound", "at least one of " + ", ".join(bounds))
        for batch, bound in self.maximum_p95_ms.items():
            if not (batch.isdecimal() and int(batch) > 0):
                raise SpecificationError("budgets.maximum_p95_ms", batch, "numbers of rows, for example '1'")
            if not bound > 0:
                raise SpecificationError(f"budgets.maximum_p95_ms.{batch}", bound, "a number above 0")
        for name in bounds[1:]:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SpecificationError(f"budgets.{name}", value, "a number above 0")


def judge_budgets(report: BudgetsReport | None, rule: BudgetsRule) -> tuple[CheckResult, ...]:
    """Judge what the candidate costs.

    :param report: what was found; None if it was not asked for
    """
    return (*_times(report, rule), *_ratios(report, rule), *_sizes(report, rule))


def _times(report: BudgetsReport | None, rule: BudgetsRule) -> Iterator[CheckResult]:
    for batch, bound in rule.maximum_p95_ms.items():
        name = f"budgets.p95_ms[{batch}]"
        timed = [one for one in report.latencies if one.batch == int(batch)] if report else []
        if report is None or not timed:
            yield not_asked(name, f"{_ASK}, with {batch} among its 'batches' and as many rows", bound=bound)
            continue
        yield at_most(
            name,
            timed[0].candidate.p95,
            bound,
            what=f"milliseconds for a call with {_rows(timed[0])}, 95th percentile,",
            confidence=report.confidence,
            size=timed[0].repetitions,
            severity=rule.latency_severity,
            unit="repetitions",
        )


def _ratios(report: BudgetsReport | None, rule: BudgetsRule) -> Iterator[CheckResult]:
    bound = rule.maximum_latency_ratio
    if bound is None:
        return
    if report is None or not report.latencies:
        yield not_asked("budgets.latency_ratio", _ASK, bound=bound)
        return
    for one in report.latencies:
        name = f"budgets.latency_ratio[{one.batch}]"
        if one.champion is None:
            yield first_release(name, bound, one.repetitions)
        elif one.ratio is None:
            yield not_asked(name, "the clock is too coarse for calls as short as the champion's", bound=bound)
        else:
            yield at_most(
                name,
                one.ratio,
                bound,
                what=f"time of a call with {_rows(one)} over the champion's, median,",
                confidence=report.confidence,
                size=one.repetitions,
                severity=rule.latency_severity,
                unit="repetitions",
            )


def _sizes(report: BudgetsReport | None, rule: BudgetsRule) -> Iterator[CheckResult]:
    asked: dict[str, tuple[float | None, int | None]] = {
        "bytes": (rule.maximum_bytes, report.candidate_bytes if report else None),
        "peak_bytes": (rule.maximum_peak_bytes, report.candidate_peak_bytes if report else None),
    }
    for what, (bound, found) in asked.items():
        if bound is None:
            continue
        name = f"budgets.{what}"
        if found is None:
            yield not_asked(name, f"{_ASK}{', with memory: true' if what == 'peak_bytes' else ''}", bound=bound)
            continue
        reason = f"{found:,} bytes {_WHAT[what]}; maximum {bound:,}"
        yield exactly_at_most(name, found, bound, reason=reason, severity=rule.severity)
    if rule.maximum_bytes_ratio is not None:
        yield _size_ratio(report, rule.maximum_bytes_ratio, rule.severity)


def _size_ratio(report: BudgetsReport | None, bound: float, severity: Severity) -> CheckResult:
    name = "budgets.bytes_ratio"
    if report is None:
        return not_asked(name, _ASK, bound=bound)
    if report.champion_bytes is None:
        return first_release(name, bound, 0)
    ratio = report.candidate_bytes / max(report.champion_bytes, 1)
    reason = f"{ratio:.3g} times the champion's {report.champion_bytes:,} bytes; maximum {bound:g}"
    return exactly_at_most(name, ratio, bound, reason=reason, severity=severity)


_WHAT = {"bytes": "in the model's directory", "peak_bytes": "allocated at a time by one call"}


def _rows(one: Latency) -> str:
    return "1 row" if one.batch == 1 else f"{one.batch:,} rows"
