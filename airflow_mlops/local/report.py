"""From what the supervisor saw to the documents that others read."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from airflow_mlops.local.exits import describe
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.plan import Observed, Wanted, phase
from airflow_mlops.local.servers import SERVICE_PREFIX, ServerFiles
from airflow_mlops.local.services import Service
from airflow_mlops.local.state import ServiceState, StackState, write_state
from airflow_mlops.rollout.serving import ServerPhase, ServerStatus

__all__ = ["Reporter", "last_lines"]

_LINES = 8
_TAIL_BYTES = 8192
_SERVER_PHASES: dict[str, ServerPhase] = {
    "waiting": "starting",
    "starting": "starting",
    "ready": "ready",
    "crashed": "crashed",
    "stopping": "stopped",
    "stopped": "stopped",
    "done": "stopped",
}


class Reporter:
    """Writes the state of the stack and the status of every model server, whenever they change."""

    def __init__(self, home: LocalHome, servers: ServerFiles, supervisor_pid: int) -> None:
        self._home = home
        self._servers = servers
        self._pid = supervisor_pid
        self._written: StackState | None = None
        self._states: dict[str, ServiceState] = {}

    def report(
        self,
        services: Mapping[str, Service],
        wanted: Mapping[str, Wanted],
        observed: Mapping[str, Observed],
        problems: Mapping[str, str],
        *,
        stopping: bool,
    ) -> None:
        """Write what changed since the last report."""
        states = {}
        for name in [*services, *(name for name in problems if name not in services)]:
            service = services.get(name)
            states[name] = self._state(name, service, wanted.get(name), observed.get(name), problems.get(name))
        if stopping:
            # Whoever asks afterwards wants to see what was stopped, not an empty list.
            states = {**{name: _stopped(state) for name, state in self._states.items()}, **states}
        self._write(states)
        for name, state in states.items():
            if name.startswith(SERVICE_PREFIX):
                self._servers.write(_server_status(state, stopping=stopping))
        if not stopping:
            self._servers.remove_unwanted({name.removeprefix(SERVICE_PREFIX) for name in states})

    def stopped(self) -> None:
        """Write that nothing runs any more."""
        stopped = {name: _stopped(state) for name, state in self._states.items()}
        self._write(stopped)
        for name, state in stopped.items():
            if name.startswith(SERVICE_PREFIX):
                self._servers.write(_server_status(state, stopping=True))

    def _write(self, states: dict[str, ServiceState]) -> None:
        self._states = states
        state = StackState(supervisor_pid=self._pid, services=tuple(states.values()))
        if state != self._written:
            write_state(self._home, state)
            self._written = state

    def _state(
        self, name: str, service: Service | None, wanted: Wanted | None, seen: Observed | None, problem: str | None
    ) -> ServiceState:
        seen = seen or Observed(name=name)
        now_phase = "crashed" if problem is not None and seen.pid is None else phase(wanted, seen)
        before = self._states.get(name)
        kept = before is not None and before.phase == now_phase and before.pid == seen.pid
        log = str(service.log) if service else ""
        if problem is not None:
            message = problem
        elif kept and before is not None:
            message = before.message
        else:
            message = _message(seen, now_phase, service.log if service else None)
        return ServiceState(
            name=name,
            phase=now_phase,
            pid=seen.pid,
            port=service.port if service else None,
            restarts=seen.restarts,
            since=before.since if kept and before is not None else time.time(),
            log=log,
            message=message,
        )


def _stopped(state: ServiceState) -> ServiceState:
    if state.phase == "stopped":
        return state
    return replace(state, phase="stopped", pid=None, since=time.time(), message="")


def last_lines(path: Path, count: int = _LINES) -> str:
    """Return the last lines of a log, or nothing where there is none."""
    try:
        with path.open("rb") as stream:
            stream.seek(0, 2)
            stream.seek(max(0, stream.tell() - _TAIL_BYTES))
            text = stream.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-count:])


def _message(seen: Observed, now_phase: str, log: Path | None) -> str:
    if now_phase != "crashed" or seen.exit_code is None:
        return seen.reason
    reason = f"{seen.reason}; " if seen.reason else ""
    tail = last_lines(log) if log is not None else ""
    return f"{reason}ended with {describe(seen.exit_code)}" + (f"; last lines of its log:\n{tail}" if tail else "")


def _server_status(state: ServiceState, *, stopping: bool) -> ServerStatus:
    now_phase = "stopped" if stopping else _SERVER_PHASES[state.phase]
    return ServerStatus(
        name=state.name.removeprefix(SERVICE_PREFIX),
        phase=now_phase,
        port=state.port,
        pid=state.pid,
        restarts=state.restarts,
        since=state.since,
        message=state.message,
    )
