"""Judging on data that decided about other candidates before: intervals as wide as their number asks for.

With ``k`` candidates held to intervals that leave ``1/k`` of the error each, the chance that any of those that are not
good enough is let through is at most what the confidence leaves for one, however the candidates depend on each other:
Bonferroni's inequality, as in O. J. Dunn, "Multiple Comparisons Among Means", Journal of the American Statistical
Association 56 (1961), 52-64. It covers that many candidates were tried. It does not cover candidates that were made
after somebody had looked at the numbers of earlier evaluations on the same rows (C. Dwork et al., "The reusable
holdout", Science 349 (2015), 636-638); only data that nobody has looked at do.

Intervals by Student's distribution are widened by the ratio of its quantiles, which is what measuring with the other
coverage would have given. Those of Wilson and Tango are made anew from the counts behind them. Others stay as they
are, and the judgement names them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.holdout import HoldoutRule
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.evaluation.report import EvaluationReport, Measurements
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.student import student_quantile
from airflow_mlops.stats.tango import tango_interval
from airflow_mlops.stats.wilson import wilson_interval
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["WIDENED", "judge_reuse", "tightened"]

#: Sections of a policy whose intervals can be widened; those of the others are made by other means.
WIDENED = ("absolute", "non_inferiority", "superiority", "slices")

#: How the names of methods begin that take Student's distribution over the days.
_STUDENT = ("DeLong", "mean, robust")
#: An interval that is made anew with the old coverage must come out as it was, up to this.
_SAME = 1e-9


def judge_reuse(
    report: EvaluationReport,
    rule: HoldoutRule,
    uses: int | None,
    *,
    asked: frozenset[str],
    others: tuple[str, ...] = (),
) -> tuple[EvaluationReport, CheckResult]:
    """Say whether the data have decided too often, and return the report to judge by.

    :param uses: how many candidates these data have decided about, this one included; None if that is not known
    :param asked: metrics that the policy's rules look at
    :param others: sections of the policy whose intervals cannot be widened
    """
    if uses is None:
        why = "the evaluation does not name the dataset that it measured on, so its uses cannot be counted"
        return report, _result(rule, uses, Verdict.INCONCLUSIVE, f"not counted: {why}")
    counted = f"these data have decided about {_times(uses)}; the policy allows {rule.max_uses:,}"
    if uses <= rule.max_uses:
        return report, _result(rule, uses, Verdict.PASS, counted)
    fresh = "take data that no candidate was judged on"
    if rule.on_reuse == "fail":
        return report, _result(rule, uses, Verdict.FAIL, f"{counted}: {fresh}")
    if rule.on_reuse == "warn":
        return report, _result(rule, uses, Verdict.WARN, f"{counted}: one that passes may owe it to luck; {fresh}")
    confidence = 1 - (1 - report.confidence) / uses
    wider, left = tightened(report, confidence)
    unchanged = (*sorted(left & asked), *others)
    remark = f"intervals are widened to {100 * confidence:.6g} %"
    said = f"{counted}: {remark}"
    if unchanged:
        said += f", but not those of {', '.join(unchanged)}, where a candidate may pass by luck; {fresh}"
    verdict = Verdict.WARN if unchanged else Verdict.PASS
    details = {"confidence": confidence, "not_widened": list(unchanged), "remark": remark}
    return wider, _result(rule, uses, verdict, said, **details)


def _result(rule: HoldoutRule, uses: int | None, verdict: Verdict, reason: str, **details: object) -> CheckResult:
    return CheckResult(
        name="holdout.uses",
        verdict=verdict,
        reason=reason,
        value=None if uses is None else float(uses),
        threshold=float(rule.max_uses),
        details={"on_reuse": rule.on_reuse, **details},
    )


def _times(uses: int) -> str:
    return "one candidate" if uses == 1 else f"{uses:,} candidates"


def tightened(report: EvaluationReport, confidence: float) -> tuple[EvaluationReport, frozenset[str]]:
    """Return the report as it would be with another coverage, and the metrics whose intervals could not be changed.

    :param confidence: two-sided coverage, at least that of the report
    """
    work = _Widening(was=report.confidence, wanted=confidence)
    parts = tuple(
        replace(
            part,
            candidate=work.measurements(part.candidate, part.candidate.days),
            differences=work.all_of(part.differences, part.candidate.rows, part.candidate.days, compared=True),
        )
        for part in report.slices
    )
    wider = replace(
        report,
        confidence=confidence,
        candidate=work.measurements(report.candidate, report.days),
        differences=work.all_of(report.differences, report.candidate.rows, report.days, compared=True),
        slices=parts,
    )
    return wider, frozenset(work.left)


@dataclass
class _Widening:
    """One change of coverage; remembers what it could not change."""

    was: float
    wanted: float
    left: set[str] = field(default_factory=set)

    def measurements(self, found: Measurements, days: int | None) -> Measurements:
        return replace(found, metrics=self.all_of(found.metrics, found.rows, days, compared=False))

    def all_of(
        self, found: Mapping[str, Estimate], rows: int, days: int | None, *, compared: bool
    ) -> dict[str, Estimate]:
        result = {}
        for name, estimate in found.items():
            wider = None if name not in METRICS else self._one(name, estimate, rows, days, compared=compared)
            if wider is None:
                self.left.add(name)
            result[name] = wider or estimate
        return result

    def _one(self, name: str, found: Estimate, rows: int, days: int | None, *, compared: bool) -> Estimate | None:
        if found.method == "Wilson":
            return self._wilson(found, rows)
        if found.method == "Tango":
            return self._tango(found, rows)
        # Days count as observations only where the metric says so; other methods with days have no simple rule.
        if not METRICS[name].by_day or not found.method.removeprefix("paired ").startswith(_STUDENT):
            return None
        return self._student(found, days, bounded=not compared and found.method.startswith("DeLong"))

    def _student(self, found: Estimate, days: int | None, *, bounded: bool) -> Estimate | None:
        if days is None or days < 2:
            return None
        ratio = student_quantile(self.wanted, days - 1) / student_quantile(self.was, days - 1)
        low = found.value - ratio * (found.value - found.low)
        high = found.value + ratio * (found.high - found.value)
        # An area's interval was cut off at the ends of what an area can be, and is again.
        return replace(found, low=max(0.0, low) if bounded else low, high=min(1.0, high) if bounded else high)

    def _wilson(self, found: Estimate, rows: int) -> Estimate | None:
        right = round(found.value * rows)
        if not _same(found, *wilson_interval(right, rows, self.was)):
            return None
        low, high = wilson_interval(right, rows, self.wanted)
        return replace(found, low=low, high=high)

    def _tango(self, found: Estimate, rows: int) -> Estimate | None:
        """Find out how many rows the models disagree on: the more, the wider the interval."""
        net = round(found.value * rows)

        def interval(pairs: int, confidence: float) -> Interval:
            return tango_interval(pairs + max(net, 0), pairs + max(-net, 0), rows, confidence=confidence)

        few, many = 0, (rows - abs(net)) // 2
        while few < many:
            middle = (few + many) // 2
            tried = interval(middle, self.was)
            few, many = (
                (few, middle) if tried.high - tried.low >= found.high - found.low - _SAME else (middle + 1, many)
            )
        tried = interval(few, self.was)
        if not _same(found, tried.low, tried.high):
            return None
        wider = interval(few, self.wanted)
        return replace(found, low=wider.low, high=wider.high)


def _same(found: Estimate, low: float, high: float) -> bool:
    return math.isclose(found.low, low, abs_tol=_SAME) and math.isclose(found.high, high, abs_tol=_SAME)
