"""The registry's promises where MLflow keeps its models in PostgreSQL and several processes answer."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("mlflow")

from airflow_mlops.adapters.registry.mlflow import MLflowRegistry
from airflow_mlops.adapters.registry.mlflow_look import look
from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.testing.registry import check_registry
from tests.mlflow_server import running_mlflow
from tests.postgresql import postgresql_server
from tests.registry_races import check

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def mlflow_on_postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    home = tmp_path_factory.mktemp("mlflow-postgresql")
    with (
        postgresql_server(home) as database,
        running_mlflow(home, store=database.replace("postgresql://", "postgresql+pg8000://"), workers=2) as url,
    ):
        yield url


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    return tmp_path


def test_the_registry_keeps_its_promises(mlflow_on_postgresql: str, files: Path) -> None:
    server, name = MLflowServer(tracking_uri=mlflow_on_postgresql), f"flights-{uuid.uuid4().hex[:8]}"
    check_registry(MLflowRegistry(server), name, files)
    assert [one.version for one in look(server, name).versions] == ["1", "2"]


def test_one_of_several_promotions_wins_and_the_others_are_told_who(mlflow_on_postgresql: str, files: Path) -> None:
    check("races", mlflow_on_postgresql, files)


def test_a_killed_process_leaves_no_lock_behind(mlflow_on_postgresql: str, files: Path) -> None:
    check("deaths", mlflow_on_postgresql, files)
