"""The rule about explanations: the candidate should go by what the champion goes by."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.evaluation.explanations import ExplanationsReport
from airflow_mlops.evaluation.question import first_release, softened, unmeasured
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["ExplanationsRule", "judge_explanations"]


@dataclass(frozen=True, kw_only=True)
class ExplanationsRule:
    """How much candidate and champion must agree about what is important.

    A candidate that suddenly goes by other columns is no worse for that, so the rule only warns unless told otherwise.

    :param min_rank_agreement: what Spearman's correlation of the two orders of importance must reach, from -1 to 1
    :param severity: ``fail`` for a rule that stops a candidate
    """

    min_rank_agreement: float
    severity: Severity = "warn"

    def __post_init__(self) -> None:
        """Refuse bounds that every order keeps, or none."""
        if not -1 < self.min_rank_agreement < 1:
            raise SpecificationError(
                "explanations.min_rank_agreement", self.min_rank_agreement, "a number between -1 and 1"
            )


def judge_explanations(
    report: ExplanationsReport | None, rule: ExplanationsRule, rows: int, *, compared: bool
) -> CheckResult:
    """Judge the agreement with the champion.

    :param report: None if the evaluation was not asked for it
    :param rule: what is asked
    :param rows: rows of the evaluation
    :param compared: whether there is a champion
    """
    name, bound = "explanations.rank_agreement", rule.min_rank_agreement
    if not compared:
        return first_release(name, bound, rows)
    if report is None:
        why = "the evaluation was not asked for it; add 'explanations: {}' to the diagnostics of its task"
        return unmeasured(name, why, bound, rows)
    if report.agreement is None:
        return unmeasured(name, report.unagreed, bound, report.rows)
    found = report.agreement.rank_correlation
    if found.low >= bound:
        verdict, what = Verdict.PASS, "the whole interval reaches it"
    elif found.high < bound:
        verdict, what = Verdict.FAIL, f"candidate and champion go by different columns: {_apart(report)}"
    else:
        verdict = Verdict.INCONCLUSIVE
        what = "the bound lies inside the interval, so nothing is shown; more days, or more rows in the diagnostics' "
        what += f"'explanations: {{rows: …}}' than {report.rows:,}, make it shorter"
    reason = (
        f"the orders of importance correlate by {found.value:.3f} ({found.low:.3f} to {found.high:.3f}); "
        f"minimum {bound:g}: {what}"
    )
    check = CheckResult(
        name=name,
        verdict=verdict,
        reason=reason,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=bound,
        sample_size=report.rows,
        details={"method": found.method, "explained_by": report.method},
    )
    return softened(check, rule.severity)


def _apart(report: ExplanationsReport) -> str:
    """Name what either holds most important."""
    mine = report.importances[0].column
    theirs = max(
        (one for one in report.importances if one.champion is not None),
        key=lambda one: one.champion.value if one.champion else 0.0,
        default=None,
    )
    return f"the candidate most by {mine}, the champion by {theirs.column if theirs else 'none of these'}"
