"""Evaluate a candidate and the champion on the same rows: a job that runs in the model environment.

The request names the models ``candidate`` and, where there is one, ``champion``, the datasets ``test`` and perhaps
``train``, which only diagnostics look at, and in its parameters the fields of
:class:`~airflow_mlops.evaluation.spec.EvaluationSpec`. A further parameter ``loading`` holds an encoded
:class:`~airflow_mlops.loading.Loading`: how the models may be loaded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.container.job import TrainingJob, training_job
from airflow_mlops.container.model_loading import Predictor, load_model
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject, diagnose
from airflow_mlops.evaluation.evaluate import blocks_of, build_report
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError
from airflow_mlops.loading import Loading, ModelCheck

__all__ = ["REPORT", "main"]

REPORT = "report.json"

#: How far a model may be from its own predictions in training, on the sample that was saved with it.
SMOKE_TOLERANCE = 1e-6


def main() -> None:
    """Evaluate what the request names."""
    with training_job() as job:
        given = dict(job.parameters)
        loading = decode(Loading, given.pop("loading"), where="parameters.loading") if "loading" in given else None
        spec = decode(EvaluationSpec, given, where="parameters")
        rows = _read(job.paths("test"), spec)
        candidate = load_model(*job.model("candidate"), loading)
        champion = load_model(*job.model("champion"), loading) if "champion" in job.request.models else None
        _check_kind(spec, candidate=candidate, champion=champion)
        first = _diagnosed(candidate, rows)
        second = _diagnosed(champion, rows) if champion else None
        labels, days = _labels(rows, spec), _days(rows[spec.day_column])
        found = None
        if spec.diagnostics is not None:
            found = diagnose(
                spec.diagnostics,
                Subject(
                    rows=rows,
                    target=spec.target,
                    labels=labels,
                    days=(blocks_of(days, spec.block_length) if spec.block_length else days).astype(str),
                    candidate=first,
                    champion=second,
                    training_rows=_training_rows(job),
                    threshold=spec.threshold,
                    confidence=spec.confidence,
                    minimum_rows=spec.minimum_slice_rows,
                    task=spec.task,
                ),
            )
        report = build_report(
            spec,
            labels=labels,
            days=days,
            candidate=first.scores,
            champion=second.scores if second else None,
            queries=None if spec.group_column is None else rows[spec.group_column].to_numpy(),
            slices={column: rows[column].to_numpy() for column in spec.columns},
            smoke_difference=_smoke_difference(candidate),
            diagnostics=found,
        )
        report = replace(report, loaded=_checks({"candidate": candidate, "champion": champion}))
        (job.output / REPORT).write_text(canonical_json(encode(report)))
        _finish(job, {name: estimate.value for name, estimate in report.candidate.metrics.items()}, len(rows))


def _checks(models: Mapping[str, Predictor | None]) -> dict[str, ModelCheck]:
    return {role: model.check for role, model in models.items() if model is not None and model.check is not None}


def _finish(job: TrainingJob, metrics: dict[str, float], rows: int) -> None:
    shown = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
    print(f"candidate on {rows} rows: {shown}")  # noqa: T201 - the job's log
    job.finish(metrics=metrics, artifacts={"report": REPORT}, summary={"rows": rows})


def _diagnosed(model: Predictor, rows: Any) -> Diagnosed:
    return Diagnosed(
        predict=model.predict,
        scores=model.predict(rows),
        features=dict(model.features),
        path=model.path,
        estimator=model.estimator,
    )


def _training_rows(job: TrainingJob) -> Any:
    import pandas as pd

    if "train" not in job.request.datasets:
        return None
    return pd.concat([pd.read_parquet(path) for path in job.paths("train")], ignore_index=True)


def _read(paths: Sequence[Path], spec: EvaluationSpec) -> Any:
    import pandas as pd

    rows = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    missing = [name for name in spec.columns if name not in rows.columns]
    if missing:
        raise ContractError(f"the data lack the columns {', '.join(missing)}; they have {', '.join(rows.columns)}")
    if rows.empty:
        raise ContractError(f"there are no rows to evaluate on in {', '.join(map(str, paths))}")
    return rows


def _labels(rows: Any, spec: EvaluationSpec) -> Any:
    column = rows[spec.target]
    unknown = int(column.isna().sum())
    if unknown:
        raise ContractError(f"{unknown} of {len(rows)} rows have no label in the column {spec.target}")
    if spec.task == "classification":
        return column.to_numpy()
    try:
        return column.to_numpy(dtype="float64")
    except (TypeError, ValueError) as error:
        raise ContractError(f"the labels in the column {spec.target} must be numbers: {error}") from error


def _days(column: Any) -> Any:
    """Return the groups as numbers, which have an order, or as text."""
    return column.to_numpy() if column.dtype.kind in "iu" else column.astype(str).to_numpy()


def _check_kind(spec: EvaluationSpec, **models: Predictor | None) -> None:
    """Refuse a classifier for a regression and the reverse: its answers would be numbers, but no answers to the task.

    Either kind can rank.
    """
    for role, model in models.items():
        if model is None or spec.task == "ranking":
            continue
        if (model.classes is not None) != (spec.task == "classification"):
            kind = "foretells numbers" if model.classes is None else "tells classes apart"
            raise ContractError(f"the task is {spec.task!r}, but the {role}, {type(model.estimator).__name__}, {kind}")


def _smoke_difference(model: Predictor) -> float:
    """Check that the model still answers its sample as it did in training, and say how far it is off.

    Answers beyond 1 are compared in their own size.
    """
    import numpy as np
    import pandas as pd

    sample = read_sample(model.path)
    then = np.asarray(sample.predictions)
    now = model.predict(pd.DataFrame(list(sample.rows)))
    found = float((np.abs(now - then) / np.maximum(1.0, np.abs(then))).max())
    if not found <= SMOKE_TOLERANCE:
        raise ContractError(
            f"the candidate is up to {found:.3g} away from its own predictions in training; "
            "the environments of training and evaluation differ"
        )
    return found


if __name__ == "__main__":
    main()
