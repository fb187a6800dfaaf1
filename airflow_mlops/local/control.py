"""Bring the stack up, take it down, say how it is; what the commands and the demonstrations call."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ConflictError, PermanentAdapterError, SpecificationError
from airflow_mlops.files import read_json
from airflow_mlops.local import lock, processes
from airflow_mlops.local.environments import model_environment
from airflow_mlops.local.home import LocalHome
from airflow_mlops.local.ports import check_ports
from airflow_mlops.local.processes import ProcessRecord
from airflow_mlops.local.report import last_lines
from airflow_mlops.local.services import base_environment
from airflow_mlops.local.settings import Ports, Settings
from airflow_mlops.local.state import ServiceState, StackState, read_state
from airflow_mlops.rollout.routing import Sticky
from airflow_mlops.rollout.serving import ServerStatus

__all__ = ["UpOptions", "down", "is_supervised", "status", "up", "urls"]

_POLL_SECONDS = 0.2
_GRACE_SECONDS = 10.0
# Every service gets its grace, then SIGKILL; all of them at the same time.
_SUPERVISOR_GRACE_SECONDS = 30.0
_CRASH_LOOP_RESTARTS = 4

Progress = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """What ``up`` was asked for.

    :param ports: None keeps those of the last time
    :param with_airflow: False leaves Airflow's components out
    :param dags_folder: None keeps that of the last time
    :param users: header or cookie that names the user, for the gateway's log of users; None keeps that of the last time
    :param requirements: what the model environment consists of; empty takes what comes with the package
    :param timeout_seconds: how long everything may take to become healthy, once it is started
    """

    ports: Ports | None = None
    with_airflow: bool = True
    dags_folder: Path | None = None
    users: Sticky | None = None
    requirements: tuple[Path, ...] = ()
    timeout_seconds: float = 180.0

    def applied(self, settings: Settings) -> Settings:
        """Return settings in which these options take the place of what was there."""
        folder = settings.dags_folder if self.dags_folder is None else str(self.dags_folder.expanduser().resolve())
        return replace(
            settings,
            ports=self.ports or settings.ports,
            with_airflow=self.with_airflow,
            dags_folder=folder,
            users=self.users or settings.users,
        )


def up(home: LocalHome, options: UpOptions, progress: Progress) -> StackState:
    """Start the stack, unless it runs, and wait until all of it is healthy.

    :param progress: gets a line of text whenever something happened
    :raises ConflictError: if a port is taken, or the stack runs with other options
    :raises PermanentAdapterError: if a service does not become healthy
    """
    if options.dags_folder is not None and not options.dags_folder.is_dir():
        raise SpecificationError("dags-folder", str(options.dags_folder), "a folder that exists")
    home.create()
    with _only_one(home):
        if is_supervised(home):
            settings = _running_settings(home, options)
            progress(f"the stack in {home.root} is running already")
            return _healthy(home, settings, None, options.timeout_seconds, progress)
        settings = _prepare(home, options, progress)
        supervisor = _launch(home)
        return _healthy(home, settings, supervisor, options.timeout_seconds, progress)


def down(home: LocalHome, progress: Progress) -> bool:
    """Stop everything, trainings included; return whether anything ran.

    :raises PermanentAdapterError: if a process survived even SIGKILL
    """
    if home.settings() is None:
        return False
    ran = is_supervised(home)
    if ran:
        progress("stopping all services")
        _stop_supervisor(home)
    ran = bool(processes.leftovers(home, with_jobs=True)) or ran
    left = processes.stop_all(home, grace_seconds=_GRACE_SECONDS, with_jobs=True)
    if left:
        raise PermanentAdapterError(f"these processes cannot be stopped: {', '.join(map(str, left))}")
    _mark_stopped(home)
    home.supervisor_file.unlink(missing_ok=True)
    return ran


def status(home: LocalHome) -> StackState | None:
    """Return how the services are; what a supervisor that is gone wrote last counts as stopped. None: never up."""
    state = read_state(home)
    if state is None or is_supervised(home):
        return state
    left = len(processes.leftovers(home))
    note = f"no supervisor; {left} processes of it are left: run up or down" if left else ""
    stopped = tuple(replace(item, phase="stopped", pid=None, message=note) for item in state.services)
    return replace(state, services=stopped)


def is_supervised(home: LocalHome) -> bool:
    """Whether a supervisor runs."""
    return lock.is_held(home.lock_file)


def urls(settings: Settings) -> dict[str, str]:
    """Where a person finds what."""
    ports = settings.ports
    found = {"Airflow": ports.airflow} if settings.with_airflow else {}
    found |= {"MLflow": ports.mlflow, "Gateway": ports.gateway, "Gateway statistics": ports.gateway_admin}
    return {name: f"http://127.0.0.1:{port}" for name, port in found.items()}


def _only_one(home: LocalHome) -> Any:
    held = lock.acquire(home.run / "up.lock")
    if held is None:
        raise ConflictError(f"{home.root}: another `up` is under way here; wait for it")
    return held


def _running_settings(home: LocalHome, options: UpOptions) -> Settings:
    settings = home.settings() or Settings()
    wanted = options.applied(settings)
    if wanted != settings:
        names = [
            name
            for name in ("ports", "with_airflow", "dags_folder", "users")
            if getattr(wanted, name) != getattr(settings, name)
        ]
        raise ConflictError(
            f"the stack in {home.root} is running with other settings ({', '.join(names)}); "
            "take it down first, or leave these options out"
        )  # fmt: skip
    return settings


def _prepare(home: LocalHome, options: UpOptions, progress: Progress) -> Settings:
    left = processes.leftovers(home)
    if left:
        progress(f"stopping {len(left)} processes that a killed supervisor left behind")
        processes.stop_all(home, grace_seconds=_GRACE_SECONDS)
    settings = options.applied(home.settings() or Settings())
    check_ports(settings.ports, with_airflow=settings.with_airflow)
    python = model_environment(home.envs, requirements=options.requirements, progress=progress)
    settings = replace(settings, model_python=str(python))
    home.save(settings)
    return settings


def _launch(home: LocalHome) -> ProcessRecord:
    home.state_file.unlink(missing_ok=True)
    command = [sys.executable, "-m", "airflow_mlops.local.supervisor", "--home", str(home.root)]
    with (home.logs / "supervisor.log").open("ab") as log:
        # Recorded like a service until it holds the lock, so that `down` finds one that is only just starting.
        record = processes.spawn(home, "supervisor", command, environment=base_environment(), log=log, cwd=home.root)
    # It outlives this process; should it end earlier, somebody has to take note of that.
    threading.Thread(target=os.waitpid, args=(record.pid, 0), name=f"reaper of {record.pid}", daemon=True).start()
    return record


def _healthy(
    home: LocalHome,
    settings: Settings,
    supervisor: ProcessRecord | None,
    timeout_seconds: float,
    progress: Progress,
) -> StackState:
    """Wait until all is healthy, telling about each service as it gets there."""
    began, told = time.monotonic(), set[str]()
    while True:
        state = read_state(home)
        for item in state.services if state else ():
            if item.is_healthy and item.name not in told:
                told.add(item.name)
                progress(f"  {item.name:<24} {item.phase} after {time.monotonic() - began:5.1f} s")
        if state is not None and state.is_healthy:
            for name, url in urls(settings).items():
                progress(f"{name:<19} {url}")
            return state
        if supervisor is not None and not processes.is_running(supervisor):
            raise PermanentAdapterError(
                "the supervisor ended; last lines of its log:\n" + last_lines(home.logs / "supervisor.log")
            )
        late = time.monotonic() - began > timeout_seconds
        failed = [item for item in (state.services if state else ()) if _has_failed(item, late=late)]
        if failed or late:
            raise PermanentAdapterError(_failure(failed, timeout_seconds, late=late))
        time.sleep(_POLL_SECONDS)


def _has_failed(item: ServiceState, *, late: bool) -> bool:
    return not item.is_healthy and (late or item.restarts >= _CRASH_LOOP_RESTARTS)


def _failure(failed: list[ServiceState], timeout_seconds: float, *, late: bool) -> str:
    why = f"not everything was healthy within {timeout_seconds:g} s" if late else "a service crashes again and again"
    lines = [f"{why}; what is healthy keeps running until `airflow mlops local down`"]
    for item in failed:
        lines.append(f"{item.name}: {item.phase}, restarted {item.restarts} times; last lines of {item.log}:")
        lines += [f"  {line}" for line in last_lines(Path(item.log), 15).splitlines()] if item.log else []
        if item.message:
            lines.append(f"  {item.message.splitlines()[0]}")
    return "\n".join(lines)


def _stop_supervisor(home: LocalHome) -> None:
    document = read_json(home.supervisor_file)
    record = decode(ProcessRecord, document) if document is not None else None
    for number, seconds in ((signal.SIGTERM, _SUPERVISOR_GRACE_SECONDS), (signal.SIGKILL, 5.0)):
        if record is not None and processes.is_running(record):
            os.kill(record.pid, number)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not is_supervised(home) and (record is None or not processes.is_running(record)):
                return
            time.sleep(_POLL_SECONDS / 4)
    raise PermanentAdapterError(f"the supervisor of {home.root} cannot be stopped (see {home.supervisor_file})")


def _mark_stopped(home: LocalHome) -> None:
    """Correct what a killed supervisor could not: nothing of it runs."""
    from airflow_mlops.local.servers import ServerFiles

    files = ServerFiles(home, home.settings() or Settings())
    files.load()
    for name in files.names():
        known = files.status(name)
        if known is not None and known.phase != "stopped":
            files.write(
                ServerStatus(name=name, phase="stopped", port=known.port, restarts=known.restarts, since=time.time())
            )
