"""How old the newest rows may be for a policy."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.evaluation.ceiling import exactly_at_most, not_asked
from airflow_mlops.evaluation.freshness import FreshnessReport
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult

__all__ = ["FreshnessRule", "judge_freshness"]

_ASK = "add the section 'freshness' to 'diagnostics' of the task that evaluates"


@dataclass(frozen=True, kw_only=True)
class FreshnessRule:
    """Ages in days, counted from the moment that the evaluation was told.

    :param maximum_evaluation_days: age of the newest row that was evaluated on
    :param maximum_training_days: age of the newest row that was trained on
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    maximum_evaluation_days: float | None = None
    maximum_training_days: float | None = None
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse a rule that asks nothing."""
        bounds = ("maximum_evaluation_days", "maximum_training_days")
        if all(getattr(self, name) is None for name in bounds):
            raise SpecificationError("freshness", "no bound", "at least one of " + ", ".join(bounds))
        for name in bounds:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SpecificationError(f"freshness.{name}", value, "days, above 0")


def judge_freshness(report: FreshnessReport | None, rule: FreshnessRule) -> tuple[CheckResult, ...]:
    """Judge the ages; newest rows that lie ahead of the moment that counts as now show nothing.

    :param report: what was found; None if it was not asked for
    """
    asked = {"evaluation": rule.maximum_evaluation_days, "training": rule.maximum_training_days}
    return tuple(_judge(report, what, bound, rule.severity) for what, bound in asked.items() if bound is not None)


def _judge(report: FreshnessReport | None, what: str, bound: float, severity: Severity) -> CheckResult:
    name = f"freshness.{what}"
    found = getattr(report, what) if report else None
    if report is None or found is None:
        return not_asked(name, report.unmeasured[what] if report else _ASK, bound=bound)
    if found.days < 0:
        why = f"the newest row, {found.newest}, lies ahead of {report.now}; set 'now' to when the evaluation runs"
        return not_asked(name, why, bound=bound)
    reason = f"newest row of the {what} {found.newest}, {found.days:.3g} days before {report.now}; maximum {bound:g}"
    return exactly_at_most(name, found.days, bound, reason=reason, severity=severity)
