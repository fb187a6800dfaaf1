"""In a running Airflow, a version that appears in MLflow starts a DAG run, once, whatever becomes of the triggerer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.registry.mlflow import MLflowRegistry
from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.local import control
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.ports import can_bind
from airflow_mlops.local.settings import Ports
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef
from demo.airflow_api import AirflowApi

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

DAGS = """
from airflow.sdk import Asset, AssetWatcher, dag, task
from airflow_mlops.triggers.model_version import ModelVersionTrigger


def watched(name, **arguments):
    trigger = ModelVersionTrigger(model_name="watched", poll_seconds=1, **arguments)
    return Asset(name, watchers=[AssetWatcher(name=name, trigger=trigger)])


VERSIONS = watched("versions", after_version="0")
CHAMPION = watched("champion", alias="champion")


@task
def tell(triggering_asset_events=None):
    events = [event for events in triggering_asset_events.values() for event in events]
    return [event.extra["payload"]["version"] for event in events]


@dag(schedule=[VERSIONS])
def on_version():
    tell()


@dag(schedule=[CHAMPION])
def on_champion():
    tell()


on_version()
on_champion()
"""


class Airflow:
    """The embedded stack of this test."""

    def __init__(self, root: Path, dags: Path) -> None:
        self.home = LocalHome(root)
        self.base = next(
            base
            for base in range(39000, 45000, 100)
            if all(can_bind("127.0.0.1", port) for _, port in Ports.from_base(base).named())
        )
        self.dags = dags
        ports = Ports.from_base(self.base)
        self.api = AirflowApi(f"http://127.0.0.1:{ports.airflow}")
        self.registry = MLflowRegistry(MLflowServer(tracking_uri=f"http://127.0.0.1:{ports.mlflow}"))

    def local(self, command: str, *options: str) -> None:
        line = [sys.executable, "-m", "airflow", "mlops", "local", command, "--home", str(self.home.root), *options]
        done = subprocess.run(
            line,
            env={**os.environ, "AIRFLOW_HOME": str(self.home.airflow)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]

    def register(self, files: Path, key: str) -> str:
        manifest = manifest_of(files)
        model = ModelRef(uri=f"file://{files}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
        made = self.registry.register("watched", model, files, idempotency_key=key, lineage={}, metrics={})
        return made.version

    def told(self, asset: str) -> list[dict[str, Any]]:
        """What the asset was told of, the oldest first."""
        events = self.api._call("GET", "/api/v2/assets/events?limit=100&order_by=timestamp")["asset_events"]
        return [event["extra"]["payload"] for event in events if event["name"] == asset]

    def versions(self, asset: str) -> list[str]:
        return [event["version"] for event in self.told(asset)]

    def results(self, dag_id: str) -> list[list[str]]:
        """What each finished run of a DAG was started by, the oldest first."""
        runs = [run["dag_run_id"] for run in self.api.runs(dag_id) if run["state"] == "success"]
        return [self.api.result(dag_id, run_id, "tell") for run_id in reversed(runs)]

    def kill_the_triggerer(self) -> None:
        state = control.status(self.home)
        assert state is not None
        (pid,) = (one.pid for one in state.services if one.name == "airflow-triggerer")
        if pid is not None:
            os.kill(pid, signal.SIGKILL)


def _until(what: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.5)


@pytest.fixture(scope="module")
def airflow(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    dags = tmp_path_factory.mktemp("dags")
    (dags / "watched.py").write_text(DAGS)
    one = Airflow(tmp_path_factory.mktemp("watched"), dags)
    try:
        one.local("up", "--port-base", str(one.base), "--dags-folder", str(dags), "--timeout", "400")
        _until(lambda: {"on_version", "on_champion"} <= one.api.dags())
        yield one
    finally:
        one.api._client.close()
        one.local("down")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "MLmodel").write_text("flavors: {}\n")
    return tmp_path


def test_a_registration_starts_a_run_once(airflow: Airflow, files: Path) -> None:
    assert airflow.register(files, "first") == "1"
    _until(lambda: airflow.results("on_version") == [["1"]])
    time.sleep(5)  # five more looks
    assert airflow.results("on_version") == [["1"]]
    (event,) = airflow.told("versions")
    assert event["digest"] == manifest_of(files).digest
    assert airflow.told("champion") == []


def test_what_happens_while_no_triggerer_runs_is_told_of_later(airflow: Airflow, files: Path) -> None:
    airflow.kill_the_triggerer()
    assert airflow.register(files, "second") == "2"
    airflow.registry.set_alias("watched", "champion", "2", expected=None)
    _until(lambda: airflow.versions("versions") == ["1", "2"] and airflow.results("on_champion") == [["2"]])
    time.sleep(5)
    assert airflow.versions("versions") == ["1", "2"]
    assert airflow.versions("champion") == ["2"]


def test_nothing_is_lost_when_the_triggerer_dies_again_and_again(airflow: Airflow, files: Path) -> None:
    for count in range(3, 6):
        assert airflow.register(files, str(count)) == str(count)
        time.sleep(count - 3)  # before it is seen, while it is stored, afterwards
        airflow.kill_the_triggerer()
        time.sleep(4)
    _until(lambda: set(airflow.versions("versions")) >= {"3", "4", "5"})
    time.sleep(5)
    told = airflow.told("versions")
    # Dying between storing an event and its cursor is the one way to tell twice, and then the key says so.
    assert len({event["key"] for event in told}) == 5
    assert sorted({event["version"] for event in told}) == ["1", "2", "3", "4", "5"]
    assert len(told) <= 8
