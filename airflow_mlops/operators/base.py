"""What all operators here have in common."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator

__all__ = ["MLOpsOperator"]


class MLOpsOperator(BaseOperator):
    """An operator that returns a mapping, each of whose values can be taken by its key: ``train.output["model"]``."""

    def __init__(self, *, multiple_outputs: bool = True, **kwargs: Any) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
