"""Health probes: short HTTP questions that a supervisor asks, each in a thread of its own."""

from __future__ import annotations

import datetime as dt
import http.client
import json
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Probe", "ProbeKind", "Prober"]

ProbeKind = Literal["alive", "http", "airflow"]

_TIMEOUT_SECONDS = 5.0
_PERIOD_SECONDS = 1.0
_STARTING_PERIOD_SECONDS = 0.25
# Heartbeats carry the clock of the same machine, but are rounded on their way through the database.
_ROUNDING_SECONDS = 1.0


@dataclass(frozen=True, kw_only=True)
class Probe:
    """How the health of a service is told.

    :param kind: ``alive``: it is healthy while it runs; ``http``: ``path`` answers with a status below 400;
        ``airflow``: the API server reports a heartbeat of ``component`` that is younger than the process
    :param component: key in the API server's health document, for example ``scheduler``
    """

    kind: ProbeKind
    port: int = 0
    path: str = "/"
    component: str = ""


@dataclass(frozen=True)
class _Answer:
    healthy: bool | None
    started_at: float


class Prober:
    """Asks without making the supervisor wait; answers to an earlier process are thrown away."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=8, thread_name_prefix="probe")
        self._running: dict[str, Future[_Answer]] = {}
        self._asked_at: dict[str, float] = {}

    def ask(self, name: str, probe: Probe, *, started_at: float, was_healthy: bool, now: float) -> bool | None:
        """Return a new answer about a process, or None where there is none (yet).

        :param started_at: when the process was started, seconds since the epoch
        """
        if probe.kind == "alive":
            return True
        running = self._running.get(name)
        if running is not None:
            if not running.done():
                return None
            del self._running[name]
            answer = running.result()
            return answer.healthy if answer.started_at == started_at else None
        period = _PERIOD_SECONDS if was_healthy else _STARTING_PERIOD_SECONDS
        if now - self._asked_at.get(name, 0.0) >= period:
            self._asked_at[name] = now
            self._running[name] = self._pool.submit(_answer, probe, started_at)
        return None

    def close(self) -> None:
        """Let go of the threads; questions under way are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _answer(probe: Probe, started_at: float) -> _Answer:
    if probe.kind == "http":
        status, _ = get(probe.port, probe.path)
        return _Answer(status is not None and status < 400, started_at)
    return _Answer(_airflow(probe, started_at), started_at)


def _airflow(probe: Probe, started_at: float) -> bool | None:
    """Judge a component by what the API server reports; while that is away, nothing is known."""
    status, body = get(probe.port, probe.path)
    if status != 200:
        return None
    try:
        part: dict[str, Any] = json.loads(body)[probe.component]
    except (ValueError, KeyError, TypeError):
        return False
    beat = part.get(f"latest_{probe.component}_heartbeat")
    if part.get("status") != "healthy" or not beat:
        return False
    return dt.datetime.fromisoformat(beat).timestamp() >= started_at - _ROUNDING_SECONDS


def get(port: int, path: str, *, timeout_seconds: float = _TIMEOUT_SECONDS) -> tuple[int | None, bytes]:
    """Ask a service on the loopback interface; the status is None when it does not answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_seconds)
    try:
        connection.request("GET", path, headers={"Connection": "close"})
        response = connection.getresponse()
        return response.status, response.read(1 << 20)
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()
