"""The embedded stack without Airflow's services, and the example pipelines run through Airflow in this process."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.local.home import LocalHome, Ports
from airflow_mlops.local.replay import stop_traffic
from tests.airflow.conftest import airflow_db  # noqa: F401 - a fixture

DAGS = Path(__file__).resolve().parents[2] / "dags"
MONTHS = ("2013-01", "2013-02", "2013-03", "2013-04", "2013-05", "2013-06")


@pytest.fixture(scope="session")
def home(model_python: Path, free_port_block: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalHome]:
    """A running stack: MLflow, Envoy and, as they are asked for, model servers and traffic."""
    from demo.flights import build_partitions

    root = tmp_path_factory.mktemp("stories")
    home = LocalHome(root)
    build_partitions(home.data, MONTHS)
    local = [sys.executable, "-m", "airflow", "mlops", "local"]
    where = ["--home", str(root)]
    environment = {**os.environ, "MLOPS_MODEL_PYTHON": str(model_python)}
    up = [*local, "up", *where, "--port-base", str(free_port_block), "--no-airflow"]
    started = subprocess.run(up, env=environment, capture_output=True, text=True, check=False)
    assert started.returncode == 0, started.stdout + started.stderr
    yield home
    subprocess.run([*local, "down", *where], env=environment, check=True, capture_output=True)


@pytest.fixture(scope="session")
def pipelines(home: LocalHome, airflow_db: None) -> Iterator[Callable[..., Any]]:  # noqa: F811
    """Run one of the example DAGs against the stack: ``pipelines("ct_flights", month="2013-02")``."""
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    from airflow_mlops.local.airflow import airflow_environment
    from tests.airflow.conftest import Run

    settings = home.settings()
    assert settings is not None
    wanted = ("AIRFLOW__MLOPS__", "AIRFLOW_CONN_")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in airflow_environment(home, settings.ports, DAGS).items():
            if name.startswith(wanted):
                patch.setenv(name, value)

        def run(dag_id: str, **params: Any) -> Run:
            # Parsed afresh each time: a test run leaves its parameters in the DAG.
            bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS)
            assert not bag.import_errors
            sync_bag_to_db(bag, "tests", None)
            return Run(bag.dags[dag_id].test(run_conf=params))

        yield run


@pytest.fixture(scope="session")
def free_port_block() -> int:
    """The first of 100 ports that nobody listens on."""
    from airflow_mlops.local.ports import can_bind

    for base in range(24000, 32000, 100):
        ports = [port for _, port in Ports.from_base(base).named()]
        if all(can_bind("127.0.0.1", port) for port in ports):
            return base
    pytest.fail("no block of 100 ports is free")


@pytest.fixture
def traffic(home: LocalHome) -> Iterator[Callable[..., Path]]:
    """Start live traffic with a month's flights: ``traffic("2013-05")``; it ends with the test."""
    from airflow_mlops.local.replay import Replay, start_traffic
    from demo.flights import build_traffic

    def start(month: str, *, requests: int = 3000, loop: bool = True, rate: float = 50.0) -> Path:
        path = build_traffic(home.data, month, home.data / "requests" / f"{month}-{requests}.jsonl", requests=requests)
        start_traffic(
            home,
            Replay(requests=str(path), model_name="flights", rate_per_second=rate, label_delay_seconds=0.5, loop=loop),
        )
        return home.traffic / "trace.jsonl"

    yield start
    stop_traffic(home)
    time.sleep(1)
