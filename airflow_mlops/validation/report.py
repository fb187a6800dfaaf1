"""From rule results to a verdict: what each rule found, and what that means for the dataset."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.source import TableRef
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec
from airflow_mlops.verdict import CheckResult, Verdict, combine

__all__ = [
    "RuleResult",
    "UnexpectedValue",
    "ValidationReport",
    "failing_facts",
    "judge",
    "summarise",
    "without_values",
]

_FAILED = {"critical": Verdict.FAIL, "warning": Verdict.WARN, "info": Verdict.PASS}


@dataclass(frozen=True, kw_only=True)
class UnexpectedValue:
    """A value that broke a rule.

    :param value: the value as text
    :param count: how many rows have it; None where there are too many broken rows to have counted all
    """

    value: str
    count: int | None = None


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What a backend found out about one rule.

    :param rule: the rule as declared
    :param passed: whether the data keep the rule; None if that could not be found out, and then ``error`` says why
    :param rows: number of rows looked at, None for rules about the table as a whole
    :param unexpected_count: number of rows that break the rule, None for rules about the table as a whole
    :param examples: some distinct unexpected values, the most frequent first
    :param first_rows: positions of the first rows that break the rule, counted from 0
    :param observed: what was measured, as text, for rules about an aggregate or the table
    :param observed_is_value: whether that shows values of rows, as a maximum or a list of distinct values does
    :param error: why the rule could not be evaluated; it may quote a value
    :param missing_columns: columns that the rule reads and the data do not have
    """

    rule: RuleSpec
    passed: bool | None
    rows: int | None = None
    unexpected_count: int | None = None
    examples: tuple[UnexpectedValue, ...] = ()
    first_rows: tuple[int, ...] = ()
    observed: str | None = None
    observed_is_value: bool = False
    error: str | None = None
    missing_columns: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse results that say nothing or contradict themselves."""
        if (self.passed is None) != (self.error is not None):
            raise SpecificationError("RuleResult.error", self.error, "a text exactly when passed is None")

    @property
    def share(self) -> float | None:
        """Share of the rows that break the rule, between 0 and 1; None where rows are not counted."""
        if not self.rows or self.unexpected_count is None:
            return None
        return self.unexpected_count / self.rows

    @property
    def verdict(self) -> Verdict:
        """What this result means for the dataset."""
        if self.passed is None:
            return Verdict.ERROR
        if self.rows == 0:
            return Verdict.WARN
        return Verdict.PASS if self.passed else _FAILED[self.rule.severity]

    @property
    def shows_something(self) -> bool:
        """Whether the rule was evaluated, and on more than no rows; a condition may leave it none."""
        return self.passed is not None and self.rows != 0

    @property
    def reason(self) -> str:
        """One sentence with the numbers, without any value of a row."""
        if self.passed is None:
            return f"{self.rule.label}: could not be evaluated: {without_values(str(self.error), self.rule)}"
        if self.rows == 0:
            return f"{self.rule.label}: the rule's condition selects no row, so nothing was shown"
        if self.passed:
            return f"{self.rule.label}: kept{self._numbers()}"
        return f"{self.rule.label}: broken{self._numbers()}"

    def _numbers(self) -> str:
        if self.share is None:
            return f"; observed {self.observed}" if self.observed is not None and not self.observed_is_value else ""
        if not self.unexpected_count:
            return f" by all {self.rows:,} rows"
        counted = f"{self.unexpected_count:,} of {self.rows:,} rows ({self.share:.1%})"
        return f"; {counted} are unexpected, as the rule allows" if self.passed else f" by {counted}"


@dataclass(frozen=True, kw_only=True)
class ValidationReport:
    """The judgement of one dataset by one suite.

    :param suite: the rules that were applied
    :param dataset: the rows that they were applied to
    :param results: one per evaluated rule
    :param checks: the judgements, one per rule and one for the evidence as a whole where it is lacking
    :param verdict: the worst of the checks
    """

    suite: SuiteSpec
    dataset: DatasetRef | TableRef
    results: tuple[RuleResult, ...]
    checks: tuple[CheckResult, ...]
    verdict: Verdict

    @property
    def broken(self) -> tuple[RuleResult, ...]:
        """Results that are not a plain pass, the worst first."""
        found = [result for result in self.results if not (result.passed and result.shows_something)]
        return tuple(sorted(found, key=lambda result: -result.verdict.severity))

    @property
    def is_final(self) -> bool:
        """Whether judging the same bytes again must give the same verdict.

        Broken rules and missing columns are facts about the data; an exception inside a rule may be one of the machine.
        """
        facts = any(result.verdict is Verdict.FAIL or result.missing_columns for result in self.results)
        return facts or self.dataset.rows == 0


def judge(suite: SuiteSpec, dataset: DatasetRef | TableRef, results: Sequence[RuleResult]) -> ValidationReport:
    """Turn rule results into a report.

    A dataset without rows, a suite of which nothing was evaluated and a rule without a result are errors: nothing was
    shown about the data.
    """
    checks = [_check(result) for result in results]
    if dataset.rows == 0:
        checks.append(_lacking("dataset.rows", "the dataset has no rows, so nothing was shown about it"))
    evaluated = sum(result.shows_something for result in results)
    if not evaluated:
        checks.append(_lacking("suite.evaluated", f"none of the {len(suite.rules)} declared rules was evaluated"))
    unanswered = [rule for rule in suite.rules if all(result.rule != rule for result in results)]
    checks += [_lacking(rule.label, f"{rule.label}: the backend gave no result") for rule in unanswered]
    return ValidationReport(
        suite=suite, dataset=dataset, results=tuple(results), checks=tuple(checks), verdict=combine(checks)
    )


def _check(result: RuleResult) -> CheckResult:
    return CheckResult(
        name=result.rule.label,
        verdict=result.verdict,
        reason=result.reason,
        value=result.share,
        threshold=_allowed_share(result.rule) if result.share is not None else None,
        sample_size=result.rows,
        details={
            "type": result.rule.type,
            "severity": result.rule.severity,
            "missing": list(result.missing_columns),
            "columns": list(result.rule.columns),
            "kept": result.passed,
        },
    )


def _allowed_share(rule: RuleSpec) -> float | None:
    mostly = rule.kwargs.get("mostly", 1.0)
    return round(1.0 - mostly, 12) if isinstance(mostly, (int, float)) else None


def _lacking(name: str, reason: str) -> CheckResult:
    return CheckResult(name=name, verdict=Verdict.ERROR, reason=reason)


def summarise(report: ValidationReport) -> dict[str, int]:
    """Count rules by outcome."""
    results = report.results
    return {
        "rules": len(report.suite.rules),
        "evaluated": sum(result.shows_something for result in results),
        "kept": sum(result.passed is True for result in results),
        "broken": sum(result.passed is False for result in results),
        "errors": sum(result.verdict is Verdict.ERROR for result in results),
        "rows": report.dataset.rows,
    }


def failing_facts(report: ValidationReport, *, examples: bool = False, limit: int = 20) -> list[dict[str, Any]]:
    """Describe the broken rules as small JSON-safe facts, the worst first.

    :param examples: whether values of rows may be shown
    :param limit: at most how many rules are described
    """
    facts = []
    for result in report.broken[:limit]:
        fact: dict[str, Any] = {
            "rule": result.rule.type,
            "column": ", ".join(result.rule.columns) or None,
            "severity": result.rule.severity,
            "verdict": result.verdict.value,
            "unexpected_count": result.unexpected_count,
            "rows": result.rows,
            "reason": result.reason,
        }
        if examples and result.examples:
            fact["examples"] = [example.value for example in result.examples]
        facts.append(fact)
    return facts


_QUOTED = re.compile(r"""(['"`])((?:(?!\1).)*)\1""")
_WORDS = re.compile(r"\W+|NoneType|Timestamp|Timedelta|Decimal|(numpy\.)?ndarray|[a-z_]*(str|int|float|bool)\d*")


def without_values(text: str, rule: RuleSpec) -> str:
    """Take out of an exception's message what it quotes; that may be a value of a row.

    Names of columns and arguments of the rule, operators and names of types stay.
    """
    known = {str(rule.type), *map(str, rule.columns), *(str(value) for value in rule.kwargs.values())}

    def shown(match: re.Match[str]) -> str:
        quote, inside = match.groups()
        keep = inside in known or _WORDS.fullmatch(inside)
        return match.group() if keep else f"{quote}…{quote}"

    return _QUOTED.sub(shown, text)
