"""The prediction log: one JSON line per predicted row, appended, so that labels can be joined to it later.

Each process start writes a file of its own, ``<root>/<model>/<version>/<start>-<pid>.jsonl``. A line is ``{"id",
"time", "model", "version", "features", "prediction", "latency_ms"}``; see :class:`Prediction`. A process that is killed
leaves at most one torn line, the last one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.container.lines import LineFile

__all__ = ["Prediction", "log_path", "open_log", "row_id"]


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One answered row.

    :param id: see :func:`row_id`
    :param time: seconds since the epoch when the answer was ready
    :param model: the registered model
    :param version: its version
    :param features: what was asked, None for missing values
    :param prediction: the probability that was answered
    :param latency_ms: from the request's arrival in the model to its answer, for all rows of a request together
    """

    id: str
    time: float
    model: str
    version: str
    features: Mapping[str, Any]
    prediction: float
    latency_ms: float

    def document(self) -> dict[str, Any]:
        """Return the line's content."""
        return asdict(self)


def row_id(request_id: str, row: int, rows: int) -> str:
    """Identify a row: the request's own id if it asked for one row, otherwise ``<id>/<row>``."""
    return request_id if rows == 1 else f"{request_id}/{row}"


def log_path(root: Path, *, model_name: str, version: str, started_at: float, pid: int) -> Path:
    """Where one process start logs its predictions; names sort by time."""
    start = datetime.fromtimestamp(started_at, tz=UTC)
    return root / model_name / version / f"{start:%Y%m%dT%H%M%S%f}Z-{pid}.jsonl"


def open_log(root: Path, *, model_name: str, version: str, clock: Clock | None = None) -> LineFile:
    """Create this process's file.

    :param root: folder of all prediction logs
    :param model_name: the registered model
    :param version: its version
    :param clock: tells when the process started
    :raises OSError: if the file cannot be created
    """
    now = (clock or SystemClock()).now()
    path = log_path(root, model_name=model_name, version=version, started_at=now, pid=os.getpid())
    return LineFile(path, exclusive=True)
