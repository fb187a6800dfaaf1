"""What monitoring needs from outside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from airflow_mlops.monitoring.window import LabelRow, PredictionRow, ReadResult, Window

__all__ = ["LabelSource", "PredictionLog"]


class PredictionLog(Protocol):
    """Where model servers log what they predicted."""

    def read(
        self, model_name: str, window: Window, *, version: str | None
    ) -> tuple[Sequence[PredictionRow], ReadResult]:
        """Return the predictions of a window in the order in which they were logged.

        :param version: only those of this version of the model; None for all
        """
        ...


class LabelSource(Protocol):
    """Where labels arrive."""

    def read(self, model_name: str, window: Window) -> tuple[Sequence[LabelRow], ReadResult]:
        """Return the labels whose ids lie in the window, whenever they arrived."""
        ...
