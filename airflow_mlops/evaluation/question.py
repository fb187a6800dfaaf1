"""One question of the gate: does the truth lie on the good side of a bound? And what would answer it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from airflow_mlops.evaluation.metrics import METRICS, metrics_of
from airflow_mlops.evaluation.report import Estimate, EvaluationReport
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.stats.sample_size import detectable_difference, size_that_decides
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["Question", "first_release", "rounded", "softened", "unmeasured", "why_unmeasured"]


@dataclass(frozen=True, kw_only=True)
class Question:
    """A bound on one estimate, and what the estimate rests on.

    :param name: name of the check
    :param metric: name of the metric
    :param found: the estimate with its interval
    :param bound: where the good side begins
    :param confidence: two-sided coverage of the interval
    :param rows: how many rows it rests on
    :param days: how many groups of rows; None where that is not known
    :param asked: the bound in words, for example ``minimum 0.6``
    :param compared: whether the estimate is a difference from the champion
    :param part: the slice that it is about, as ``column=value``; None for all rows
    :param block_length: how many days make one of ``days``
    """

    name: str
    metric: str
    found: Estimate
    bound: float
    confidence: float
    rows: int
    days: int | None
    asked: str
    compared: bool = False
    part: str | None = None
    block_length: int = 1

    @property
    def sign(self) -> int:
        """1 where greater is better, -1 where less is."""
        return 1 if METRICS[self.metric].greater_is_better else -1

    def place(self, bound: float | None = None, *, strictly: bool = False) -> Verdict:
        """Say where the interval lies: ``PASS`` all good, ``FAIL`` all bad, else ``INCONCLUSIVE``.

        :param bound: another bound than the question's own
        :param strictly: whether the bound itself belongs to the bad side
        """
        bound = self.bound if bound is None else bound
        worst, best = self.sign * self.found.low, self.sign * self.found.high
        if self.sign < 0:
            worst, best = best, worst
        if worst > self.sign * bound or (worst == self.sign * bound and not strictly):
            return Verdict.PASS
        if best < self.sign * bound or (best == self.sign * bound and strictly):
            return Verdict.FAIL
        return Verdict.INCONCLUSIVE

    def shown(self) -> str:
        """Return the numbers as the reasons tell them."""
        sign = "+" if self.compared else ""
        low, value, high = (f"{number:{sign}.4f}" for number in (self.found.low, self.found.value, self.found.high))
        against = " against the champion" if self.compared else ""
        where = f" in {self.part}" if self.part else ""
        interval = f"{100 * self.confidence:g} % interval {low} to {high}"
        return f"{self.metric} {value} ({interval}){against}{where}; {self.asked}"

    def result(self, verdict: Verdict, what: str, *, wanted: float | None = None, **details: Any) -> CheckResult:
        """Return the judgement.

        :param what: what the numbers mean, the second half of the sentence
        :param wanted: coverage of the interval that would have to be clear of the bound, if it is another one
        :param details: further facts for the report
        """
        facts = {"method": self.found.method, "days": self.days, **self._detectable(), **details}
        if self.part:
            facts["slice"] = self.part
        if verdict is Verdict.INCONCLUSIVE:
            more = self._more(wanted)
            facts |= more
            what += self._in_words(more)
        return CheckResult(
            name=self.name,
            verdict=verdict,
            reason=f"{self.shown()}{what}",
            value=self.found.value,
            low=self.found.low,
            high=self.found.high,
            threshold=self.bound,
            sample_size=self.rows,
            details=facts,
        )

    @property
    def _grouped(self) -> bool:
        return METRICS[self.metric].by_day and self.days is not None and self.days > 1

    @property
    def _size(self) -> int:
        return self.days if self._grouped and self.days is not None else self.rows

    def _detectable(self) -> dict[str, float]:
        reach = (self.found.high - self.found.low) / 2
        if reach <= 0 or self._size < 1:
            return {}
        found = detectable_difference(reach, self._size, confidence=self.confidence, grouped=self._grouped)
        return {"detectable_difference": found}

    def _more(self, wanted: float | None) -> dict[str, int | None]:
        distance = abs(self.found.value - self.bound)
        reach = (
            self.found.value - self.found.low if self.bound < self.found.value else self.found.high - self.found.value
        )
        size = size_that_decides(
            self._size, reach, distance, confidence=self.confidence, wanted=wanted, grouped=self._grouped
        )
        if size is None or self._size < 1 or self.rows < 1:
            return {"more_rows": None}
        more = max(size - self._size, 1)
        return (
            {"more_days": more * self.block_length, "more_rows": math.ceil(more * self.rows / self._size)}
            if self._grouped
            else {"more_rows": more}
        )

    def _in_words(self, more: Mapping[str, int | None]) -> str:
        rows, days = more["more_rows"], more.get("more_days")
        if rows is None:
            return "; the estimate is so close to the bound that no number of rows would decide"
        those = f"rows of {self.part}" if self.part else "rows"
        stays = f"would decide if the {'difference' if self.compared else 'value'} stays as it is"
        if days is None:
            return f"; about {rounded(rows):,} more {those} like these {stays}"
        return f"; about {rounded(days):,} more days like these, some {rounded(rows):,} {those}, {stays}"


def first_release(name: str, bound: float | None, rows: int) -> CheckResult:
    """Return the judgement about a comparison where there is no champion yet."""
    reason = "first release: no champion to compare with"
    return CheckResult(name=name, verdict=Verdict.WARN, reason=reason, threshold=bound, sample_size=rows)


def unmeasured(name: str, why: str | None, bound: float | None, rows: int) -> CheckResult:
    """Return the judgement about a number that is not there; no severity softens it."""
    return CheckResult(
        name=name,
        verdict=Verdict.INCONCLUSIVE,
        reason=f"not measured: {why or 'the evaluation holds no such number'}",
        threshold=bound,
        sample_size=rows,
    )


def why_unmeasured(report: EvaluationReport, metric: str, reasons: Mapping[str, str]) -> str | None:
    """Say why the evaluation holds no such number.

    :param metric: name of the metric
    :param reasons: what the evaluation itself says: metric name to reason
    """
    task = METRICS[metric].task
    if task == report.task:
        return reasons.get(metric)
    measured = ", ".join(one.name for one in metrics_of(report.task))
    return (
        f"the evaluation was of the task {report.task!r}, which does not measure {metric}; "
        f"it measures {measured}. {metric} belongs to {task!r}"
    )


def softened(check: CheckResult, severity: Severity) -> CheckResult:
    """Return a judgement as its rule's severity has it: one that only warns never stops a candidate."""
    if severity == "fail" or check.verdict.promotes or check.verdict is Verdict.ERROR:
        return check
    reason = f"{check.reason} (a warning only, as the policy says)"
    return replace(
        check, verdict=Verdict.WARN, reason=reason, details={**check.details, "unsoftened": check.verdict.value}
    )


def rounded(number: int) -> int:
    """Return about the same number, not smaller and with two digits that count."""
    step = int(10 ** max(0, math.floor(math.log10(number)) - 1))
    return math.ceil(number / step) * step
