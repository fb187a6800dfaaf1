"""To the run in MLflow."""

from __future__ import annotations

from airflow_mlops.links.base import PushedLink

__all__ = ["MLflowRunLink"]


class MLflowRunLink(PushedLink):
    """Opens the tracking run in MLflow."""

    name = "MLflow run"
