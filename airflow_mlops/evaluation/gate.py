"""The gate: report and policy to judgements. Pure; whoever calls it acts.

A rule passes only when the whole interval lies on the good side of its bound, and fails only when the whole interval
lies on the bad side. In between nothing was shown: the verdict is ``INCONCLUSIVE`` and says about how many rows would
decide.
"""

from __future__ import annotations

import math

from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.policy import AbsoluteRule, GatePolicy, NonInferiorityRule
from airflow_mlops.evaluation.report import Estimate, EvaluationReport
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["judge"]

# An interval that would have to shrink by more than this would need a thousand times the rows.
_FARTHEST = 30


def judge(report: EvaluationReport, policy: GatePolicy) -> tuple[CheckResult, ...]:
    """Apply every rule of the policy to what was measured."""
    if not math.isclose(report.confidence, policy.confidence):
        reason = (
            f"the evaluation's intervals cover {report.confidence:g}, but the policy asks for {policy.confidence:g}"
        )
        return (CheckResult(name="confidence", verdict=Verdict.ERROR, reason=reason),)
    return (
        _enough("rows", report.candidate.rows, policy.minimum_rows.rows),
        _enough("positives", report.candidate.positives, policy.minimum_rows.positives),
        _enough("negatives", report.candidate.rows - report.candidate.positives, policy.minimum_rows.positives),
        *(_absolute(report, rule) for rule in policy.absolute),
        *(_non_inferiority(report, rule) for rule in policy.non_inferiority),
    )


def _enough(what: str, found: int, wanted: int) -> CheckResult:
    short = found < wanted
    reason = f"{found:,} {what}; the policy asks for {wanted:,}" + (f", {wanted - found:,} more" if short else "")
    return CheckResult(
        name=f"minimum_{what}",
        verdict=Verdict.INCONCLUSIVE if short else Verdict.PASS,
        reason=reason,
        value=float(found),
        threshold=float(wanted),
        sample_size=found,
    )


def _absolute(report: EvaluationReport, rule: AbsoluteRule) -> CheckResult:
    side, bound = ("minimum", rule.minimum) if rule.maximum is None else ("maximum", rule.maximum)
    name = f"{rule.metric}.{side}"
    found = report.candidate.metrics.get(rule.metric)
    if found is None or bound is None:
        return _unmeasured(name, report.candidate.unmeasured.get(rule.metric), bound, report.candidate.rows)
    sign = 1 if METRICS[rule.metric].greater_is_better else -1
    verdict = _place(found, bound, sign)
    shown = f"{rule.metric} {_interval(found, report.confidence)}; {side} {bound:g}"
    reason = {
        Verdict.PASS: f"{shown}: met by the whole interval",
        Verdict.FAIL: f"{shown}: missed by the whole interval",
        Verdict.INCONCLUSIVE: f"{shown} lies inside the interval, so nothing is shown{_more(found, bound, report)}",
    }[verdict]
    return _result(name, verdict, reason, found, bound, report)


def _non_inferiority(report: EvaluationReport, rule: NonInferiorityRule) -> CheckResult:
    name = f"{rule.metric}.non_inferiority"
    sign = 1 if METRICS[rule.metric].greater_is_better else -1
    bound = -sign * rule.margin
    if report.champion is None:
        reason = "first release: no champion to compare with"
        return CheckResult(
            name=name, verdict=Verdict.WARN, reason=reason, threshold=bound, sample_size=report.candidate.rows
        )
    found = report.differences.get(rule.metric)
    if found is None:
        return _unmeasured(name, report.undiffered.get(rule.metric), bound, report.candidate.rows)
    verdict = _place(found, bound, sign)
    shown = f"{rule.metric} {_interval(found, report.confidence, sign='+')} against the champion; margin {bound:+g}"
    if verdict is Verdict.PASS and _place(found, 0.0, sign) is Verdict.FAIL:
        verdict = Verdict.WARN
    reason = {
        Verdict.PASS: f"{shown}: no worse",
        Verdict.WARN: f"{shown}: worse, but by less than the margin",
        Verdict.FAIL: f"{shown}: worse by more than the margin",
        Verdict.INCONCLUSIVE: f"{shown} lies inside the interval, so nothing is shown{_more(found, bound, report)}",
    }[verdict]
    return _result(name, verdict, reason, found, bound, report)


def _place(found: Estimate, bound: float, sign: int) -> Verdict:
    """Where the interval lies; ``sign`` is 1 where greater is better and -1 where less is."""
    worst, best = (found.low, found.high) if sign > 0 else (found.high, found.low)
    if sign * worst >= sign * bound:
        return Verdict.PASS
    if sign * best < sign * bound:
        return Verdict.FAIL
    return Verdict.INCONCLUSIVE


def _more(found: Estimate, bound: float, report: EvaluationReport) -> str:
    """About how many more rows decide, since an interval shrinks with the root of their number."""
    distance = abs(found.value - bound)
    reach = found.value - found.low if bound < found.value else found.high - found.value
    rows = report.candidate.rows
    if reach >= _FARTHEST * distance:
        return "; the estimate is so close to the bound that no number of rows would decide"
    return f"; about {_rounded(max(rows * (reach / distance) ** 2 - rows, 1)):,} more rows like these would decide"


def _rounded(rows: float) -> int:
    digits = max(0, math.floor(math.log10(rows)) - 1)
    step = int(10**digits)
    return math.ceil(rows / step) * step


def _interval(found: Estimate, confidence: float, *, sign: str = "") -> str:
    low, value, high = (f"{number:{sign}.4f}" for number in (found.low, found.value, found.high))
    return f"{value} ({100 * confidence:g} % interval {low} to {high})"


def _unmeasured(name: str, why: str | None, bound: float | None, rows: int) -> CheckResult:
    return CheckResult(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        reason=f"not measured: {why or 'the evaluation holds no such number'}",
        threshold=bound,
        sample_size=rows,
    )


def _result(  # noqa: PLR0917 - the parts of one sentence
    name: str, verdict: Verdict, reason: str, found: Estimate, bound: float, report: EvaluationReport
) -> CheckResult:
    return CheckResult(
        name=name,
        verdict=verdict,
        reason=reason,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=bound,
        sample_size=report.candidate.rows,
        details={"method": found.method, "days": report.days},
    )
