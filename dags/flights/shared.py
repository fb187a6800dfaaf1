"""What the flight pipelines share: names, assets and the calendar."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.sdk import Asset
from airflow.sdk.definitions.asset import Model

HERE = Path(__file__).parent
MODEL_NAME = "flights"
TARGET = "late"
#: A registered candidate: starts the rollout.
CANDIDATE = Model("flights-candidate", uri="mlflow://models/flights/candidate")
#: A request for a retraining, made by the monitor.
RETRAIN = Asset("flights-retrain", uri="mlops://flights/retrain")

MONTH_PARAM = {"type": ["null", "string"], "pattern": r"^\d{4}-(0[1-9]|1[0-2])$"}


def months_after(month: str, count: int) -> str:
    """Return the month ``count`` months after ``month``; before it where ``count`` is negative."""
    index = int(month[:4]) * 12 + int(month[5:]) - 1 + count
    return f"{index // 12:04d}-{index % 12 + 1:02d}"


def newest_event(triggering: Any, asset: Asset) -> dict[str, Any]:
    """Facts that came with the newest event of ``asset`` among those that started the run; empty for a manual run."""
    events = list(triggering.get(asset) or ()) if triggering else []
    return dict(max(events, key=lambda event: event.timestamp).extra) if events else {}


def partition_uri(month: str, source: str | None = None) -> str:
    """Return where the supplier leaves a month's flights, below ``source`` or the embedded stack's folder."""
    from airflow.sdk.configuration import conf

    home = conf.get("mlops", "local_home", fallback="")
    if not source and not home:
        raise ValueError("[mlops] local_home is not set: it names the folder in which data/flights lies")
    folder = (source or f"file://{Path(home).resolve()}/data/flights").rstrip("/")
    return f"{folder}/month={month}/flights.parquet"
