"""Fixtures for all tests; imports neither Airflow nor MLflow, because domain tests run where they are not installed."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef
from tests.mlflow_server import running_mlflow

pytest.register_assert_rewrite(
    *(f"airflow_mlops.testing.{suite}_conformance" for suite in ("router", "store", "mirror", "match"))
)

# Airflow reads its configuration when it is first imported, so this stands here and not in a fixture.
_HOME = Path(tempfile.mkdtemp(prefix="airflow-mlops-tests-"))
os.environ |= {
    "AIRFLOW_HOME": str(_HOME),
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__CORE__DAGS_FOLDER": str(_HOME / "dags"),
    "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{_HOME}/airflow.db",
    "AIRFLOW__LOGGING__BASE_LOG_FOLDER": str(_HOME / "logs"),
    "AIRFLOW__API_AUTH__JWT_SECRET": "only-for-tests-and-long-enough-for-hmac-with-sha-512-which-wants-64-bytes",
    "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    "GX_ANALYTICS_ENABLED": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
for _name in [
    name
    for name in os.environ
    if name.startswith(("AIRFLOW__MLOPS__", "AIRFLOW_CONN_", "MLFLOW_TRACKING_"))
    or name in {"MLOPS_BACKEND", "MLOPS_DOCKER", "MLOPS_KUBERNETES"}
]:
    del os.environ[_name]  # what the developer has set must not decide what a test sees
(_HOME / "dags").mkdir()


try:
    from hypothesis import HealthCheck, settings
except ModuleNotFoundError:  # the model environment; property tests do not run there
    pass
else:
    # The same examples every time, and no verdict on the speed of a machine that others use too.
    settings.register_profile("ours", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("ours")


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


# `make test` runs kernel and domains where Airflow is not installed; what has passed there is not run a second time.
_PASSED: set[str] = set()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" and report.passed:
        _PASSED.add(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    target = os.environ.get("MLOPS_TESTS_PASSED_INTO")
    if target and not hasattr(session.config, "workerinput"):
        Path(target).write_text("\n".join(sorted(_PASSED)), encoding="utf-8")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    source = os.environ.get("MLOPS_TESTS_PASSED")
    if source:
        passed = set(Path(source).read_text(encoding="utf-8").split("\n"))
        again = [item for item in items if item.nodeid in passed]
        config.hook.pytest_deselected(items=again)
        items[:] = [item for item in items if item.nodeid not in passed]


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def free_port() -> int:
    """A port on which nothing listens."""
    return _free_port()


@pytest.fixture(scope="session")
def model_python() -> Path:
    """Interpreter of the model environment, which `make test` names in MLOPS_MODEL_PYTHON."""
    value = os.environ.get("MLOPS_MODEL_PYTHON")
    if not value:
        pytest.skip("MLOPS_MODEL_PYTHON does not name the model environment's interpreter")
    return Path(value)


@pytest.fixture(scope="session")
def small_model(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Directory and digest of a small classifier, saved as our training scripts save."""
    directory = tmp_path_factory.mktemp("small") / "model"
    script = Path(__file__).parent / "stack" / "make_model.py"
    made = subprocess.run([model_python, script, directory], check=True, capture_output=True, text=True, timeout=120)
    return directory, made.stdout.split()[-1]


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real MLflow server on SQLite."""
    with running_mlflow(tmp_path_factory.mktemp("mlflow")) as url:
        yield url


@pytest.fixture(scope="session")
def made_up_flights(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., DatasetRef]:
    """Write flights whose lateness can be told to some degree: ``made_up_flights(rows, month, seed)``."""

    def write(
        count: int, month: str, seed: int, *, name: str = "flights", change: Callable[[Any], Any] | None = None
    ) -> DatasetRef:
        path = tmp_path_factory.mktemp("data") / f"{name}.parquet"
        frame = _flights(count, month, seed)
        (frame if change is None else change(frame)).to_parquet(path, index=False)
        manifest = manifest_of(path)
        return DatasetRef(
            uri=f"file://{path}",
            digest=manifest.digest,
            format="parquet",
            size_bytes=manifest.size_bytes,
            rows=count,
            partition=month,
        )

    return write


def _flights(count: int, month: str, seed: int) -> Any:
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(seed)
    hour, visib = generator.integers(5, 24, count), generator.uniform(0, 10, count)
    odds = -3 + 0.15 * (hour - 5) + 0.15 * (10 - visib)
    return pd.DataFrame(
        {
            "flight_id": [f"{month}-{number}" for number in range(count)],
            "date": [f"{month}-{day:02d}" for day in generator.integers(1, 29, count)],
            "carrier": generator.choice(["UA", "AA", "DL"], count),
            "origin": generator.choice(["EWR", "JFK", "LGA"], count),
            "dest": generator.choice(["LAX", "ORD", "ATL"], count),
            "distance": generator.integers(100, 3000, count),
            "sched_hour": hour,
            "sched_minute": generator.integers(0, 60, count),
            "day_of_week": generator.integers(0, 7, count),
            "temp": np.where(generator.random(count) < 0.1, np.nan, generator.normal(55, 15, count)),
            "wind_speed": generator.uniform(0, 30, count),
            "precip": np.zeros(count),
            "visib": visib,
            "late": (generator.random(count) < 1 / (1 + np.exp(-odds))).astype(int),
        }
    )
