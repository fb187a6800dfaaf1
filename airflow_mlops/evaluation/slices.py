"""A rule about every part of the data, judged part by part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.question import Question, first_release, softened, unmeasured, why_unmeasured
from airflow_mlops.evaluation.report import EvaluationReport, SliceReport
from airflow_mlops.evaluation.rules import SliceRule
from airflow_mlops.stats.benjamini_hochberg import benjamini_hochberg
from airflow_mlops.stats.holm import holm
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.interval_p_value import p_value_below
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["judge_slices"]

_ADJUST: Mapping[str, Callable[[Sequence[float]], tuple[float, ...]]] = {
    "holm": holm,
    "benjamini_hochberg": benjamini_hochberg,
    "none": tuple,
}
# Names that a sentence can hold.
_SHOWN = 8


@dataclass
class _Parts:
    """The slices that a rule is about, by what can be said of them."""

    questions: list[Question] = field(default_factory=list)
    #: name to what is known, for slices with too little data
    thin: dict[str, str] = field(default_factory=dict)
    #: name to the reason, for slices that have the data but not the number
    missing: dict[str, str] = field(default_factory=dict)


def judge_slices(report: EvaluationReport, rule: SliceRule) -> tuple[CheckResult, ...]:
    """Judge every slice that has enough data, and say last which ones have not."""
    name = f"{rule.metric}.{rule.kind}[slices]"
    if rule.margin is not None and report.champion is None:
        return (first_release(name, _bound(rule), report.candidate.rows),)
    parts = _sort(report, rule)
    p_values = [_p_value(question) for question in parts.questions]
    checks = [
        softened(_judge(question, rule, p_value, adjusted, len(p_values)), rule.severity)
        for question, p_value, adjusted in zip(
            parts.questions, p_values, _ADJUST[rule.correction](p_values), strict=True
        )
    ]
    coverage = _coverage(name, report, rule, parts)
    return (*checks, softened(coverage, rule.severity) if parts.questions else coverage)


def _sort(report: EvaluationReport, rule: SliceRule) -> _Parts:
    parts = _Parts()
    wanted = {_columns(column): column for column in rule.columns}
    small = {name: report.small_pairs.get(name, name.split("=", maxsplit=1)[0]) for name in report.small_slices}
    for part in report.slices:
        if not wanted or _columns(part.column) in wanted:
            _take(parts, report, part, rule)
    for part_name, rows in report.small_slices.items():
        if not wanted or _columns(small[part_name]) in wanted:
            if rows < rule.min_rows:
                parts.thin[part_name] = f"{rows:,} rows"
            else:
                parts.missing[part_name] = f"{rows:,} rows, which is fewer than the evaluation measures"
    known = {_columns(column) for column in (*(one.column for one in report.slices), *small.values())}
    for columns, column in wanted.items():
        if columns not in known:
            several = "this column" if isinstance(column, str) else "these columns together"
            parts.missing[_named(column)] = f"the evaluation has no slices by {several}"
    return parts


def _columns(column: str | tuple[str, ...]) -> frozenset[str]:
    """Return the columns that make a slice, whatever their order."""
    return frozenset((column,) if isinstance(column, str) else column)


def _named(column: str | tuple[str, ...]) -> str:
    return column if isinstance(column, str) else " × ".join(column)  # noqa: RUF001 - a sign of multiplication


def _take(parts: _Parts, report: EvaluationReport, part: SliceReport, rule: SliceRule) -> None:
    name, compared = part.name, rule.margin is not None
    found = (part.differences if compared else part.candidate.metrics).get(rule.metric)
    rows, days = part.candidate.rows, part.candidate.days
    if rows < rule.min_rows:
        parts.thin[name] = f"{rows:,} rows"
    elif found is None:
        why = why_unmeasured(report, rule.metric, part.undiffered if compared else part.candidate.unmeasured)
        unfit = METRICS[rule.metric].task != report.task
        (parts.missing if unfit else parts.thin)[name] = f"{rows:,} rows, but {why or 'no such number'}"
    elif METRICS[rule.metric].by_day and days is None and rule.correction != "none":
        parts.missing[name] = "the evaluation does not say over how many days; it was made before they were counted"
    else:
        bound = _bound(rule)
        question = Question(
            name=f"{rule.metric}.{rule.kind}[{name}]",
            metric=rule.metric,
            found=found,
            bound=bound,
            confidence=report.confidence,
            rows=rows,
            days=days,
            asked=f"margin {bound:+g}" if compared else f"{rule.kind} {bound:g}",
            compared=compared,
            part=name,
            block_length=report.block_length,
        )
        parts.questions.append(question)


def _bound(rule: SliceRule) -> float:
    if rule.margin is not None:
        return -rule.margin if METRICS[rule.metric].greater_is_better else rule.margin
    return next(bound for bound in (rule.minimum, rule.maximum) if bound is not None)


def _p_value(question: Question) -> float:
    """How likely so bad a number is in a slice that is just good enough."""
    found = question.found
    degrees = question.days - 1 if METRICS[question.metric].by_day and question.days is not None else None
    mirrored = question.sign < 0
    one = Interval(
        value=-found.value if mirrored else found.value,
        low=-found.high if mirrored else found.low,
        high=-found.low if mirrored else found.high,
    )
    return p_value_below(
        one, question.sign * question.bound, confidence=question.confidence, degrees_of_freedom=degrees
    )


def _judge(question: Question, rule: SliceRule, p_value: float, adjusted: float, among: int) -> CheckResult:
    level = (1 - question.confidence) / 2
    corrected = rule.correction != "none"
    verdict = question.place()
    if corrected and verdict is not Verdict.PASS:
        verdict = Verdict.FAIL if adjusted < level else Verdict.INCONCLUSIVE
    by = f", by {_title(rule.correction)} over {among} slices" if corrected else ""
    what = {
        Verdict.PASS: ": good enough, shown by the whole interval",
        Verdict.FAIL: f": worse than that is shown{by}",
        Verdict.INCONCLUSIVE: f": neither good enough nor worse is shown{by}",
    }[verdict]
    # A slice that is to be shown worse must be shown so among all; this many times the evidence suffices always.
    bad = question.sign * question.found.value < question.sign * question.bound
    wanted = 1 - 2 * level / among if corrected and bad else None
    found = question.result(verdict, what, wanted=wanted, p_value=p_value, adjusted_p_value=adjusted)
    if verdict is Verdict.INCONCLUSIVE and rule.undecided == "warn":
        return softened(found, "warn")
    return found


def _coverage(name: str, report: EvaluationReport, rule: SliceRule, parts: _Parts) -> CheckResult:
    judged = len(parts.questions)
    total = judged + len(parts.thin) + len(parts.missing)
    if total == 0:
        why = "the evaluation has no slices; name columns under 'slices' of the task that evaluates"
        return unmeasured(name, why, None, report.candidate.rows)
    left_out = rule.too_little_data == "ignore"
    sentences = [f"{judged} of {total} slices have the {rule.min_rows:,} rows and the number to be judged by"]
    if parts.thin:
        sentences.append(f"{'left out, as the policy says' if left_out else 'too little data'}: {_listed(parts.thin)}")
    if parts.missing:
        sentences.append(f"not measured: {_listed(parts.missing)}")
    short = judged == 0 or bool(parts.missing) or (bool(parts.thin) and not left_out)
    return CheckResult(
        name=name,
        verdict=Verdict.INCONCLUSIVE if short else Verdict.PASS,
        reason="; ".join(sentences),
        value=float(judged),
        sample_size=report.candidate.rows,
        details={"too_little_data": parts.thin, "not_measured": parts.missing},
    )


def _listed(found: Mapping[str, str]) -> str:
    names = [f"{name} ({why})" for name, why in list(found.items())[:_SHOWN]]
    return ", ".join(names) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")


def _title(correction: str) -> str:
    return {"holm": "Holm's correction", "benjamini_hochberg": "the correction of Benjamini and Hochberg"}[correction]
