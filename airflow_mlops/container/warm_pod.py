"""What happens inside a warm pod: ``python -m airflow_mlops.container.warm_pod idle|run|running|stop``.

``idle``     the container's own command: waits, collects orphans, and passes on to the steps that they shall end
``run``      starts an attempt's script unless it was ever started, and shows its log until it has ended
``running``  says which of some attempts live
``stop``     ends an attempt's processes, or sees to it that they never begin

A connection into a pod breaks when either end dies, so a step belongs to none: its process gets a session of its own
and its log goes to the job's directory. ``run`` only looks on, may be repeated at any time, and whoever calls it again
looks on again. That a step runs once is not for the connection to know either: the claim and the lock of the attempt
say so, and both are looked at here, in the pod, where they cannot be wrong.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from airflow_mlops.codec import canonical_json
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.launch import main as launch
from airflow_mlops.container.memory import killed_for_memory, memory_limit
from airflow_mlops.container.stop import stop_job
from airflow_mlops.training.contract import REQUEST
from airflow_mlops.training.warm import HEARTBEAT, remark

__all__ = ["idle_command", "main", "run_command", "running_command", "stop_command"]

_MODULE = "airflow_mlops.container.warm_pod"
_LOOK_SECONDS = 0.05
_HEARTBEAT_SECONDS = 5.0
_CHUNK = 1 << 16
# Between taking the lock and writing down who took it lie milliseconds.
_BEGINNING_SECONDS = 2.0
_KILLED = 128 + signal.SIGKILL
#: How a container ends that was asked to: not a success, so nobody takes a deleted pod for one that is done.
_ASKED_TO_END = 128 + signal.SIGTERM


def idle_command(python: str) -> list[str]:
    """Return the command of a warm pod's container."""
    return [python, "-m", _MODULE, "idle"]


def run_command(python: str, directory: str, entrypoint: str, offset: int) -> list[str]:
    """Return the command that runs an attempt, or follows it from a byte of its log on."""
    return [python, "-m", _MODULE, "run", "--directory", directory, "--offset", str(offset), entrypoint]


def running_command(python: str, directories: Sequence[str]) -> list[str]:
    """Return the command that prints the names of those attempts that live, one a line."""
    return [python, "-m", _MODULE, "running", *directories]


def stop_command(python: str, directory: str, grace_seconds: float) -> list[str]:
    """Return the command that ends an attempt."""
    return [python, "-m", _MODULE, "stop", "--directory", directory, "--grace-seconds", f"{grace_seconds:g}"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Do one of the four."""
    parser = argparse.ArgumentParser(prog=f"python -m {_MODULE}", description=__doc__)
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("idle")
    run = commands.add_parser("run")
    run.add_argument("--directory", type=Path, required=True, help="the attempt's job directory")
    run.add_argument("--offset", type=int, default=0, help="bytes of the log that were shown before")
    run.add_argument("entrypoint", help="path of a Python file, or name of a module")
    commands.add_parser("running").add_argument("directories", type=Path, nargs="*")
    stop = commands.add_parser("stop")
    stop.add_argument("--directory", type=Path, required=True, help="the attempt's job directory")
    stop.add_argument("--grace-seconds", type=float, default=5.0, help="before the processes are killed")
    options = parser.parse_args(arguments)
    os.umask(0o002)
    if options.what == "idle":
        return _idle()
    if options.what == "run":
        return _run(options.directory, options.entrypoint, options.offset)
    if options.what == "running":
        for directory in options.directories:
            if JobDirectory(directory).is_running:
                print(directory.name)  # noqa: T201 - a command
        return 0
    return _stop(options.directory, options.grace_seconds)


def _idle() -> int:
    signals = {signal.SIGTERM, signal.SIGINT}
    for number in signals:
        # The kernel keeps signals from a container's first process unless it has said what to do with them.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # orphans are collected by the kernel
    print("waiting for steps", flush=True)  # noqa: T201 - a command
    signal.sigwait(signals)
    if os.getpid() == 1:
        try:
            os.kill(-1, signal.SIGTERM)  # all others of this container; they may want to keep a checkpoint
        except ProcessLookupError:
            return _ASKED_TO_END
        while any(entry.name.isdigit() and entry.name != "1" for entry in Path("/proc").iterdir()):
            time.sleep(_LOOK_SECONDS)
    return _ASKED_TO_END


def _run(path: Path, entrypoint: str, offset: int) -> int:
    directory = JobDirectory(path)
    if not (path / REQUEST).is_file():
        _say(
            f"{path}: there is no {REQUEST} here; the artefact store must be a volume of the pod, mounted at the same "
            "path as on the worker\n"
        )
        return 1
    child = None
    lock = directory.lock()
    if lock is not None:
        try:
            folder = AttemptFolder(path.parent.parent)
            if folder.claim(path.name, socket.gethostname()):
                if any(other > path.name for other in folder.names()):
                    _say(remark("superseded", CLAIMED))
                    return CLAIMED
                child = _begin(directory, lock, entrypoint)
        finally:
            # The job's processes hold the lock by their own copies of the open file.
            os.close(lock)
    _say(remark("found" if child is None else "started"))
    _show(directory, offset)
    if child is not None:
        os.waitpid(child, 0)
    status = directory.exit_status()
    code = None if status is None else status.code if status.code is not None else 128 + (status.signal or 0)
    _say(remark("ended", code))
    return 1 if code is None else code


def _begin(directory: JobDirectory, lock: int, entrypoint: str) -> int:
    """Start the launcher in a session of its own, with everything that it needs already loaded."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        os.setsid()
        log = os.open(directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o664)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        killed_before = killed_for_memory()
        os.set_inheritable(lock, True)
        code = launch(["--directory", str(directory.path), "--lock-fd", str(lock), entrypoint])
        if code == _KILLED and killed_for_memory() > killed_before:
            # The container's first process lives on, so the cluster has nothing to say about this.
            directory.write("container.json", canonical_json({"out_of_memory": True, "memory_bytes": memory_limit()}))
    except BaseException:  # noqa: BLE001 - this process must never go on with what its parent was doing
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def _show(directory: JobDirectory, position: int) -> None:
    said = time.monotonic()
    while True:
        running = directory.is_running  # before the log is read: what was written before the end is then shown
        if directory.log.is_file():
            with directory.log.open("rb") as log:
                log.seek(position)
                while chunk := log.read(_CHUNK):
                    position, said = position + len(chunk), time.monotonic()
                    _write(1, chunk)
        if not running:
            return
        if time.monotonic() - said > _HEARTBEAT_SECONDS:
            said = time.monotonic()
            _say(HEARTBEAT)
        time.sleep(_LOOK_SECONDS)


def _stop(path: Path, grace_seconds: float) -> int:
    directory = JobDirectory(path)
    if AttemptFolder(path.parent.parent).claim(path.name, "stopped before it began"):
        return 0
    deadline = time.monotonic() + _BEGINNING_SECONDS
    while directory.is_running and directory.attempt() is None and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    stop_job(directory, grace_seconds)
    return 0


def _say(text: str) -> None:
    _write(2, text.encode())


def _write(channel: int, data: bytes) -> None:
    while data:
        data = data[os.write(channel, data) :]


if __name__ == "__main__":
    sys.exit(main())
