"""The rows that the candidate got most wrong: the only section that shows rows, and only the columns it is given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["ErrorExample", "ErrorExamplesReport", "ErrorExamplesSpec", "find_error_examples", "worst_rows"]

_MOST_ROWS = 100
_LONGEST = 200


@dataclass(frozen=True, kw_only=True)
class ErrorExamplesSpec:
    """Which rows to show; they go into the report and its page as they are.

    :param columns: columns that may be shown
    :param rows: how many rows, the worst first
    """

    columns: tuple[str, ...]
    rows: int = 5

    def __post_init__(self) -> None:
        """Refuse to show nothing, or everything."""
        if not self.columns:
            raise SpecificationError("error_examples.columns", self.columns, "the columns that may be shown")
        if not 1 <= self.rows <= _MOST_ROWS:
            raise SpecificationError("error_examples.rows", self.rows, f"a number from 1 to {_MOST_ROWS}")


@dataclass(frozen=True, kw_only=True)
class ErrorExample:
    """A row.

    :param label: its label
    :param score: the candidate's answer
    :param champion_score: the champion's answer, None without one
    :param values: column to what stands there, as text; None where it is missing
    """

    label: float
    score: float
    champion_score: float | None
    values: Mapping[str, str | None]


@dataclass(frozen=True, kw_only=True)
class ErrorExamplesReport:
    """The worst rows.

    :param columns: what is shown of them
    :param examples: the rows, the worst first
    """

    columns: tuple[str, ...]
    examples: tuple[ErrorExample, ...]


def find_error_examples(wanted: ErrorExamplesSpec, subject: Subject) -> ErrorExamplesReport:
    """Take the rows whose answer is farthest from the label.

    :raises ContractError: if a column is not there, or the task is a ranking, which has no wrong rows
    """
    if subject.task == "ranking":
        raise ContractError("error_examples: a ranking orders the rows of a query, so that no single row is wrong")
    missing = [name for name in wanted.columns if name not in subject.rows.columns]
    if missing:
        raise ContractError(
            f"error_examples.columns: the data lack {', '.join(missing)}; they have {', '.join(subject.rows.columns)}"
        )
    champion = subject.champion
    worst = worst_rows(subject, wanted.rows)
    shown = subject.rows[list(wanted.columns)].iloc[worst]
    known = shown.notna().to_numpy()
    examples = tuple(
        ErrorExample(
            label=float(subject.labels[row]),
            score=float(subject.candidate.scores[row]),
            champion_score=None if champion is None else float(champion.scores[row]),
            values={
                name: str(shown.iat[place, at])[:_LONGEST] if known[place, at] else None
                for at, name in enumerate(wanted.columns)
            },
        )
        for place, row in enumerate(worst)
    )
    return ErrorExamplesReport(columns=wanted.columns, examples=examples)


def worst_rows(subject: Subject, many: int) -> Any:
    """Return the positions of the rows whose answer is farthest from the label, the worst first."""
    import numpy as np

    away = np.abs(np.asarray(subject.candidate.scores, dtype="float64") - np.asarray(subject.labels, dtype="float64"))
    return np.argsort(-away, kind="stable")[:many]
