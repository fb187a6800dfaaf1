"""Bad rows go aside, good rows go on: which rules allow that, which rows it concerns, and that none is lost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.report import RuleResult, ValidationReport
from airflow_mlops.verdict import Verdict

__all__ = ["QuarantinePlan", "Separation", "assign", "plan_quarantine", "rule_name"]


@dataclass(frozen=True, kw_only=True)
class QuarantinePlan:
    """What to do with a judged dataset.

    :param positions: positions in the suite of the rules whose broken rows go aside; none if all rows are good
    :param obstacle: why the rows cannot be separated, None if they can
    """

    positions: tuple[int, ...] = ()
    obstacle: str | None = None


@dataclass(frozen=True, kw_only=True)
class Separation:
    """A dataset in two parts.

    :param source: what was separated
    :param good: the rows that go on
    :param bad: the rows that were set aside, each with the rules that it broke
    :param broken: rule to number of rows that broke it; a row may have broken several
    """

    source: DatasetRef
    good: DatasetRef
    bad: DatasetRef
    broken: Mapping[str, int]

    def __post_init__(self) -> None:
        """Refuse a separation that lost or doubled rows."""
        if self.good.rows + self.bad.rows != self.source.rows:
            raise ContractError(
                f"{self.source.uri}: {self.source.rows} rows were separated, but {self.good.rows} good and "
                f"{self.bad.rows} bad rows were written"
            )


def rule_name(position: int, result: RuleResult) -> str:
    """Name of a rule that no other rule of its suite has, for example ``rules[3] dep_delay: values to be between``."""
    return f"rules[{position}] {result.rule.label}"


def plan_quarantine(report: ValidationReport, *, warnings: bool) -> QuarantinePlan:
    """Decide by which rules the rows are separated.

    A broken critical rule about the table as a whole cannot be mended by setting rows aside, and nothing is set aside
    where something could not be evaluated.

    :param warnings: whether rows that break rules of severity ``warning`` are set aside too
    """
    if report.verdict not in (Verdict.PASS, Verdict.WARN, Verdict.FAIL):
        return QuarantinePlan(obstacle="not every rule could be evaluated")
    positions = []
    for position, result in enumerate(report.results):
        critical = result.rule.severity == "critical"
        if result.passed or not (critical or (warnings and result.rule.severity == "warning")):
            continue
        if result.rows is not None and result.unexpected_count:
            positions.append(position)
        elif critical:
            return QuarantinePlan(
                obstacle=f"{result.rule.label}: this rule is about the table, there are no rows to set aside for it"
            )
    return QuarantinePlan(positions=tuple(positions))


def assign(
    report: ValidationReport, broken: Mapping[int, Sequence[int]], *, max_share: float
) -> dict[int, tuple[str, ...]]:
    """Say of each bad row which rules it broke.

    :param broken: position of a rule in the suite to positions of the rows that break it, counted from 0
    :param max_share: at most which share of the rows may be bad, above 0 and at most 1
    :return: position of a row to names of rules, by row
    :raises ContractError: if the rows found are not those that were counted when the rule was judged
    :raises SpecificationError: if ``max_share`` is out of range
    """
    if isinstance(max_share, bool) or not isinstance(max_share, (int, float)) or not 0 < max_share <= 1:
        raise SpecificationError("max_bad_share", max_share, "a share above 0 and at most 1")
    total, bad = report.dataset.rows, dict[int, tuple[str, ...]]()
    for position, rows in broken.items():
        result = report.results[position]
        distinct = set(rows)
        if len(distinct) != result.unexpected_count or any(not 0 <= row < total for row in distinct):
            raise ContractError(
                f"{result.rule.label}: {result.unexpected_count} rows were counted as broken, but {len(distinct)} of "
                f"{total} were found"
            )
        for row in distinct:
            bad[row] = (*bad.get(row, ()), rule_name(position, result))
    return dict(sorted(bad.items()))
