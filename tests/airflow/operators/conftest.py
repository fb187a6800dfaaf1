"""Fixtures for tests of operators."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest


@pytest.fixture(scope="package")
def client(airflow_db) -> Iterator[Any]:
    """Airflow's own API, asked by its administrator."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    purge_cached_app()
    app = create_app(apps="core")
    token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username="ada", role="ADMIN"))
    with contextlib.closing(TestClient(app, base_url="http://airflow")) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client
    purge_cached_app()


@pytest.fixture
def parked(monkeypatch) -> threading.Event:
    """Set whenever dag.test has nothing to do but to wait for an answer; it looks more often than each second."""
    event, sleep, main = threading.Event(), time.sleep, threading.current_thread()

    def nap(seconds: float) -> None:
        if seconds == 1 and threading.current_thread() is main:
            event.set()
            seconds = 0.2
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", nap)
    return event
