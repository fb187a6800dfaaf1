"""The judgement that the diagnostics have in common: a measured number must not exceed a bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.question import softened
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.stats.sample_size import size_that_decides
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["at_most", "exactly_at_most", "not_asked"]


def at_most(
    name: str,
    found: Estimate,
    bound: float,
    *,
    what: str,
    confidence: float,
    size: int,
    severity: Severity = "fail",
    unit: str = "rows",
    details: Mapping[str, Any] | None = None,
) -> CheckResult:
    """Judge an estimate by its whole interval: good below the bound, bad above it, else nothing is shown.

    :param name: name of the check
    :param found: the estimate
    :param bound: what it must not exceed
    :param what: what the number is, as the sentence begins
    :param confidence: two-sided coverage of the interval
    :param size: how many rows, or other ``unit``, it rests on
    :param severity: what the rule does when it is not met
    :param unit: what more of would decide
    :param details: further facts for the report
    """
    facts: dict[str, Any] = {"method": found.method, **(details or {})}
    shown = f"{what} {found.value:.4g} ({100 * confidence:g} % interval {found.low:.4g} to {found.high:.4g})"
    if found.high <= bound:
        verdict, meaning = Verdict.PASS, "kept by the whole interval"
    elif found.low > bound:
        verdict, meaning = Verdict.FAIL, "exceeded by the whole interval"
    else:
        verdict = Verdict.INCONCLUSIVE
        more = _more(found, bound, confidence, size)
        facts[f"more_{unit}"] = more
        if more is None:
            meaning = f"inside the interval, and so close that no number of {unit} would decide"
        else:
            meaning = f"inside the interval; about {more:,} more {unit} like these would decide if the value stays"
    check = CheckResult(
        name=name,
        verdict=verdict,
        reason=f"{shown}; maximum {bound:g}: {meaning}",
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=bound,
        sample_size=size,
        details=facts,
    )
    return softened(check, severity)


def exactly_at_most(
    name: str,
    found: float,
    bound: float,
    *,
    reason: str,
    size: int | None = None,
    severity: Severity = "fail",
    details: Mapping[str, Any] | None = None,
) -> CheckResult:
    """Judge a number that was counted and has no interval.

    :param reason: the finding in words
    """
    check = CheckResult(
        name=name,
        verdict=Verdict.PASS if found <= bound else Verdict.FAIL,
        reason=reason,
        value=float(found),
        threshold=float(bound),
        sample_size=size,
        details=details or {},
    )
    return softened(check, severity)


def not_asked(name: str, why: str, *, bound: float | None = None) -> CheckResult:
    """Return the judgement about a number that is not there; no severity softens it.

    :param why: why it is not there and what to do about it
    """
    reason = f"not measured: {why}"
    return CheckResult(name=name, verdict=Verdict.INCONCLUSIVE, reason=reason, threshold=bound)


def _more(found: Estimate, bound: float, confidence: float, size: int) -> int | None:
    reach = found.value - found.low if bound < found.value else found.high - found.value
    distance = abs(found.value - bound)
    if size < 1 or distance == 0:
        return None
    wanted = size_that_decides(size, reach, distance, confidence=confidence, grouped=False)
    return None if wanted is None else max(wanted - size, 1)
