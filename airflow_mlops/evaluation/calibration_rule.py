"""What a policy asks of a candidate's calibration."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.evaluation.calibration import CalibrationReport, ModelCalibration
from airflow_mlops.evaluation.ceiling import not_asked
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.question import softened
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["CalibrationRule", "judge_calibration"]

_ASK = "add the section 'calibration' to 'diagnostics' of the task that evaluates"


@dataclass(frozen=True, kw_only=True)
class CalibrationRule:
    """How far the probabilities may be from the truth.

    The expected calibration error of a perfect model is not 0 but what chance makes of so many rows, so a bound alone
    would refuse good models. A candidate fails only if its error exceeds the bound *and* a perfectly calibrated model
    would show so large an error with a probability below ``significance``. It passes if its error is below the bound
    where a perfect model's would be, too, and either chance explains it or it is below by more than chance reaches.

    :param maximum_error: bound on the expected calibration error; None for none
    :param significance: below which p-value an error is not put down to chance
    :param maximum_slope_deviation: how far the slope may be from 1; None for any
    :param maximum_intercept: how far the intercept may be from 0, in log-odds; None for any
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    maximum_error: float | None = 0.05
    significance: float = 0.01
    maximum_slope_deviation: float | None = None
    maximum_intercept: float | None = None
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse a rule that asks nothing, or what nothing could show."""
        bounds = ("maximum_error", "maximum_slope_deviation", "maximum_intercept")
        if all(getattr(self, name) is None for name in bounds):
            raise SpecificationError("calibration", "no bound", "at least one of " + ", ".join(bounds))
        for name in bounds:
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise SpecificationError(f"calibration.{name}", value, "a number above 0")
        if not 0 < self.significance < 1:
            raise SpecificationError("calibration.significance", self.significance, "a number between 0 and 1")


def judge_calibration(report: CalibrationReport | None, rule: CalibrationRule) -> tuple[CheckResult, ...]:
    """Judge the candidate's calibration.

    :param report: what was found; None if it was not asked for
    """
    asked = {
        "error": rule.maximum_error,
        "slope": rule.maximum_slope_deviation,
        "intercept": rule.maximum_intercept,
    }
    wanted = {name: bound for name, bound in asked.items() if bound is not None}
    if report is None or report.candidate is None:
        why = (report and report.unmeasured) or _ASK
        return tuple(not_asked(f"calibration.{name}", why, bound=bound) for name, bound in wanted.items())
    checks = []
    for name, bound in wanted.items():
        if name == "error":
            checks.append(softened(_error(report, report.candidate, bound, rule.significance), rule.severity))
            continue
        found = report.candidate.slope if name == "slope" else report.candidate.intercept
        if found is None:
            checks.append(not_asked(f"calibration.{name}", report.candidate.unmeasured[name], bound=bound))
        else:
            checks.append(softened(_line(report, name, found, bound), rule.severity))
    return tuple(checks)


def _error(report: CalibrationReport, found: ModelCalibration, bound: float, significance: float) -> CheckResult:
    value, p_value = found.error.value, found.worst_p_value
    by_chance = p_value >= significance
    details: dict[str, object] = {"p_value": p_value, "chance": found.chance, "method": found.error.method}
    if value > bound:
        verdict = Verdict.INCONCLUSIVE if by_chance else Verdict.FAIL
        what = "above it, but chance may explain that" if by_chance else "above it, and not by chance"
    elif found.error.high <= bound or (by_chance and found.chance <= bound):
        verdict = Verdict.PASS
        what = "kept, and chance explains the error" if by_chance else "kept with all that chance may add"
    else:
        verdict, what = Verdict.INCONCLUSIVE, "kept, but chance may hide a larger error"
    if verdict is Verdict.INCONCLUSIVE:
        more = _more(report.rows, found.chance, bound, value, by_chance=by_chance)
        details["more_rows"] = more
        what += f"; about {more:,} more rows like these would decide" if more else ""
    return CheckResult(
        name="calibration.error",
        verdict=verdict,
        reason=f"expected calibration error {value:.4f}, chance alone brings it to {found.chance:.4f}, "
        f"p-value {p_value:.3g}; maximum {bound:g}: {what}",
        value=value,
        low=found.error.low,
        high=found.error.high,
        threshold=bound,
        sample_size=report.rows,
        details=details,
    )


def _more(rows: int, chance: float, bound: float, value: float, *, by_chance: bool) -> int | None:
    """Rows until chance no longer reaches from where the error is to the bound; chance shrinks with their root."""
    room = bound if by_chance else abs(bound - value)
    if room <= 0 or chance > 30 * room:
        return None
    return max(1, round(rows * (chance / room) ** 2) - rows)


def _line(report: CalibrationReport, name: str, found: Estimate, reach: float) -> CheckResult:
    perfect = 1.0 if name == "slope" else 0.0
    low, high = perfect - reach, perfect + reach
    if low <= found.low and found.high <= high:
        verdict, what = Verdict.PASS, "kept by the whole interval"
    elif found.high < low or found.low > high:
        verdict, what = Verdict.FAIL, "missed by the whole interval"
    else:
        verdict, what = Verdict.INCONCLUSIVE, "its end lies inside the interval, so nothing is shown"
    return CheckResult(
        name=f"calibration.{name}",
        verdict=verdict,
        reason=f"calibration {name} {found.value:.3f} ({100 * report.confidence:g} % interval {found.low:.3f} to "
        f"{found.high:.3f}); from {low:g} to {high:g} is asked: {what}",
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=high if found.value > perfect else low,
        sample_size=report.rows,
        details={"method": found.method},
    )
