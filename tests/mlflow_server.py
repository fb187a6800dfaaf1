"""A real MLflow server for tests."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["running_mlflow"]


@contextmanager
def running_mlflow(home: Path, *, store: str | None = None, workers: int = 1) -> Iterator[str]:
    """Start a server on a free port and stop it at the end.

    :param home: an existing folder for its log, artefacts and, by default, its database
    :param store: where runs and models are kept, as SQLAlchemy writes it; SQLite if it is left out
    :param workers: number of processes that answer
    :return: the server's address
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    store = store or f"sqlite:///{home}/mlflow.db"
    command = [
        *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)),
        *("--workers", str(workers), "--backend-store-uri", store),
        *("--artifacts-destination", str(home / "artifacts"), "--serve-artifacts"),
    ]
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=subprocess.STDOUT, cwd=home, start_new_session=True, env=_environment()
        )
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_healthy(url, process, home / "server.log")
        yield url
    finally:
        os.killpg(process.pid, 15)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait(10)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return kept | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def _wait_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 110
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            with urllib.request.urlopen(f"{url}/health", timeout=2):
                return
        except OSError:
            time.sleep(0.2)
    pytest.fail(f"MLflow did not start:\n{log.read_text()[-3000:]}")
