"""Rules about groups: how far apart they may lie."""

from __future__ import annotations

import math
from dataclasses import dataclass

from airflow_mlops.evaluation.fairness_report import COMBINED, METRICS, FairnessColumn, FairnessReport
from airflow_mlops.evaluation.question import rounded, softened, unmeasured
from airflow_mlops.evaluation.rules import Severity
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.sample_size import size_that_decides
from airflow_mlops.stats.spread import Spread
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["FairnessRule", "judge_fairness"]

_NAMES = (*METRICS, *COMBINED)
# Names that a sentence can hold.
_SHOWN = 8


@dataclass(frozen=True, kw_only=True)
class FairnessRule:
    """How far apart the groups of a column may lie; the whole interval must lie on the good side.

    ``{column: carrier, metric: selection_rate, min_ratio: 0.8}`` is the four-fifths rule of the U.S. Uniform
    Guidelines on Employee Selection Procedures (29 CFR 1607.4 D), where a positive prediction is the favourable one.

    :param column: the column that makes the groups
    :param metric: ``selection_rate``, ``true_positive_rate``, ``false_positive_rate``, ``precision``, ``roc_auc``, or
        ``equalized_odds`` for the worse of true and false positive rate
    :param max_gap: largest minus smallest rate may be that much; or a bound on the ratio instead:
    :param min_ratio: smallest over largest rate must be that much
    :param min_rows: smaller groups are named and not judged; None for all that the evaluation has measured
    :param severity: ``warn`` for a rule that never stops a candidate
    """

    column: str
    metric: str
    max_gap: float | None = None
    min_ratio: float | None = None
    min_rows: int | None = None
    severity: Severity = "fail"

    def __post_init__(self) -> None:
        """Refuse unknown metrics, and rules with no bound, two, or one that nothing could break or keep."""
        where = f"fairness[{self.column}]"
        if not self.column:
            raise SpecificationError("fairness.column", self.column, "the name of a column")
        if self.metric not in _NAMES:
            raise SpecificationError(f"{where}.metric", self.metric, "one of " + ", ".join(_NAMES))
        if (self.max_gap is None) == (self.min_ratio is None):
            raise SpecificationError(where, (self.max_gap, self.min_ratio), "either a max_gap or a min_ratio")
        if not 0 < self.bound < 1:
            raise SpecificationError(f"{where}.{self.bound_name}", self.bound, "a number above 0 and below 1")
        if self.min_rows is not None and self.min_rows < 1:
            raise SpecificationError(f"{where}.min_rows", self.min_rows, "at least 1")

    @property
    def bound(self) -> float:
        """What the rule allows."""
        return next((bound for bound in (self.max_gap, self.min_ratio) if bound is not None), math.nan)

    @property
    def bound_name(self) -> str:
        """What the bound is called."""
        return "min_ratio" if self.max_gap is None else "max_gap"

    @property
    def kind(self) -> str:
        """What is asked of which column; a policy asks it once of each metric."""
        return f"{self.column}.{self.bound_name}"


def judge_fairness(report: FairnessReport | None, rule: FairnessRule, rows: int) -> CheckResult:
    """Judge one column's groups by one metric.

    :param report: None if the evaluation was not asked for it
    :param rule: what is asked
    :param rows: rows of the evaluation
    """
    name = f"fairness.{rule.metric}.{rule.bound_name}[{rule.column}]"
    column = next((one for one in report.columns if one.column == rule.column), None) if report else None
    if report is None or column is None:
        why = f"the evaluation's diagnostics name no column {rule.column} under fairness"
        return unmeasured(name, why, rule.bound, rows)
    spreads = column.spreads_of(rule.metric, rule.min_rows or 1, report.confidence)
    try:
        found = [one.difference() if rule.max_gap is not None else one.ratio() for one in spreads]
    except SpecificationError:
        return unmeasured(name, f"{rule.metric} is 0 in every group, so there is no ratio", rule.bound, column.rows)
    if not found:
        return unmeasured(name, _why_not(column, rule), rule.bound, column.rows)
    return softened(_judged(name, column, rule, spreads, _worst(rule, found)), rule.severity)


def _worst(rule: FairnessRule, found: list[Interval]) -> Interval:
    pick = max if rule.max_gap is not None else min
    low, value, high = (pick(getattr(one, end) for one in found) for end in ("low", "value", "high"))
    return Interval(value=value, low=low, high=high)


