"""The gate: report and policy to judgements. Pure; whoever calls it acts.

A rule passes only when the whole interval lies on the good side of its bound, and fails only when the whole interval
lies on the bad side. In between nothing was shown: the verdict is ``INCONCLUSIVE`` and says about how many days or
rows would decide. A rule with the severity ``warn`` turns both into ``WARN``; a number that is missing stays
``INCONCLUSIVE`` whatever the severity.
"""

from __future__ import annotations

import math

from airflow_mlops.evaluation.budgets_rule import judge_budgets
from airflow_mlops.evaluation.calibration_rule import judge_calibration
from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.explanations_rule import judge_explanations
from airflow_mlops.evaluation.fairness_rule import judge_fairness
from airflow_mlops.evaluation.freshness_rule import judge_freshness
from airflow_mlops.evaluation.leakage_rule import judge_leakage
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.policy import _SECTIONS, AbsoluteRule, GatePolicy, NonInferiorityRule, SuperiorityRule
from airflow_mlops.evaluation.question import Question, first_release, softened, unmeasured, why_unmeasured
from airflow_mlops.evaluation.report import EvaluationReport
from airflow_mlops.evaluation.robustness_rule import judge_robustness
from airflow_mlops.evaluation.slices import judge_slices
from airflow_mlops.evaluation.tightening import WIDENED, judge_reuse
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["judge"]

#: Sections about which trying many candidates on the same labels says nothing.
_NO_LUCK = ("budgets", "leakage", "freshness")


def judge(report: EvaluationReport, policy: GatePolicy, *, uses: int | None = None) -> tuple[CheckResult, ...]:
    """Apply every rule of the policy to what was measured.

    :param uses: how many candidates the same data have decided about, this one included; None if that is not known
    """
    if not math.isclose(report.confidence, policy.confidence):
        reason = (
            f"the evaluation's intervals cover {report.confidence:g}, but the policy asks for {policy.confidence:g}"
        )
        return (CheckResult(name="confidence", verdict=Verdict.ERROR, reason=reason),)
    report, reuse = _reuse(report, policy, uses)
    further = report.diagnostics or DiagnosticsReport()
    return (
        _enough("rows", report.candidate.rows, policy.minimum_rows.rows),
        *_enough_of_each_class(report, policy.minimum_rows.positives),
        *(_absolute(report, rule) for rule in policy.absolute),
        *(_comparison(report, rule) for rule in policy.non_inferiority),
        *(_comparison(report, rule) for rule in policy.superiority),
        *(check for rule in policy.slices for check in judge_slices(report, rule)),
        *(judge_fairness(further.fairness, rule, report.candidate.rows) for rule in policy.fairness),
        *(() if policy.calibration is None else judge_calibration(further.calibration, policy.calibration)),
        *(() if policy.robustness is None else judge_robustness(further.robustness, policy.robustness)),
        *(() if policy.budgets is None else judge_budgets(further.budgets, policy.budgets)),
        *(() if policy.leakage is None else judge_leakage(further.leakage, policy.leakage)),
        *(() if policy.freshness is None else judge_freshness(further.freshness, policy.freshness)),
        *(
            judge_explanations(further.explanations, rule, report.candidate.rows, compared=report.champion is not None)
            for rule in policy.rules("explanations")
        ),
        *reuse,
    )


def _reuse(
    report: EvaluationReport, policy: GatePolicy, uses: int | None
) -> tuple[EvaluationReport, tuple[CheckResult, ...]]:
    """Return the report to judge by, and the judgement about how often its data were used, where the policy asks."""
    if policy.holdout is None:
        return report, ()
    others = tuple(name for name in _SECTIONS if name not in (*WIDENED, *_NO_LUCK) and policy.rules(name))
    asked = frozenset(rule.metric for name in WIDENED for rule in policy.rules(name))
    report, check = judge_reuse(report, policy.holdout, uses, asked=asked, others=others)
    return report, (check,)


def _enough_of_each_class(report: EvaluationReport, wanted: int) -> tuple[CheckResult, ...]:
    """Only a classification has classes."""
    if report.task != "classification":
        return ()
    positives = report.candidate.positives
    return _enough("positives", positives, wanted), _enough("negatives", report.candidate.rows - positives, wanted)


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
        details={f"more_{what}": wanted - found} if short else {},
    )


def _absolute(report: EvaluationReport, rule: AbsoluteRule) -> CheckResult:
    side, bound = ("minimum", rule.minimum) if rule.maximum is None else ("maximum", rule.maximum)
    name = f"{rule.metric}.{side}"
    found = report.candidate.metrics.get(rule.metric)
    if found is None or bound is None:
        why = why_unmeasured(report, rule.metric, report.candidate.unmeasured)
        return unmeasured(name, why, bound, report.candidate.rows)
    question = Question(
        name=name,
        metric=rule.metric,
        found=found,
        bound=bound,
        confidence=report.confidence,
        rows=report.candidate.rows,
        days=report.days,
        block_length=report.block_length,
        asked=f"{side} {bound:g}",
    )
    verdict = question.place()
    what = {
        Verdict.PASS: ": met by the whole interval",
        Verdict.FAIL: ": missed by the whole interval",
        Verdict.INCONCLUSIVE: " lies inside the interval, so nothing is shown",
    }[verdict]
    return softened(question.result(verdict, what), rule.severity)


def _comparison(report: EvaluationReport, rule: NonInferiorityRule | SuperiorityRule) -> CheckResult:
    better = isinstance(rule, SuperiorityRule)
    name = f"{rule.metric}.{'superiority' if better else 'non_inferiority'}"
    worse_is = -1 if METRICS[rule.metric].greater_is_better else 1
    bound = (-worse_is if better else worse_is) * rule.margin + 0.0  # no minus before a zero
    if report.champion is None:
        return first_release(name, bound, report.candidate.rows)
    found = report.differences.get(rule.metric)
    if found is None:
        why = why_unmeasured(report, rule.metric, report.undiffered)
        return unmeasured(name, why, bound, report.candidate.rows)
    question = Question(
        name=name,
        metric=rule.metric,
        found=found,
        bound=bound,
        confidence=report.confidence,
        rows=report.candidate.rows,
        days=report.days,
        block_length=report.block_length,
        asked=f"margin {bound:+g}",
        compared=True,
    )
    verdict, what = _better(question) if better else _no_worse(question)
    return softened(question.result(verdict, what), rule.severity)


def _no_worse(question: Question) -> tuple[Verdict, str]:
    verdict = question.place()
    if verdict is Verdict.PASS and question.place(0.0) is Verdict.FAIL:
        verdict = Verdict.WARN
    return verdict, {
        Verdict.PASS: ": no worse",
        Verdict.WARN: ": worse, but by less than the margin",
        Verdict.FAIL: ": worse by more than the margin",
        Verdict.INCONCLUSIVE: " lies inside the interval, so nothing is shown",
    }[verdict]


def _better(question: Question) -> tuple[Verdict, str]:
    """Judge an improvement; two models that are the same are not better than each other."""
    verdict = question.place(strictly=True)
    return verdict, {
        Verdict.PASS: ": better by more than the margin",
        Verdict.FAIL: ": not better by more than the margin",
        Verdict.INCONCLUSIVE: " lies inside the interval, so no improvement is shown",
    }[verdict]
