"""The sample that lies in every model's directory: rows, and what the model predicted for them when it was trained."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.container.model_loading import SMOKE_FILE
from airflow_mlops.exceptions import ContractError

__all__ = ["Sample", "read_sample"]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Rows and their offline predictions.

    :param rows: feature name to value, None where missing
    :param predictions: probability of each row
    """

    rows: tuple[dict[str, Any], ...]
    predictions: tuple[float, ...]


def read_sample(directory: Path) -> Sample:
    """Read the sample of a model.

    :param directory: the model, whose digest was verified
    :raises ContractError: if there is none, or it is not rows with as many predictions
    """
    path = directory / SMOKE_FILE
    if not path.is_file():
        raise ContractError(f"{directory}: the model holds no {SMOKE_FILE}; without a sample nothing can be compared")
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        rows = tuple(dict(row) for row in document["features"])
        predictions = tuple(float(value) for value in document["predictions"])
    except (ValueError, KeyError, TypeError) as error:
        raise ContractError(f"{path}: not a sample with features and predictions: {error!r}") from error
    if not rows or len(rows) != len(predictions):
        raise ContractError(f"{path}: {len(rows)} rows and {len(predictions)} predictions; as many of each are needed")
    return Sample(rows=rows, predictions=predictions)
