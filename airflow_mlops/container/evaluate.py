"""Evaluate a candidate and the champion on the same rows: a job that runs in the model environment.

The request names the models ``candidate`` and, where there is one, ``champion``, the datasets ``test`` and perhaps
``train``, which only diagnostics look at, and in its parameters the fields of
:class:`~airflow_mlops.evaluation.spec.EvaluationSpec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.container.job import TrainingJob, training_job
from airflow_mlops.container.model_loading import Predictor, load_model
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject, diagnose
from airflow_mlops.evaluation.evaluate import build_report
from airflow_mlops.evaluation.spec import EvaluationSpec
from airflow_mlops.exceptions import ContractError

__all__ = ["REPORT", "main"]

REPORT = "report.json"

#: How far a model may be from its own predictions in training, on the sample that was saved with it.
SMOKE_TOLERANCE = 1e-6


def main() -> None:
    """Evaluate what the request names."""
    with training_job() as job:
        spec = decode(EvaluationSpec, job.parameters, where="parameters")
        rows = _read(job.paths("test"), spec)
        candidate = load_model(*job.model("candidate"))
        champion = load_model(*job.model("champion")) if "champion" in job.request.models else None
        first = _diagnosed(candidate, rows)
        second = _diagnosed(champion, rows) if champion else None
        labels, days = _labels(rows, spec.target), rows[spec.day_column].astype(str).to_numpy()
        found = None
        if spec.diagnostics is not None:
            found = diagnose(
                spec.diagnostics,
                Subject(
                    rows=rows,
                    target=spec.target,
                    labels=labels,
                    days=days,
                    candidate=first,
                    champion=second,
                    training_rows=_training_rows(job),
                    threshold=spec.threshold,
                    confidence=spec.confidence,
                    minimum_rows=spec.minimum_slice_rows,
                ),
            )
        report = build_report(
            spec,
            labels=labels,
            days=days,
            candidate=first.scores,
            champion=second.scores if second else None,
            slices={column: rows[column].to_numpy() for column in spec.slices},
            smoke_difference=_smoke_difference(candidate),
            diagnostics=found,
        )
        (job.output / REPORT).write_text(canonical_json(encode(report)))
        _finish(job, {name: estimate.value for name, estimate in report.candidate.metrics.items()}, len(rows))


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
    missing = [name for name in (spec.target, spec.day_column, *spec.slices) if name not in rows.columns]
    if missing:
        raise ContractError(f"the data lack the columns {', '.join(missing)}; they have {', '.join(rows.columns)}")
    if rows.empty:
        raise ContractError(f"there are no rows to evaluate on in {', '.join(map(str, paths))}")
    return rows


def _labels(rows: Any, target: str) -> Any:
    unknown = int(rows[target].isna().sum())
    if unknown:
        raise ContractError(f"{unknown} of {len(rows)} rows have no label in the column {target}")
    return rows[target].to_numpy()


def _smoke_difference(model: Predictor) -> float:
    """Check that the model still answers its sample as it did in training, and say how far it is off."""
    import numpy as np
    import pandas as pd

    sample = read_sample(model.path)
    found = float(np.abs(model.predict(pd.DataFrame(list(sample.rows))) - np.asarray(sample.predictions)).max())
    if not found <= SMOKE_TOLERANCE:
        raise ContractError(
            f"the candidate is up to {found:.3g} away from its own predictions in training; "
            "the environments of training and evaluation differ"
        )
    return found


if __name__ == "__main__":
    main()
