"""What an evaluation found, as values that survive the way through a file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.codec import decode
from airflow_mlops.evaluation.answers import Answers
from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.scored import Task
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.loading import ModelCheck

__all__ = [
    "DayReference",
    "Estimate",
    "EvaluationReport",
    "Measurements",
    "Reference",
    "SliceReport",
    "parse_report",
    "slice_name",
]


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """What was measured on a set of rows.

    :param rows: how many rows
    :param positives: how many of them have label 1; in a ranking, how many are relevant; 0 in a regression
    :param metrics: metric name to estimate
    :param unmeasured: metric name to the reason why there is no estimate
    :param days: number of groups of rows that are not independent; None in reports from before it was counted
    """

    rows: int
    positives: int
    metrics: Mapping[str, Estimate]
    unmeasured: Mapping[str, str] = field(default_factory=dict)
    days: int | None = None


def slice_name(column: str | tuple[str, ...], value: str | tuple[str, ...]) -> str:
    """Name a part of the rows, as reports and judgements do.

    :param column: column that makes the part, or several
    :param value: its value there, or as many
    """
    columns = (column,) if isinstance(column, str) else column
    values = (value,) if isinstance(value, str) else value
    return ", ".join(f"{one}={found}" for one, found in zip(columns, values, strict=True))


@dataclass(frozen=True, kw_only=True)
class SliceReport:
    """The same measurements on a part of the rows.

    :param column: column that makes the part, or the two columns that do so together
    :param value: its value there, or theirs
    :param candidate: the candidate on these rows
    :param differences: candidate minus champion on these rows; empty without a champion
    :param undiffered: metric name to the reason why there is no difference
    """

    column: str | tuple[str, ...]
    value: str | tuple[str, ...]
    candidate: Measurements
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    undiffered: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``column=value``, or ``column=value, other=value`` for a pair of columns."""
        return slice_name(self.column, self.value)


@dataclass(frozen=True, kw_only=True)
class DayReference:
    """Sums over one day's rows, from which monitoring builds any window.

    :param day: the day
    :param rows: how many rows
    :param label_sum: how many of them are positive
    :param prediction_sum: sum of the candidate's probabilities
    :param brier_sum: sum of squared errors of these probabilities
    """

    day: str
    rows: int
    label_sum: int
    prediction_sum: float
    brier_sum: float


@dataclass(frozen=True, kw_only=True)
class Reference:
    """How the candidate did when it was accepted: what monitoring compares with later.

    :param rows: how many rows
    :param label_rate: share of positive rows
    :param mean_prediction: mean of the probabilities
    :param brier: mean squared error of the probabilities
    :param by_day: the days behind these numbers, in order
    """

    rows: int
    label_rate: float
    mean_prediction: float
    brier: float
    by_day: tuple[DayReference, ...]


@dataclass(frozen=True, kw_only=True)
class EvaluationReport:
    """Everything that the gate needs to decide.

    :param target: the label column
    :param confidence: two-sided coverage of all intervals
    :param days: number of groups of rows that are not independent
    :param candidate: the candidate on all rows
    :param reference: the candidate's days, which monitoring compares with; None where the task has none
    :param champion: the champion on the same rows, None without one
    :param differences: candidate minus champion, from the same rows
    :param undiffered: metric name to the reason why there is no difference
    :param slices: parts that were large enough
    :param small_slices: ``column=value`` to rows, for the parts that were not
    :param small_pairs: the columns of those ``small_slices`` that two columns make
    :param smoke_difference: largest deviation of the candidate from its own predictions in training
    :param diagnostics: what else was asked for and found
    :param answers: ``candidate`` and ``champion`` to the spread of their answers; empty in reports from before
    :param task: what the models do; only its metrics are measured
    :param unreferenced: why there is no ``reference``
    :param block_length: how many values of the day column make one of ``days``
    :param loaded: role to what was found before a model was loaded
    :param report_version: version of this document's form
    """

    target: str
    confidence: float
    days: int
    candidate: Measurements
    reference: Reference | None = None
    champion: Measurements | None = None
    differences: Mapping[str, Estimate] = field(default_factory=dict)
    undiffered: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[SliceReport, ...] = ()
    small_slices: Mapping[str, int] = field(default_factory=dict)
    small_pairs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    smoke_difference: float = 0.0
    diagnostics: DiagnosticsReport | None = None
    loaded: Mapping[str, ModelCheck] = field(default_factory=dict)
    answers: Mapping[str, Answers] = field(default_factory=dict)
    task: Task = "classification"
    unreferenced: str | None = None
    block_length: int = 1
    report_version: int = 1


def parse_report(text: str, *, where: str = "report.json") -> EvaluationReport:
    """Read a report.

    :param where: what is being read, for messages
    :raises ContractError: if it is not JSON or has wrong fields
    """
    try:
        return decode(EvaluationReport, json.loads(text))
    except SpecificationError as error:
        raise ContractError(f"{where} is not an evaluation report: {error}") from error
    except ValueError as error:
        raise ContractError(f"{where} is not JSON ({error})") from error
