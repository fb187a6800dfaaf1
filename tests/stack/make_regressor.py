# ruff: noqa: TID253 - this file runs in the model environment
"""Run by the model environment's Python: two models of minutes of delay, and flights that neither has seen.

``python make_regressor.py DIRECTORY`` leaves ``good``, ``bad`` and ``test.parquet`` there.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd
import skops.io
import yaml
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from airflow_mlops.container.model_loading import SMOKE_FILE, Predictor

FEATURES = {"hour": "double", "wind": "double"}


def flights(count: int, seed: int) -> pd.DataFrame:
    generator = np.random.default_rng(seed)
    frame = pd.DataFrame({"hour": generator.integers(5, 24, count), "wind": generator.exponential(10, count)})
    frame["minutes"] = 2.0 * frame["hour"] + frame["wind"] + generator.normal(0, 8, count)
    frame["minutes"] = frame["minutes"].clip(lower=0)
    frame["late"] = (frame["minutes"] > 45).astype(int)
    frame["carrier"] = generator.choice(["AA", "DL"], count)
    frame["origin"] = generator.choice(["EWR", "JFK"], count)
    frame["date"] = [f"2013-02-{day:02d}" for day in generator.integers(1, 29, count)]
    frame["board"] = frame["date"] + frame["origin"]
    return frame


def save(rows: pd.DataFrame, minutes: pd.Series, directory: Path) -> None:
    typed = rows[list(FEATURES)].astype("float64")
    model = make_pipeline(StandardScaler(), Ridge()).fit(typed, minutes)
    directory.mkdir(parents=True)
    skops.io.dump(model, directory / "model.skops")
    columns = [{"name": name, "type": kind} for name, kind in FEATURES.items()]
    metadata = {
        "flavors": {"sklearn": {"serialization_format": "skops", "pickled_model": "model.skops"}},
        "signature": {"inputs": json.dumps(columns)},
    }
    (directory / "MLmodel").write_text(yaml.safe_dump(metadata))
    sample = typed.head(20)
    predictions = Predictor(estimator=model, features=FEATURES, path=directory).predict(sample)
    document = {"features": sample.to_dict(orient="records"), "predictions": predictions.tolist()}
    (directory / SMOKE_FILE).write_text(json.dumps(document))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("directory", type=Path)
    directory = parser.parse_args().directory
    train = flights(3000, 1)
    save(train, train["minutes"], directory / "good")
    save(train, train["minutes"].sample(frac=1, random_state=0).reset_index(drop=True), directory / "bad")
    flights(3000, 2).to_parquet(directory / "test.parquet", index=False)


if __name__ == "__main__":
    main()
