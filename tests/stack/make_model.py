# ruff: noqa: TID253 - this file runs in the model environment
"""Run by the model environment's Python: train a small classifier and save it as our training scripts do.

``python make_model.py DIRECTORY [--rows N] [--iterations N] [--no-smoke]`` prints the digest.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import infer_signature
from sklearn.compose import make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

from airflow_mlops.container.model_loading import REVIEWED_TYPES, load_model
from airflow_mlops.manifest import manifest_of

TEXT = ["carrier", "origin"]
WHOLE = ["distance", "sched_hour"]
REAL = ["temp", "visib"]


def rows(count: int) -> pd.DataFrame:
    generator = np.random.default_rng(2013)
    return pd.DataFrame(
        {
            "carrier": generator.choice(["UA", "AA", "DL"], count),
            "origin": generator.choice(["EWR", "JFK", "LGA"], count),
            "distance": generator.integers(100, 3000, count),
            "sched_hour": generator.integers(5, 24, count),
            "temp": np.where(generator.random(count) < 0.1, np.nan, generator.normal(55, 15, count)),
            "visib": generator.uniform(0, 10, count),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--no-smoke", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    frame = rows(options.rows)
    late = (frame["sched_hour"] + np.random.default_rng(1).normal(0, 4, len(frame)) > 17).astype(int)
    encoder = make_column_transformer(
        (OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), TEXT), remainder="passthrough"
    )
    model = make_pipeline(encoder, HistGradientBoostingClassifier(max_iter=options.iterations, random_state=0))
    model.fit(frame, late)
    mlflow.sklearn.save_model(
        model,
        options.directory,
        signature=infer_signature(frame, model.predict_proba(frame)[:, 1]),
        serialization_format="skops",
        skops_trusted_types=list(REVIEWED_TYPES),
        pip_requirements=["scikit-learn==1.9.1", "skops==0.16.0"],
    )
    if not options.no_smoke:
        sample = frame.head(20).astype(object)
        sample = sample.where(sample.notna(), None)
        digest = manifest_of(options.directory).digest
        predictions = load_model(options.directory, digest).predict(frame.head(20))
        document = {"features": sample.to_dict(orient="records"), "predictions": [float(p) for p in predictions]}
        (options.directory / "smoke.json").write_text(json.dumps(document, allow_nan=False))
    print(manifest_of(options.directory).digest)


if __name__ == "__main__":
    main()
