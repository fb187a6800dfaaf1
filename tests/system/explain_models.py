"""Explain models by the real packages: run with the interpreter of an environment that has them, prints JSON.

Every number is one whose truth is known from elsewhere: the models' own log-odds and coefficients.
"""

# ruff: noqa: TID253 - runs in the model environment
from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Diagnostics, Subject, diagnose
from airflow_mlops.evaluation.explanations_shap import explain_rows

ROWS = 600
NUMBERS = ["strong", "weak", "unused"]
FEATURES = {**dict.fromkeys(NUMBERS, "double"), "place": "string"}
LOOKED_AT = np.arange(60)


def made_up() -> pd.DataFrame:
    """Rows whose label follows strong most, then place, then weak."""
    random = np.random.default_rng(5)
    frame = pd.DataFrame({name: random.normal(size=ROWS) for name in NUMBERS})
    frame["place"] = random.choice(
        ["a", "b", "c", *(f"rare {number}" for number in range(30))], ROWS, p=[0.25] * 3 + [0.25 / 30] * 30
    )
    odds = 2 * frame["strong"] + 0.5 * frame["weak"] + np.where(frame["place"] == "a", 1.5, 0.0)
    frame["late"] = (random.random(ROWS) < 1 / (1 + np.exp(-odds))).astype(int)
    frame.loc[::50, "strong"] = np.nan
    return frame


def diagnosed(fitted: Any, frame: pd.DataFrame) -> Diagnosed:
    """The model as an evaluation sees it."""

    def predict(rows: Any) -> Any:
        typed = rows[list(FEATURES)].astype({n: "object" if k == "string" else "float64" for n, k in FEATURES.items()})
        return fitted.predict_proba(typed)[:, 1]

    return Diagnosed(predict=predict, scores=predict(frame), features=dict(FEATURES), path=Path(), estimator=fitted)


def pipeline(categories: Any, last: Any, frame: pd.DataFrame, *, filled: bool = False) -> Any:
    """A pipeline as train.py makes them."""
    from sklearn.impute import SimpleImputer

    numbers: Any = Pipeline([("fill", SimpleImputer()), ("scale", StandardScaler())]) if filled else "passthrough"
    columns = ColumnTransformer([("text", categories, ["place"]), ("number", numbers, NUMBERS)])
    return Pipeline([("columns", columns), ("last", last)]).fit(frame[list(FEATURES)], frame["late"])


def log_odds(scores: Any) -> Any:
    """Of probabilities."""
    return np.log(scores / (1 - scores))


def spread_of_remainder(model: Diagnosed, subject: Subject, answers: Any) -> float:
    """How much answers minus effects vary: not at all, if effects add up to the answers but for one constant."""
    _, effects = explain_rows(subject, model, LOOKED_AT, seed=0)
    return float(np.ptp(answers[LOOKED_AT] - effects.sum(axis=1)))


def main() -> None:
    """Explain all of them."""
    frame = made_up()
    models = {
        "boosted": pipeline(OrdinalEncoder(), HistGradientBoostingClassifier(max_iter=30, random_state=0), frame),
        "forest": pipeline(
            OneHotEncoder(), RandomForestClassifier(30, max_depth=5, random_state=0), frame, filled=True
        ),
        "linear": pipeline(OneHotEncoder(), LogisticRegression(), frame, filled=True),
        "neighbours": pipeline(OneHotEncoder(), KNeighborsClassifier(15), frame, filled=True),
    }
    found: dict[str, Any] = {"versions": {name: version(name) for name in ("shap", "lime", "skore", "scikit-learn")}}
    for name, fitted in models.items():
        model = diagnosed(fitted, frame)
        subject = Subject(
            rows=frame,
            target="late",
            labels=frame["late"].to_numpy(),
            days=np.arange(ROWS) % 20,
            candidate=model,
            champion=diagnosed(models["boosted"], frame),
            training_rows=frame,
        )
        wanted = decode(Diagnostics, {"explanations": {"method": "shap", "rows": 40, "local": 1}})
        report = diagnose(wanted, subject).explanations
        assert report is not None
        answers = log_odds(model.scores) if "log-odds" in report.unit else model.scores
        remainder = spread_of_remainder(model, subject, answers)
        found[name] = {"report": encode(report), "remainder": remainder}
    boosted = diagnosed(models["boosted"], frame)
    subject = Subject(
        rows=frame,
        target="late",
        labels=frame["late"].to_numpy(),
        days=np.arange(ROWS) % 20,
        candidate=boosted,
        training_rows=frame,
    )
    asked = {"explanations": {"method": "lime", "rows": 10, "local": 1}, "methodology": {"slow": False}}
    further = diagnose(decode(Diagnostics, asked), subject)
    found["lime"], found["methodology"] = encode(further.explanations), encode(further.methodology)
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
