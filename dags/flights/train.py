"""Train the flights model: will a flight arrive 15 minutes late or more?

Runs in the model environment, as a job of the training contract. What it accepts stands in :data:`DEFAULTS`.
"""

# ruff: noqa: TID253 - this file runs in the model environment and is never parsed as a DAG
from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

# The data are small, and threads that share their processors with Airflow and the model servers wait for each other
# longer than they compute. OpenMP reads this when it is loaded.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# MLflow's client would ask a server that is gone for more than four minutes; this outlasts a restart.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "4")

import numpy as np
import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder

from airflow_mlops.container import TrainingJob, training_job
from airflow_mlops.container.model_loading import REVIEWED_TYPES, SMOKE_FILE, Predictor, load_model
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.manifest import manifest_of

TEXT = ("carrier", "origin", "dest")
WHOLE = ("distance", "sched_hour", "sched_minute", "day_of_week")
REAL = ("temp", "wind_speed", "precip", "visib")
FEATURES = {**dict.fromkeys(TEXT, "string"), **dict.fromkeys(WHOLE, "long"), **dict.fromkeys(REAL, "double")}
TARGET = "late"
SMOKE_ROWS = 20

DEFAULTS = {
    # Small trees: large ones tell the days apart by their weather and learn what happened on each.
    "max_iter": 40,
    "learning_rate": 0.1,
    "max_leaf_nodes": 3,
    "min_samples_leaf": 500,
    "seed": 2013,
    # Share of the labels that are turned round: how the demonstration makes a worse model.
    "label_noise": 0.0,
}


def read_rows(paths: list[Path]) -> pd.DataFrame:
    """Read the training partitions and check that they hold what the model needs."""
    rows = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    missing = [name for name in (*FEATURES, TARGET) if name not in rows.columns]
    if missing:
        raise ContractError(f"the training data lack the columns {', '.join(missing)}")
    if rows[TARGET].nunique() != 2:
        raise ContractError(f"the column {TARGET} must hold both 0 and 1; {len(rows)} rows hold only one value")
    return rows


def with_noise(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Turn a share of the labels round."""
    if not 0 <= share <= 1:
        raise SpecificationError("parameters.label_noise", share, "a share between 0 and 1")
    return np.where(np.random.default_rng(seed).random(len(labels)) < share, 1 - labels, labels)


def build(settings: dict[str, Any]) -> Pipeline:
    """Categories are numbered, unknown and missing ones count as missing; the trees handle the rest.

    The trees' own handling of categories stays off: its files hold callables, which no one should have to trust.
    """
    numbered = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan)
    columns = ColumnTransformer([("text", numbered, list(TEXT)), ("number", "passthrough", [*WHOLE, *REAL])])
    trees = HistGradientBoostingClassifier(
        max_iter=settings["max_iter"],
        learning_rate=settings["learning_rate"],
        max_leaf_nodes=settings["max_leaf_nodes"],
        min_samples_leaf=settings["min_samples_leaf"],
        early_stopping=False,
        random_state=settings["seed"],
    )
    return Pipeline([("columns", columns), ("trees", trees)])


def save(model: Pipeline, rows: pd.DataFrame, path: Path) -> None:
    """Save in MLflow's format, with a sample of rows and predictions, and check that what was saved loads."""
    import mlflow.sklearn
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, Schema

    mlflow.sklearn.save_model(
        model,
        path,
        signature=ModelSignature(
            inputs=Schema([ColSpec(kind, name, required=name not in REAL) for name, kind in FEATURES.items()]),
            outputs=Schema([ColSpec("double", "probability")]),
        ),
        serialization_format="skops",
        skops_trusted_types=list(REVIEWED_TYPES),
        # Named, because finding them out would start another process and take seconds.
        pip_requirements=[f"{one.__name__}=={one.__version__}" for one in (skops, pd)] + [_scikit_learn()],
    )
    sample = rows[list(FEATURES)].sample(n=min(SMOKE_ROWS, len(rows)), random_state=0)
    predictions = Predictor(estimator=model, features=FEATURES, path=path).predict(sample)
    plain = sample.astype(object).where(sample.notna(), None)
    document = {"features": plain.to_dict(orient="records"), "predictions": predictions.tolist()}
    (path / SMOKE_FILE).write_text(json.dumps(document, default=lambda value: value.item()))
    loaded = load_model(path, manifest_of(path).digest)
    if not np.allclose(loaded.predict(sample), predictions, rtol=0, atol=1e-12):
        raise ContractError("the saved model does not predict what the trained one does")


def log_to_mlflow(job: TrainingJob, settings: dict[str, Any], metrics: dict[str, float]) -> None:
    """Log to the run that was opened for this job; who asked for tracking gets it or an error."""
    if job.tracking is None:
        return
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

    now = int(time.time() * 1000)
    MlflowClient(job.tracking.uri).log_batch(
        job.tracking.run_id,
        metrics=[Metric(f"train_{name}", value, now, 0) for name, value in metrics.items()],
        params=[Param(name, str(value)) for name, value in settings.items()],
    )
    print(f"logged to MLflow run {job.tracking.run_id}")  # noqa: T201 - the job's log


def main() -> None:
    """Train, save, report."""
    with training_job() as job:
        settings = job.settings(DEFAULTS)
        rows = read_rows(job.paths("train"))
        print(f"training on {len(rows)} flights with {settings}")  # noqa: T201 - the job's log
        labels = rows[TARGET].to_numpy()
        noisy = with_noise(labels, settings["label_noise"], settings["seed"])
        typed = rows[list(FEATURES)].astype({name: "object" if name in TEXT else "float64" for name in FEATURES})
        model = build(settings).fit(typed, noisy)
        scores = model.predict_proba(typed)[:, 1]
        metrics = {
            "roc_auc": roc_auc_score(labels, scores),
            "brier": brier_score_loss(labels, scores),
            "log_loss": log_loss(labels, scores),
        }
        print("on the training rows: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))  # noqa: T201
        save(model, rows, job.output / "model")
        log_to_mlflow(job, settings, metrics)
        job.finish(
            metrics=metrics,
            artifacts={"model": "model", "smoke": f"model/{SMOKE_FILE}"},
            summary={"rows": len(rows), "label_rate": float(labels.mean()), "settings": settings},
        )


def _scikit_learn() -> str:
    import sklearn

    return f"scikit-learn=={sklearn.__version__}"


if __name__ == "__main__":
    main()
