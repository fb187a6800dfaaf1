"""Processes that belong to a home: started in sessions of their own, recorded, and stopped without leftovers.

A process is never known by its number alone: the record holds when it began, so a number that the system gave to
somebody else is never signalled. Services are stopped by *session*, not by process group: Airflow's tasks make groups
of their own inside the scheduler's session, while trainings leave the session and so survive their scheduler.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from airflow_mlops.codec import decode, encode
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local.home import LocalHome

__all__ = [
    "HOME_VARIABLE",
    "ProcessRecord",
    "forget",
    "is_running",
    "kill_session",
    "leftovers",
    "records",
    "session_of",
    "signal_session",
    "spawn",
    "stop_all",
]

HOME_VARIABLE = "AIRFLOW_MLOPS_STACK"
_POLL_SECONDS = 0.05
# The child waits for a line before it becomes the service. A supervisor that is killed before it has recorded the
# child closes the pipe, the child reads the end of the file and is gone: there is no moment without a record.
_GATE = 'read -r go && exec "$@" </dev/null'


@dataclass(frozen=True, kw_only=True)
class ProcessRecord:
    """A process that was started for a home, leader of its own session.

    :param created: when it began as the system tells it, seconds since the epoch
    """

    name: str
    pid: int
    created: float


def spawn(
    home: LocalHome, name: str, command: Sequence[str], *, environment: Mapping[str, str], log: IO[bytes], cwd: Path
) -> ProcessRecord:
    """Start a command in its own session, with its record on disk before its first instruction.

    :raises OSError: if the command or its working folder do not exist
    """
    import psutil

    program = shutil.which(command[0], path=environment.get("PATH"))
    if program is None:
        raise FileNotFoundError(f"{name}: the program {command[0]!r} does not exist or may not be executed")
    process = subprocess.Popen(  # noqa: S603 - the command is built by this package
        ["/bin/sh", "-c", _GATE, name, program, *command[1:]],
        stdin=subprocess.PIPE,
        stdout=log,
        stderr=subprocess.STDOUT,
        env={**environment, HOME_VARIABLE: str(home.root)},
        cwd=cwd,
        start_new_session=True,
    )
    gate = process.stdin
    if gate is None:
        raise RuntimeError("a process without the pipe that was asked for")
    with gate:
        record = ProcessRecord(name=name, pid=process.pid, created=psutil.Process(process.pid).create_time())
        atomic_write_json(_record_file(home, name), encode(record))
        with contextlib.suppress(BrokenPipeError):  # it died at once; whoever waits for it will see how
            os.write(gate.fileno(), b"go\n")
    # Whoever called waits for the child by its number; the Popen object must not warn that nobody did.
    process.returncode = 0
    return record


def forget(home: LocalHome, name: str) -> None:
    """Remove the record of a process that is gone."""
    _record_file(home, name).unlink(missing_ok=True)


def records(home: LocalHome) -> tuple[ProcessRecord, ...]:
    """Return every process that was recorded; whether it still runs is another question."""
    found = [decode(ProcessRecord, read_json(path)) for path in sorted(home.processes.glob("*.json"))]
    return tuple(found)


def is_running(record: ProcessRecord) -> bool:
    """Whether exactly this process still runs; a zombie does not."""
    process = _process(record.pid)
    return process is not None and _is(process, record)


def session_of(leader_pid: int) -> list[int]:
    """Return the processes in the session of a leader, itself included."""
    import psutil

    members = []
    for pid in psutil.pids():
        try:
            if os.getsid(pid) == leader_pid:
                members.append(pid)
        except (ProcessLookupError, PermissionError):
            continue
    return members


def signal_session(leader_pid: int, number: signal.Signals) -> None:
    """Send a signal to each process of a session; the caller knows that the session is the right one."""
    for pid in session_of(leader_pid):
        _send(pid, number)


def kill_session(leader_pid: int) -> bool:
    """Kill what a leader that ended left in its session; return whether something was still there.

    The caller has not waited for the leader yet, so the number of the session cannot mean another one.
    """
    left = [pid for pid in session_of(leader_pid) if pid != leader_pid and _process(pid) is not None]
    for pid in left:
        _send(pid, signal.SIGKILL)
    return bool(left)


def leftovers(home: LocalHome, *, with_jobs: bool = False) -> list[int]:
    """Return the processes of this home that run, whether or not a supervisor watches them.

    :param with_jobs: also those that left their service's session on purpose, such as trainings
    """
    pids = {pid for record in records(home) for pid in _members(home, record)}
    if with_jobs:
        pids |= set(_marked(home))
    return sorted(pids - _self_and_ancestors())


def stop_all(home: LocalHome, *, grace_seconds: float, with_jobs: bool = False) -> list[int]:
    """Stop what :func:`leftovers` finds, first asking, then by force; return what is left even so."""
    number, deadline = signal.SIGTERM, time.monotonic() + grace_seconds
    asked: set[int] = set()
    while pids := leftovers(home, with_jobs=with_jobs):
        for pid in pids:
            if pid not in asked or number == signal.SIGKILL:
                _send(pid, number)
                asked.add(pid)
        time.sleep(_POLL_SECONDS)
        if time.monotonic() >= deadline:
            if number == signal.SIGKILL:
                return leftovers(home, with_jobs=with_jobs)
            number, deadline = signal.SIGKILL, time.monotonic() + grace_seconds
    for record in records(home):
        forget(home, record.name)
    return []


def _record_file(home: LocalHome, name: str) -> Path:
    return home.processes / f"{name}.json"


def _process(pid: int) -> Any | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return None


def _is(process: Any, record: ProcessRecord) -> bool:
    # The clock ticks of the kernel are converted to seconds; half a tick more or less is the same process.
    return bool(abs(process.create_time() - record.created) < 0.02)


def _members(home: LocalHome, record: ProcessRecord) -> Iterator[int]:
    """Live processes of a recorded session, if the session is still that one."""
    leader = _process(record.pid)
    if leader is not None and not _is(leader, record):
        return
    for pid in session_of(record.pid):
        process = _process(pid)
        if process is not None and (leader is not None or _belongs(process, home, record)):
            yield pid


def _belongs(process: Any, home: LocalHome, record: ProcessRecord) -> bool:
    """Whether a process whose session leader is gone is really one of this home.

    Workers rename themselves and so overwrite what the system shows of their environment; the working folder and the
    log that they inherited tell as well.
    """
    import psutil

    try:
        if process.create_time() < record.created:
            return False
        places = [process.cwd(), *(item.path for item in process.open_files())]
        return _mark(process) == str(home.root) or any(Path(place).is_relative_to(home.root) for place in places)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return False


def _mark(process: Any) -> str | None:
    import psutil

    try:
        value: str | None = process.environ().get(HOME_VARIABLE)
    except (psutil.NoSuchProcess, psutil.AccessDenied, OSError):
        return None
    return value


def _marked(home: LocalHome) -> Iterable[int]:
    import psutil

    for process in psutil.process_iter():
        if _mark(process) == str(home.root) and _process(process.pid) is not None:
            yield process.pid


def _self_and_ancestors() -> set[int]:
    import psutil

    this = psutil.Process()
    return {this.pid, *(parent.pid for parent in this.parents())}


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return
