"""Train a flights model in several processes, each of which holds its share of the rows.

A logistic regression by Newton's method, whose every step is a sum over rows: each process adds up its own share, and
``job.all_reduce`` the rest. So any number of processes learns what one would. Run it with
``TrainOnKubernetesOperator(entrypoint="flights/train_parallel.py", parallelism=4, ...)``.
"""

# ruff: noqa: TID253 - this file runs in the model environment and is never parsed as a DAG
from __future__ import annotations

import json
import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import sklearn
import skops
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from airflow_mlops.container import TrainingJob, training_job
from airflow_mlops.container.model_loading import REVIEWED_TYPES, SMOKE_FILE, Predictor, load_model
from airflow_mlops.exceptions import ContractError
from airflow_mlops.manifest import manifest_of

TEXT = ("carrier", "origin", "dest")
WHOLE = ("distance", "sched_hour", "sched_minute", "day_of_week")
REAL = ("temp", "wind_speed", "precip", "visib")
FEATURES = {**dict.fromkeys(TEXT, "string"), **dict.fromkeys(WHOLE, "long"), **dict.fromkeys(REAL, "double")}
NUMBERS = [*WHOLE, *REAL]
TARGET = "late"
DEFAULTS = {"penalty": 1.0, "max_steps": 50}
SMOKE_ROWS = 20
LIBRARIES = {"pandas": pd, "scikit-learn": sklearn, "skops": skops}


def own_rows(job: TrainingJob) -> pd.DataFrame:
    """Read this process's share: every so many-th row."""
    rows = pd.concat([pd.read_parquet(path) for path in job.paths("train")], ignore_index=True)
    return rows.iloc[job.rank :: job.world_size].reset_index(drop=True)


def total(job: TrainingJob, *arrays: np.ndarray) -> list[np.ndarray]:
    """Add up arrays over all processes."""
    sums = np.array(job.all_reduce(np.concatenate([one.ravel() for one in arrays])))
    ends = np.cumsum([one.size for one in arrays])
    return [part.reshape(one.shape) for part, one in zip(np.split(sums, ends[:-1]), arrays, strict=True)]


def mean_and_variance(job: TrainingJob, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Describe each column over all processes, without what is missing."""
    known = ~np.isnan(values)
    count, sums = total(job, known.sum(axis=0).astype(float), np.nansum(values, axis=0))
    mean = sums / count
    (squares,) = total(job, np.nansum((values - mean) ** 2, axis=0))
    # The pipeline puts the mean where a value is missing, which adds nothing to the squares but to the count.
    (rows,) = total(job, np.array([float(len(values))]))
    return mean, squares / rows


def scale_of(variance: np.ndarray) -> np.ndarray:
    """Return what each column is divided by; one that never changes stays as it is."""
    return np.sqrt(np.where(variance > 0, variance, 1.0))


def newton(job: TrainingJob, x: np.ndarray, y: np.ndarray, penalty: float, max_steps: int) -> tuple[np.ndarray, int]:
    """Return the weights that fit all processes' rows best, and after how many steps."""
    weights = np.zeros(x.shape[1])
    ridge = penalty * np.diag([0.0] + [1.0] * (x.shape[1] - 1))
    for step in range(1, max_steps + 1):
        p = 1 / (1 + np.exp(-x @ weights))
        gradient, hessian = total(job, x.T @ (p - y), x.T @ (x * (p * (1 - p))[:, None]))
        change = np.linalg.solve(hessian + ridge, gradient + ridge @ weights)
        weights = weights - change
        # All processes have the same sums, so all stop together.
        if np.abs(change).max() < 1e-10:
            return weights, step
    raise ContractError(f"no weights fit after {max_steps} steps; are the classes separable? Raise the penalty")


def as_pipeline(rows: pd.DataFrame, mean: np.ndarray, variance: np.ndarray, weights: np.ndarray) -> Pipeline:
    """Put what was summed into scikit-learn's own estimators, so that whatever serves such models serves this one."""
    numbers = Pipeline([("missing", SimpleImputer()), ("scale", StandardScaler())])
    columns = ColumnTransformer([("numbers", numbers, NUMBERS)])
    model = Pipeline([("columns", columns), ("regression", LogisticRegression())])
    model.fit(rows[list(FEATURES)], rows[TARGET])  # for their bookkeeping: classes, names and types of columns
    missing, scale = columns.named_transformers_["numbers"].named_steps.values()
    missing.statistics_ = mean
    scale.mean_, scale.var_, scale.scale_ = mean, variance, scale_of(variance)
    regression = model.named_steps["regression"]
    regression.intercept_, regression.coef_ = weights[:1], weights[1:][None, :]
    return model


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
        pip_requirements=[f"{name}=={one.__version__}" for name, one in LIBRARIES.items()],
    )
    sample = rows[list(FEATURES)].head(SMOKE_ROWS)
    predictions = Predictor(estimator=model, features=FEATURES, path=path).predict(sample)
    plain = sample.astype(object).where(sample.notna(), None)
    document = {"features": plain.to_dict(orient="records"), "predictions": predictions.tolist()}
    (path / SMOKE_FILE).write_text(json.dumps(document, default=lambda value: value.item()))
    loaded = load_model(path, manifest_of(path).digest)
    if not np.allclose(loaded.predict(sample), predictions, rtol=0, atol=1e-12):
        raise ContractError("the saved model does not predict what the trained one does")


def main() -> None:
    """Train together; rank 0 saves and reports."""
    with training_job() as job:
        settings = job.settings(DEFAULTS)
        rows = own_rows(job)
        print(f"rank {job.rank} of {job.world_size} holds {len(rows)} flights")  # noqa: T201 - the job's log
        labels, values = rows[TARGET].to_numpy(float), rows[NUMBERS].to_numpy(float)
        mean, variance = mean_and_variance(job, values)
        scaled = np.nan_to_num((values - mean) / scale_of(variance))
        x = np.column_stack([np.ones(len(rows)), scaled])
        weights, steps = newton(job, x, labels, settings["penalty"], settings["max_steps"])
        p = 1 / (1 + np.exp(-x @ weights))
        losses = -(labels * np.log(p) + (1 - labels) * np.log1p(-p))
        count, late, loss, brier = job.all_reduce(
            [len(rows), labels.sum(), losses.sum(), float(((p - labels) ** 2).sum())]
        )
        if job.rank == 0:
            print(f"{steps} steps over {count:.0f} flights: log loss {loss / count:.4f}")  # noqa: T201
            save(as_pipeline(rows, mean, variance, weights), rows, job.output / "model")
            job.finish(
                metrics={"log_loss": loss / count, "brier": brier / count},
                artifacts={"model": "model", "smoke": f"model/{SMOKE_FILE}"},
                summary={"rows": int(count), "label_rate": late / count, "weights": weights.tolist()},
            )


if __name__ == "__main__":
    main()
