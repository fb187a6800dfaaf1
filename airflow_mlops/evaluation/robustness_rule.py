"""What a policy asks of a candidate when the rows are disturbed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from airflow_mlops.evaluation.ceiling import at_most, not_asked
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.perturbation import KINDS
from airflow_mlops.evaluation.robustness import LOSSES, Disturbed, RobustnessReport
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult

__all__ = ["DisturbanceBounds", "RobustnessRule", "judge_robustness"]


@dataclass(frozen=True, kw_only=True)
class DisturbanceBounds:
    """What one kind of disturbance may do, at every size that the evaluation tried.

    :param maximum_flips: share of rows whose predicted class may change
    :param maximum_loss: ``roc_auc``, ``brier``, ``mean_squared_error`` or ``mean_absolute_error`` to how much worse it
        may become, in its own unit
    """

    maximum_flips: float | None = None
    maximum_loss: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse bounds that bound nothing."""
        if self.maximum_flips is None and not self.maximum_loss:
            raise SpecificationError("robustness", "no bound", "maximum_flips, maximum_loss or both")
        if self.maximum_flips is not None and not 0 < self.maximum_flips < 1:
            raise SpecificationError("robustness.maximum_flips", self.maximum_flips, "a share between 0 and 1")
        for name, bound in self.maximum_loss.items():
            if name not in LOSSES:
                raise SpecificationError(f"robustness.maximum_loss.{name}", bound, "one of " + ", ".join(LOSSES))
            if not bound > 0:
                raise SpecificationError(f"robustness.maximum_loss.{name}", bound, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class RobustnessRule:
    """Bounds per kind of disturbance; the whole interval must keep them.

    :param noise: for noise on the numbers
    :param missing: for missing cells
    :param swaps: for mixed-up categories
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    noise: DisturbanceBounds | None = None
    missing: DisturbanceBounds | None = None
    swaps: DisturbanceBounds | None = None
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse a rule that asks nothing."""
        if not (self.noise or self.missing or self.swaps):
            raise SpecificationError("robustness", "no bounds", "bounds under at least one of " + ", ".join(KINDS))


def judge_robustness(report: RobustnessReport | None, rule: RobustnessRule) -> tuple[CheckResult, ...]:
    """Judge how the candidate answered every disturbance that the rule speaks of.

    :param report: what was found; None if it was not asked for
    """
    checks: list[CheckResult] = []
    for kind in KINDS:
        bounds: DisturbanceBounds | None = getattr(rule, kind)
        if bounds is None:
            continue
        tried = [one for one in report.disturbances if one.kind == kind] if report else []
        if report is None or not tried:
            why = f"add sizes under 'robustness: {{{kind}: …}}' to 'diagnostics' of the task that evaluates"
            checks.append(not_asked(f"robustness.{kind}", why))
            continue
        checks.extend(check for one in tried for check in _judge(report, one, bounds, rule.severity))
    return tuple(checks)


def _judge(
    report: RobustnessReport, one: Disturbed, bounds: DisturbanceBounds, severity: Severity
) -> Iterator[CheckResult]:
    about = f"{one.kind}[{one.size:g}]"
    asked = {"flips": bounds.maximum_flips, **bounds.maximum_loss}
    for what, bound in asked.items():
        if bound is None:
            continue
        name = f"robustness.{about}.{what}"
        found = one.candidate.flips if what == "flips" else one.candidate.losses.get(what)
        if found is None:
            why = one.candidate.unmeasured.get(what, "the evaluation holds no such number")
            yield not_asked(name, why, bound=bound)
            continue
        yield at_most(
            name,
            found,
            bound,
            what="share of answers that flip" if what == "flips" else f"loss of {what}",
            confidence=report.confidence,
            size=report.rows,
            severity=severity,
            details=_beside(one, what),
        )


def _beside(one: Disturbed, what: str) -> dict[str, float]:
    """Return the champion's number, for comparison; the rule does not ask about it."""
    found: Estimate | None = None
    if one.champion is not None:
        found = one.champion.flips if what == "flips" else one.champion.losses.get(what)
    return {} if found is None else {"champion": found.value}
