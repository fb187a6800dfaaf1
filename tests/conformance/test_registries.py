"""Every model registry keeps the same promises."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from airflow_mlops.testing.registry import MemoryRegistry, check_registry


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    return tmp_path


def test_in_memory(files):
    check_registry(MemoryRegistry(), "flights", files)


@pytest.mark.stack
def test_mlflow(mlflow_server, files):
    from airflow_mlops.adapters.registry.mlflow import MLflowRegistry
    from airflow_mlops.adapters.registry.mlflow_server import MLflowServer

    check_registry(MLflowRegistry(MLflowServer(tracking_uri=mlflow_server)), f"flights-{uuid.uuid4().hex[:8]}", files)
