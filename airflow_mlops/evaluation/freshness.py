"""How old the newest rows are. What time it is, the caller says, so that a repeated evaluation finds the same."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.moments import as_text, instant, seconds
from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["Age", "FreshnessReport", "FreshnessSpec", "measure_freshness"]

_DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class FreshnessSpec:
    """How age is measured.

    :param time_column: column with the moment of each row
    :param now: the moment from which ages count, in ISO 8601, in UTC without a zone; in a DAG for example
        ``{{ data_interval_end.isoformat() }}``
    """

    time_column: str
    now: str

    def __post_init__(self) -> None:
        """Refuse a moment that is none."""
        if not self.time_column:
            raise SpecificationError("freshness.time_column", self.time_column, "the name of a column")
        try:
            instant(self.now, "freshness.now")
        except ContractError:
            raise SpecificationError("freshness.now", self.now, "a point in time in ISO 8601") from None


@dataclass(frozen=True, kw_only=True)
class Age:
    """Of one set of rows.

    :param newest: moment of the newest row
    :param days: days since then; below 0 if it lies ahead
    """

    newest: str
    days: float


@dataclass(frozen=True, kw_only=True)
class FreshnessReport:
    """What was found.

    :param now: the moment from which ages count
    :param evaluation: the rows of the evaluation
    :param training: the rows that the candidate was trained on
    :param unmeasured: ``evaluation`` or ``training`` to the reason why there is no age
    """

    now: str
    evaluation: Age | None = None
    training: Age | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def measure_freshness(spec: FreshnessSpec, subject: Subject) -> FreshnessReport:
    """Find the newest rows.

    :raises ContractError: if the rows of the evaluation lack the column, or it holds no points in time
    """
    column, now = spec.time_column, instant(spec.now, "freshness.now")
    if column not in subject.rows.columns:
        raise ContractError(f"freshness: the rows of the evaluation lack the column {column}")
    unmeasured: dict[str, str] = {}
    training = subject.training_rows
    age = None
    if training is None:
        unmeasured["training"] = "the evaluation was given no training rows; name them as 'training_data'"
    elif column not in training.columns:
        unmeasured["training"] = f"the training rows lack the column {column}"
    else:
        age = _age(training[column], column, now, "training", unmeasured)
    return FreshnessReport(
        now=as_text(now),
        evaluation=_age(subject.rows[column], column, now, "evaluation", unmeasured),
        training=age,
        unmeasured=unmeasured,
    )


def _age(values: Any, column: str, now: float, what: str, unmeasured: dict[str, str]) -> Age | None:
    import numpy as np

    moments = seconds(values, f"column {column}")
    if not np.isfinite(moments).any():
        unmeasured[what] = f"no row has a value in the column {column}"
        return None
    newest = float(np.nanmax(moments))
    return Age(newest=as_text(newest), days=(now - newest) / _DAY)
