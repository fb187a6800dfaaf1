"""Fixtures for tests that run DAGs in a real Airflow, in this process."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def airflow_db() -> None:
    """An empty, migrated metadata database (SQLite under AIRFLOW_HOME)."""
    from airflow.models.dagbundle import DagBundleModel
    from airflow.sdk.execution_time import supervisor
    from airflow.settings import Session
    from airflow.utils.db import initdb

    initdb()
    session = Session()
    session.merge(DagBundleModel(name="tests"))
    session.commit()
    # One API server for all runs: starting it takes seconds, a run takes a tenth of one.
    supervisor.in_process_api_server = functools.cache(supervisor.in_process_api_server)


@pytest.fixture
def artifact_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The option ``[mlops] artifact_root``, set to a fresh local folder."""
    root = tmp_path / "artifacts"
    root.mkdir()
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", f"file://{root}")
    return root


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Define a connection: ``connection("mlflow_default", conn_type="mlflow", host="http://…")``."""

    def define(conn_id: str, **fields: Any) -> None:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))

    return define


class Run:
    """A finished DAG run: its state, its tasks' states, XComs and errors."""

    def __init__(self, dag_run: Any) -> None:
        self.dag_run = dag_run
        self.run_id: str = dag_run.run_id
        self.state = str(dag_run.state)

    @property
    def states(self) -> dict[str, str]:
        """State by task id; mapped tasks as ``task[0]``."""
        return {self._name(ti): str(ti.state) for ti in self.dag_run.get_task_instances()}

    def xcom(self, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """What a task pushed, None if it pushed nothing."""
        from airflow.models.xcom import XComModel
        from airflow.settings import Session
        from sqlalchemy import select

        query = select(XComModel).where(
            XComModel.dag_id == self.dag_run.dag_id,
            XComModel.run_id == self.run_id,
            XComModel.task_id == task_id,
            XComModel.key == key,
            XComModel.map_index == map_index,
        )
        row = Session().scalars(query).first()
        return None if row is None else XComModel.deserialize_value(row)

    @staticmethod
    def _name(ti: Any) -> str:
        return ti.task_id if ti.map_index < 0 else f"{ti.task_id}[{ti.map_index}]"


@pytest.fixture
def run_dag(airflow_db: None) -> Callable[..., Run]:
    """Run a DAG to its end in this process: ``run = run_dag(dag, {"month": "2013-03"}); run.states``.

    Triggers run inline, retries do not happen, a failed task shows in ``run.states`` and its message in the log
    (``caplog``, ``capsys``).
    """

    def run(dag: Any, run_conf: Mapping[str, Any] | None = None) -> Run:
        from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db

        bag = DagBag(dag_folder=None, collect_dags=False)
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "tests", None)
        return Run(dag.test(run_conf=dict(run_conf or {})))

    return run


@pytest.fixture
def silent_cluster(tmp_path: Path, free_port: int) -> str:
    """A kubeconfig of a cluster that does not answer."""
    path = tmp_path / "silent-cluster"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{free_port}"}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return str(path)
