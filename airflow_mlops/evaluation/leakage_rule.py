"""What a policy does not let a candidate know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from airflow_mlops.evaluation.ceiling import exactly_at_most, not_asked
from airflow_mlops.evaluation.leakage import LeakageReport
from airflow_mlops.evaluation.question import softened
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["LeakageRule", "judge_leakage"]

_ASK = "add the section 'leakage' to 'diagnostics' of the task that evaluates"


@dataclass(frozen=True, kw_only=True)
class LeakageRule:
    """What counts as knowing too much. Overlaps are counted, so they have no intervals.

    :param maximum_row_overlap: share of the evaluation's rows that may be among the training rows; 0 for none
    :param maximum_entity_overlap: share of the evaluation's rows that may be about entities of the training rows, for
        every column of entities that the evaluation looked at; 0 for none
    :param training_before_evaluation: whether every row of the evaluation must be later than every training row
    :param maximum_feature_power: what a single feature may reach, as the area under its ROC curve or, for numbers, as
        the share of the variance that it explains; one fails whose whole interval lies above
    :param forbid_late_columns: whether columns that are known only afterwards stop a candidate that reads them
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    maximum_row_overlap: float | None = None
    maximum_entity_overlap: float | None = None
    training_before_evaluation: bool = False
    maximum_feature_power: float | None = None
    forbid_late_columns: bool = False
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse a rule that asks nothing, or what all candidates meet."""
        asked = (self.maximum_row_overlap, self.maximum_entity_overlap, self.maximum_feature_power)
        if not (self.training_before_evaluation or self.forbid_late_columns) and set(asked) == {None}:
            choices = "maximum_row_overlap, maximum_entity_overlap, training_before_evaluation, maximum_feature_power"
            raise SpecificationError("leakage", "nothing asked", f"at least one of {choices}, forbid_late_columns")
        for name in ("maximum_row_overlap", "maximum_entity_overlap"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise SpecificationError(f"leakage.{name}", value, "a share from 0 to below 1")
        power = self.maximum_feature_power
        if power is not None and not 0 < power < 1:
            raise SpecificationError("leakage.maximum_feature_power", power, "a number between 0 and 1")


def judge_leakage(report: LeakageReport | None, rule: LeakageRule) -> tuple[CheckResult, ...]:
    """Judge what the candidate knows.

    :param report: what was found; None if it was not asked for
    """
    checks: list[CheckResult] = []
    if rule.maximum_row_overlap is not None:
        checks.append(_rows(report, rule.maximum_row_overlap, rule.severity))
    if rule.maximum_entity_overlap is not None:
        checks.extend(_entities(report, rule.maximum_entity_overlap, rule.severity))
    if rule.training_before_evaluation:
        checks.append(_time(report, rule.severity))
    if rule.maximum_feature_power is not None:
        checks.append(_features(report, rule.maximum_feature_power, rule.severity))
    if rule.forbid_late_columns:
        checks.append(_late_columns(report, rule.severity))
    return tuple(checks)


def _rows(report: LeakageReport | None, bound: float, severity: Severity) -> CheckResult:
    name = "leakage.row_overlap"
    if report is None or report.rows is None:
        why = report.unmeasured.get("rows") if report else None
        return not_asked(name, why or f"{_ASK}, with rows: true", bound=bound)
    found = report.rows
    reason = (
        f"{found.rows:,} of {report.evaluation_rows:,} rows ({100 * found.share:.2g} %) equal one of the "
        f"{report.training_rows:,} training rows by {_columns(found.columns)}; {100 * found.repeated_share:.2g} % "
        f"equal another row of the evaluation; maximum {100 * bound:g} %"
    )
    return exactly_at_most(name, found.share, bound, reason=reason, size=report.evaluation_rows, severity=severity)


def _columns(count: int) -> str:
    return "1 column" if count == 1 else f"{count} columns"


def _entities(report: LeakageReport | None, bound: float, severity: Severity) -> Iterator[CheckResult]:
    asked = report is not None and any(what.startswith("entities[") for what in report.unmeasured)
    if report is None or not (report.entities or asked):
        why = f"{_ASK}, with columns under 'entities' and with 'training_data'"
        yield not_asked("leakage.entity_overlap", why, bound=bound)
    if report is None:
        return
    for what, why in report.unmeasured.items():
        if what.startswith("entities["):
            yield not_asked(what.replace("entities", "leakage.entity_overlap", 1), why, bound=bound)
    for found in report.entities:
        reason = (
            f"{100 * found.row_share:.3g} % of the rows are about {found.known:,} of {found.entities:,} values of "
            f"{found.column} that the training rows have, too; maximum {100 * bound:g} %"
        )
        name = f"leakage.entity_overlap[{found.column}]"
        yield exactly_at_most(
            name, found.row_share, bound, reason=reason, size=report.evaluation_rows, severity=severity
        )


def _time(report: LeakageReport | None, severity: Severity) -> CheckResult:
    name = "leakage.time_overlap"
    if report is None or report.time is None:
        why = report.unmeasured.get("time") if report else None
        return not_asked(name, why or f"{_ASK}, with a 'time_column' and with 'training_data'", bound=0)
    found = report.time
    reason = (
        f"training ends {found.latest_training}, the evaluation begins {found.earliest_evaluation} by {found.column}: "
        f"{found.rows:,} of {report.evaluation_rows:,} rows are no later than the training's last"
    )
    return exactly_at_most(name, found.share, 0, reason=reason, size=report.evaluation_rows, severity=severity)


def _features(report: LeakageReport | None, bound: float, severity: Severity) -> CheckResult:
    name = "leakage.feature_power"
    if report is None or not report.features:
        why = report.unmeasured.get("features") if report else None
        return not_asked(name, why or f"{_ASK}, with features: true", bound=bound)
    above = [one for one in report.features if one.power.low > bound]
    maybe = [one for one in report.features if one.power.low <= bound < one.power.high]
    # The one that decides: of those that are shown to lie above the strongest, else of those that may.
    first = max(above or maybe or report.features, key=lambda one: one.power.high)
    verdict = Verdict.FAIL if above else Verdict.INCONCLUSIVE if maybe else Verdict.PASS
    shown = ", ".join(f"{one.feature} {one.power.value:.4f}" for one in (above or maybe or (first,))[:5])
    what = {
        Verdict.PASS: "no feature predicts that well by itself; the strongest is",
        Verdict.FAIL: "too good to be known beforehand; look where they come from:",
        Verdict.INCONCLUSIVE: "may predict that well by itself, more rows would tell:",
    }[verdict]
    check = CheckResult(
        name=name,
        verdict=verdict,
        reason=f"{first.measure} of single features, maximum {bound:g}: {what} {shown}",
        value=first.power.value,
        low=first.power.low,
        high=first.power.high,
        threshold=bound,
        sample_size=report.evaluation_rows,
        details={
            "method": first.power.method,
            "above": [one.feature for one in above],
            "undecided": [one.feature for one in maybe],
        },
    )
    return softened(check, severity)


def _late_columns(report: LeakageReport | None, severity: Severity) -> CheckResult:
    name = "leakage.late_columns"
    if report is None:
        return not_asked(name, f"{_ASK}, with the names under 'known_afterwards'", bound=0)
    found = report.late_columns
    reason = f"reads {', '.join(found)}, known only afterwards" if found else "reads no column known only afterwards"
    return exactly_at_most(name, len(found), 0, reason=reason, severity=severity, details={"columns": list(found)})
