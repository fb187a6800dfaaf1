"""Whether the candidate knows what it could not know, or was trained on what it is examined with.

Overlaps compare the rows of the evaluation with those that the candidate was trained on, which the task that evaluates
gives as ``training_data``: the same rows, the same entities, and training rows from later than the evaluation's.
Without them two signs are left: a column of the model that is known only afterwards, and a single feature that predicts
almost as well as the answer itself. What the champion was trained on is not known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_mlops.evaluation.feature_power import FeaturePower, feature_powers
from airflow_mlops.evaluation.moments import as_text, seconds
from airflow_mlops.evaluation.row_hash import row_hashes
from airflow_mlops.exceptions import ContractError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["EntityOverlap", "LeakageReport", "LeakageSpec", "RowOverlap", "TimeOverlap", "measure_leakage"]

_NO_TRAINING_ROWS = "the evaluation was given no training rows; name them as 'training_data' of the task that evaluates"


@dataclass(frozen=True, kw_only=True)
class LeakageSpec:
    """What is looked for.

    :param rows: whether to look for rows of the evaluation among the training rows
    :param row_columns: columns that make two rows the same; empty for all that the candidate reads and the target.
        Where these are few and coarse, different rows look the same: name an identifier, too
    :param entities: columns that name customers, machines, patients…; each by itself
    :param time_column: column with the moment of the row, which is to be later than all training rows'
    :param known_afterwards: columns that exist only when the answer does; the target is always one
    :param features: whether to find out how well each feature predicts by itself
    """

    rows: bool = True
    row_columns: tuple[str, ...] = ()
    entities: tuple[str, ...] = ()
    time_column: str | None = None
    known_afterwards: tuple[str, ...] = ()
    features: bool = True

    def __post_init__(self) -> None:
        """Refuse an entity without a name."""
        for name in ("row_columns", "entities", "known_afterwards"):
            if not all(getattr(self, name)):
                raise SpecificationError(f"leakage.{name}", getattr(self, name), "names of columns")


@dataclass(frozen=True, kw_only=True)
class RowOverlap:
    """Rows that were trained on.

    :param columns: how many columns make two rows the same
    :param rows: rows of the evaluation that are among the training rows
    :param share: these over all rows of the evaluation
    :param repeated_share: share of the evaluation's rows that another of its rows equals: how common it is anyway
    """

    columns: int
    rows: int
    share: float
    repeated_share: float


@dataclass(frozen=True, kw_only=True)
class EntityOverlap:
    """Entities that were trained on.

    :param column: what names them
    :param entities: how many the evaluation has
    :param known: how many of them the training rows have, too
    :param row_share: share of the evaluation's rows that are about known ones
    """

    column: str
    entities: int
    known: int
    row_share: float


@dataclass(frozen=True, kw_only=True)
class TimeOverlap:
    """How the evaluation lies to the training in time.

    :param column: what holds the moments
    :param latest_training: latest moment of the training rows
    :param earliest_evaluation: earliest moment of the evaluation's
    :param rows: rows of the evaluation that are no later than the latest training row
    :param share: these over all rows of the evaluation
    """

    column: str
    latest_training: str
    earliest_evaluation: str
    rows: int
    share: float


@dataclass(frozen=True, kw_only=True)
class LeakageReport:
    """What was found.

    :param evaluation_rows: how many rows there were
    :param confidence: two-sided coverage of all intervals
    :param training_rows: how many training rows there were; None if they were not given
    :param rows: the same rows
    :param entities: the same entities, column by column
    :param time: order in time
    :param features: how well each feature predicts by itself, best first
    :param late_columns: columns known only afterwards that the candidate reads
    :param unmeasured: ``rows``, ``entities[column]``, ``time`` or ``features`` to the reason why it was not looked at
    """

    evaluation_rows: int
    confidence: float
    training_rows: int | None = None
    rows: RowOverlap | None = None
    entities: tuple[EntityOverlap, ...] = ()
    time: TimeOverlap | None = None
    features: tuple[FeaturePower, ...] = ()
    late_columns: tuple[str, ...] = ()
    unmeasured: Mapping[str, str] = field(default_factory=dict)


def measure_leakage(spec: LeakageSpec, subject: Subject) -> LeakageReport:
    """Look for all that the specification names.

    :raises ContractError: if the rows lack a column that is named, or the time column holds no points in time
    """
    asked = (*spec.row_columns, *spec.entities, *((spec.time_column,) if spec.time_column else ()))
    missing = [name for name in asked if name not in subject.rows.columns]
    if missing:
        raise ContractError(f"leakage: the rows of the evaluation lack the columns {', '.join(missing)}")
    unmeasured: dict[str, str] = {}
    features: tuple[FeaturePower, ...] = ()
    if spec.features:
        features, unpowered = feature_powers(subject)
        unmeasured |= unpowered
    rows, entities, time = _overlaps(spec, subject, unmeasured)
    late = {*spec.known_afterwards, subject.target}
    return LeakageReport(
        evaluation_rows=len(subject.labels),
        confidence=subject.confidence,
        training_rows=None if subject.training_rows is None else len(subject.training_rows),
        rows=rows,
        entities=entities,
        time=time,
        features=features,
        late_columns=tuple(name for name in subject.candidate.features if name in late),
        unmeasured=unmeasured,
    )


def _overlaps(
    spec: LeakageSpec, subject: Subject, unmeasured: dict[str, str]
) -> tuple[RowOverlap | None, tuple[EntityOverlap, ...], TimeOverlap | None]:
    """Compare with the training rows; what cannot be compared goes to ``unmeasured``."""
    columns = spec.row_columns or tuple(dict.fromkeys((*subject.candidate.features, subject.target)))
    wanted: dict[str, tuple[str, ...]] = {"rows": columns} if spec.rows else {}
    wanted |= {f"entities[{name}]": (name,) for name in spec.entities}
    if spec.time_column is not None:
        wanted["time"] = (spec.time_column,)
    training = subject.training_rows
    for what, needed in wanted.items():
        lacking = [] if training is None else [name for name in needed if name not in training.columns]
        if training is None:
            unmeasured[what] = _NO_TRAINING_ROWS
        elif lacking:
            unmeasured[what] = f"the training rows lack the columns {', '.join(lacking)}"
        elif len(training) == 0:
            unmeasured[what] = "the training data hold no rows"
    here = [what for what in wanted if what not in unmeasured]
    return (
        _rows(subject, columns) if "rows" in here else None,
        tuple(_entity(subject, name) for name in spec.entities if f"entities[{name}]" in here),
        _time(subject, spec.time_column, unmeasured) if spec.time_column and "time" in here else None,
    )


def _rows(subject: Subject, columns: tuple[str, ...]) -> RowOverlap:
    import numpy as np

    ours, theirs = row_hashes(subject.rows, columns), row_hashes(subject.training_rows, columns)
    known = int(np.isin(ours, theirs).sum())
    _, counts = np.unique(ours, return_counts=True)
    repeated = int(counts[counts > 1].sum())
    return RowOverlap(columns=len(columns), rows=known, share=known / len(ours), repeated_share=repeated / len(ours))


def _entity(subject: Subject, column: str) -> EntityOverlap:
    import numpy as np

    present = subject.rows[column].notna().to_numpy()
    ours = row_hashes(subject.rows, (column,))
    theirs = row_hashes(subject.training_rows, (column,))
    known = np.isin(ours, theirs) & present
    return EntityOverlap(
        column=column,
        entities=len(np.unique(ours[present])),
        known=len(np.unique(ours[known])),
        row_share=float(known.mean()),
    )


def _time(subject: Subject, column: str, unmeasured: dict[str, str]) -> TimeOverlap | None:
    import numpy as np

    ours = seconds(subject.rows[column], f"column {column}")
    theirs = seconds(subject.training_rows[column], f"column {column} of the training rows")
    if np.isnan(ours).any() or np.isnan(theirs).any():
        unmeasured["time"] = f"some rows have no value in the column {column}"
        return None
    latest = float(theirs.max())
    early = int((ours <= latest).sum())
    return TimeOverlap(
        column=column,
        latest_training=as_text(latest),
        earliest_evaluation=as_text(float(ours.min())),
        rows=early,
        share=early / len(ours),
    )
