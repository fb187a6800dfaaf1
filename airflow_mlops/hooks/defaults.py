"""Ids of the connections that are used where a DAG names none; the hooks themselves need not be imported for them."""

from __future__ import annotations

__all__ = ["MLFLOW", "MODEL_GATEWAY"]

MLFLOW = "mlflow_default"
MODEL_GATEWAY = "model_gateway_default"
