"""From labels and two models' answers to the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlops.evaluation.answers import describe_answers
from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.metrics import Scored, compare, measure
from airflow_mlops.evaluation.report import DayReference, EvaluationReport, Reference, SliceReport, slice_name
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError

__all__ = ["blocks_of", "build_report"]


def build_report(
    spec: EvaluationSpec,
    *,
    labels: Any,
    days: Any,
    candidate: Any,
    champion: Any | None = None,
    queries: Any | None = None,
    slices: Mapping[str, Any] | None = None,
    smoke_difference: float = 0.0,
    diagnostics: DiagnosticsReport | None = None,
) -> EvaluationReport:
    """Measure candidate and champion on the same rows, whole and sliced.

    :param spec: what to measure
    :param labels: array of 0 and 1, or what else the task has for labels
    :param days: array that groups the rows
    :param candidate: array of the candidate's answers: probabilities of 1, or what else the task has
    :param champion: array of the champion's, None without one
    :param queries: for ranking: array that names each row's query
    :param slices: column name to array of its values, for the columns of ``spec.slices``
    :param smoke_difference: see :class:`~airflow_mlops.evaluation.report.EvaluationReport`
    :param diagnostics: what else was found
    :raises ContractError: if there are no rows, or labels or answers are not what the task has
    """
    import numpy as np

    # Numbers for the days: they are looked up for every metric and slice, and text is slow to compare.
    names, codes = _coded(days)
    rows = Scored(
        labels=np.asarray(labels),
        scores=np.asarray(candidate),
        days=codes // (spec.block_length or 1),
        threshold=spec.threshold,
        task=spec.task,
        queries=None if queries is None else _coded(queries)[1],
        cutoff=spec.cutoff,
        top_share=spec.top_share,
    )
    other = None if champion is None else rows.scored_by(np.asarray(champion))
    differences, undiffered = compare(rows, other, spec.confidence) if other else ({}, {})
    parts, small, pairs = _slices(spec, rows, other, slices or {})
    measured = measure(rows, spec.confidence)
    classified = spec.task == "classification"
    return EvaluationReport(
        target=spec.target,
        confidence=spec.confidence,
        days=measured.days or 0,
        candidate=measured,
        champion=measure(other, spec.confidence) if other else None,
        differences=differences,
        undiffered=undiffered,
        slices=parts,
        small_slices=small,
        small_pairs=pairs,
        answers={
            name: describe_answers(one.labels, one.scores, spec.threshold)
            for name, one in (("candidate", rows), ("champion", other))
            if classified and one is not None
        },
        reference=_reference(rows, codes, names) if classified else None,
        unreferenced=None if classified else f"monitoring compares probabilities of class 1; a {spec.task} has none",
        smoke_difference=smoke_difference,
        diagnostics=diagnostics,
        task=spec.task,
        block_length=spec.block_length or 1,
    )


def blocks_of(days: Any, length: int) -> Any:
    """Return the number of each row's block of time: so many values in a row, as they are sorted.

    :param days: array that groups the rows
    :param length: how many values make a block
    """
    _, codes = _coded(days)
    return codes // length


def _coded(values: Any) -> tuple[Any, Any]:
    """Return the distinct values in order, numbers as numbers and all else as text, and each row's position there."""
    import numpy as np

    found = np.asarray(values)
    if found.dtype.kind in "iufb":
        return np.unique(found, return_inverse=True)
    # To look a million texts up takes a tenth of the time that sorting them does.
    known: dict[Any, int] = {}
    seen = np.fromiter((known.setdefault(one, len(known)) for one in found.tolist()), "int64", count=len(found))
    names, codes = np.unique([str(one) for one in known], return_inverse=True)
    return names, codes[seen]


def _slices(
    spec: EvaluationSpec, rows: Scored, other: Scored | None, slices: Mapping[str, Any]
) -> tuple[tuple[SliceReport, ...], dict[str, int], dict[str, tuple[str, ...]]]:
    """Return what was measured, the rows of those that are too small, and the columns of such pairs."""
    parts, small, pairs = [], {}, {}
    for column in spec.slices:
        for value, chosen in _values(column, slices):
            name = slice_name(column, value)
            if len(chosen) < spec.minimum_slice_rows:
                small[name] = len(chosen)
                if not isinstance(column, str):
                    pairs[name] = column
                continue
            part = rows.part(chosen)
            differences, undiffered = compare(part, other.part(chosen), spec.confidence) if other else ({}, {})
            parts.append(
                SliceReport(
                    column=column,
                    value=value,
                    candidate=measure(part, spec.confidence),
                    differences=differences,
                    undiffered=undiffered,
                )
            )
    return tuple(parts), small, pairs


def _values(column: str | tuple[str, ...], slices: Mapping[str, Any]) -> Iterator[tuple[str | tuple[str, ...], Any]]:
    """Yield each value that the column has, or values that the pair has together, and the positions of its rows."""
    import numpy as np

    columns = (column,) if isinstance(column, str) else column
    names, codes = [], np.zeros(1, dtype="int64")
    for one in columns:
        if one not in slices:
            raise ContractError(f"there are no values of the column {one}, by which slices are wanted")
        found, numbers = _coded(slices[one])
        names.append(found)
        codes = codes * len(found) + numbers
    # One sort for all slices: a look through all rows for each of hundreds of pairs would take longer than measuring.
    order = np.argsort(codes, kind="stable")
    present, first = np.unique(codes[order], return_index=True)
    for code, chosen in zip(present.tolist(), np.split(order, first[1:]), strict=True):
        which = np.unravel_index(code, [len(found) for found in names])
        values = tuple(str(found[number]) for found, number in zip(names, which, strict=True))
        yield (values[0] if isinstance(column, str) else values), chosen


def _reference(rows: Scored, codes: Any, names: Any) -> Reference:
    import numpy as np

    squared = (rows.scores - rows.labels) ** 2
    labels, predictions, briers = (np.bincount(codes, weights=values) for values in (rows.labels, rows.scores, squared))
    by_day = tuple(
        DayReference(
            day=str(name),
            rows=int(count),
            label_sum=round(label),
            prediction_sum=float(prediction),
            brier_sum=float(brier),
        )
        for name, count, label, prediction, brier in zip(
            names, np.bincount(codes), labels, predictions, briers, strict=True
        )
    )
    return Reference(
        rows=len(rows.labels),
        label_rate=float(rows.labels.mean()),
        mean_prediction=float(rows.scores.mean()),
        brier=float(squared.mean()),
        by_day=by_day,
    )