def _why_not(column: FairnessColumn, rule: FairnessRule) -> str:
    reasons = [column.unmeasured[one] for one in COMBINED.get(rule.metric, (rule.metric,)) if one in column.unmeasured]
    if reasons:
        return reasons[0]
    if any(one not in column.spreads for one in COMBINED.get(rule.metric, (rule.metric,))):
        return f"the evaluation's diagnostics do not name {rule.metric} under fairness.metrics"
    return f"fewer than two groups of {rule.column} have the {rule.min_rows:,} rows that the rule asks for"


def _judged(
    name: str, column: FairnessColumn, rule: FairnessRule, spreads: tuple[Spread, ...], found: Interval
) -> CheckResult:
    confidence = spreads[0].confidence
    verdict = _place(rule, found)
    groups, small = _groups(column, rule)
    kind = "gap" if rule.max_gap is not None else "ratio"
    sentence = (
        f"{rule.metric} {kind} {found.value:.4f} ({100 * confidence:g} % interval {found.low:.4f} to {found.high:.4f}) "
        f"between {len(groups)} groups of {rule.column}; {rule.bound_name} {rule.bound:g}"
    ) + {
        Verdict.PASS: ": kept by the whole interval",
        Verdict.FAIL: ": broken by the whole interval",
        Verdict.INCONCLUSIVE: " lies inside the interval, so nothing is shown",
    }[verdict]
    more: dict[str, int | None] = {}
    if verdict is Verdict.INCONCLUSIVE:
        more = _more(column, rule, spreads, found)
        sentence += _in_words(more)
    if small:
        sentence += f"; too small to be judged: {_listed(small)}"
    return CheckResult(
        name=name,
        verdict=verdict,
        reason=sentence,
        value=found.value,
        low=found.low,
        high=found.high,
        threshold=rule.bound,
        sample_size=column.rows,
        details={"column": rule.column, "groups": list(groups), "small_groups": small, **more},
    )


def _place(rule: FairnessRule, found: Interval) -> Verdict:
    worst, best = (found.high, found.low) if rule.max_gap is not None else (-found.low, -found.high)
    bound = rule.bound if rule.max_gap is not None else -rule.bound
    if worst <= bound:
        return Verdict.PASS
    return Verdict.FAIL if best > bound else Verdict.INCONCLUSIVE


def _groups(column: FairnessColumn, rule: FairnessRule) -> tuple[list[str], dict[str, int]]:
    """Return the groups that were judged, and the others with their rows."""
    judged = [
        {name for name, rows in zip(spread.groups, spread.rows, strict=True) if rows >= (rule.min_rows or 1)}
        for spread in (column.spreads[metric] for metric in COMBINED.get(rule.metric, (rule.metric,)))
    ]
    kept = set.union(*judged)
    others = {group.name: group.rows for group in column.groups if group.name not in set.intersection(*judged)}
    return sorted(kept), {**others, **column.small_groups}


def _more(
    column: FairnessColumn, rule: FairnessRule, spreads: tuple[Spread, ...], found: Interval
) -> dict[str, int | None]:
    """Estimate how much would decide, if the numbers stay as they are."""
    days = min(min(spread.clusters) for spread in spreads)
    good = (found.value <= rule.bound) if rule.max_gap is not None else (found.value >= rule.bound)
    upper = good == (rule.max_gap is not None)
    # What would show that a bound is kept is each pair's own interval; that it is broken, the wider one of all pairs.
    confidence = spreads[0].confidence if good else 1 - 2 * min(spread.tail for spread in spreads)
    reach = found.high - found.value if upper else found.value - found.low
    size = size_that_decides(days, reach, abs(found.value - rule.bound), confidence=confidence, grouped=True)
    if size is None:
        return {"more_rows": None}
    more = max(size - days, 1)
    return {"more_days": more, "more_rows": math.ceil(more * column.rows / days)}


def _in_words(more: dict[str, int | None]) -> str:
    rows, days = more["more_rows"], more.get("more_days")
    if rows is None or days is None:
        return "; the estimate is so close to the bound that no number of rows would decide"
    return (
        f"; about {rounded(days):,} more days like these, some {rounded(rows):,} rows, would decide if the rates stay "
        "as they are"
    )


def _listed(found: dict[str, int]) -> str:
    names = [f"{name} ({rows:,} rows)" for name, rows in list(found.items())[:_SHOWN]]
    return ", ".join(names) + (f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else "")
