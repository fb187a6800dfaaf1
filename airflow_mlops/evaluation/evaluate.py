"""From labels and two models' answers to the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.evaluation.answers import describe_answers
from airflow_mlops.evaluation.diagnostics import DiagnosticsReport
from airflow_mlops.evaluation.metrics import Scored, compare, measure
from airflow_mlops.evaluation.report import DayReference, EvaluationReport, Reference, SliceReport
from airflow_mlops.evaluation.spec import EvaluationSpec

__all__ = ["build_report"]


def build_report(
    spec: EvaluationSpec,
    *,
    labels: Any,
    days: Any,
    candidate: Any,
    champion: Any | None = None,
    slices: Mapping[str, Any] | None = None,
    smoke_difference: float = 0.0,
    diagnostics: DiagnosticsReport | None = None,
) -> EvaluationReport:
    """Measure candidate and champion on the same rows, whole and sliced.

    :param spec: what to measure
    :param labels: array of 0 and 1
    :param days: array that groups the rows
    :param candidate: array of the candidate's probabilities
    :param champion: array of the champion's, None without one
    :param slices: column name to array of its values, for the columns of ``spec.slices``
    :param smoke_difference: see :class:`~airflow_mlops.evaluation.report.EvaluationReport`
    :param diagnostics: what else was found
    :raises ContractError: if there are no rows, labels are not 0 or 1, or answers are no probabilities
    """
    import numpy as np

    # Numbers for the days: they are looked up for every metric and slice, and text is slow to compare.
    names, codes = np.unique(np.asarray(days), return_inverse=True)
    rows = Scored(labels=np.asarray(labels), scores=np.asarray(candidate), days=codes, threshold=spec.threshold)
    other = None if champion is None else _with_scores(rows, np.asarray(champion))
    differences, undiffered = compare(rows, other, spec.confidence) if other else ({}, {})
    parts, small = _slices(spec, rows, other, slices or {})
    return EvaluationReport(
        target=spec.target,
        confidence=spec.confidence,
        days=len(names),
        candidate=measure(rows, spec.confidence),
        champion=measure(other, spec.confidence) if other else None,
        differences=differences,
        undiffered=undiffered,
        slices=parts,
        small_slices=small,
        reference=_reference(rows, names),
        smoke_difference=smoke_difference,
        diagnostics=diagnostics,
        answers={
            name: describe_answers(one.labels, one.scores, spec.threshold)
            for name, one in (("candidate", rows), ("champion", other))
            if one is not None
        },
    )


def _with_scores(rows: Scored, scores: Any) -> Scored:
    return Scored(labels=rows.labels, scores=scores, days=rows.days, threshold=rows.threshold)


def _slices(
    spec: EvaluationSpec, rows: Scored, other: Scored | None, slices: Mapping[str, Any]
) -> tuple[tuple[SliceReport, ...], dict[str, int]]:
    import numpy as np

    parts, small = [], {}
    for column in spec.slices:
        values = np.asarray(slices[column], dtype="object").astype(str)
        for value in np.unique(values):
            chosen = values == value
            if chosen.sum() < spec.minimum_slice_rows:
                small[f"{column}={value}"] = int(chosen.sum())
                continue
            part = _part(rows, chosen)
            differences, undiffered = compare(part, _part(other, chosen), spec.confidence) if other else ({}, {})
            parts.append(
                SliceReport(
                    column=column,
                    value=str(value),
                    candidate=measure(part, spec.confidence),
                    differences=differences,
                    undiffered=undiffered,
                )
            )
    return tuple(parts), small


def _part(rows: Scored, chosen: Any) -> Scored:
    return Scored(
        labels=rows.labels[chosen], scores=rows.scores[chosen], days=rows.days[chosen], threshold=rows.threshold
    )


def _reference(rows: Scored, names: Any) -> Reference:
    import numpy as np

    squared = (rows.scores - rows.labels) ** 2
    labels, predictions, briers = (
        np.bincount(rows.days, weights=values) for values in (rows.labels, rows.scores, squared)
    )
    by_day = tuple(
        DayReference(
            day=str(name),
            rows=int(count),
            label_sum=round(label),
            prediction_sum=float(prediction),
            brier_sum=float(brier),
        )
        for name, count, label, prediction, brier in zip(
            names, np.bincount(rows.days), labels, predictions, briers, strict=True
        )
    )
    return Reference(
        rows=len(rows.labels),
        label_rate=float(rows.labels.mean()),
        mean_prediction=float(rows.scores.mean()),
        brier=float(squared.mean()),
        by_day=by_day,
    )
