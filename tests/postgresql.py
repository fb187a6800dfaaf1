"""A real PostgreSQL server for a test, from the binaries of the machine."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["postgresql_server"]

_START_SECONDS = 60
_STOP_SECONDS = 30


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str]:
    """Start a PostgreSQL server of its own on a free port and stop it at the end; skips where it is not installed.

    :param folder: an existing folder, where the server's log is left
    :return: ``postgresql://mlops:password@127.0.0.1:port/mlops``. The driver that is installed for tests is pg8000:
        SQLAlchemy wants ``postgresql+pg8000://`` for it
    """
    binaries, log = _binaries(), folder / "postgresql.log"
    who = _account()
    # Not under the folder: pytest's are closed to the account that the server runs as.
    home = Path(tempfile.mkdtemp(prefix="mlops-postgresql-"))
    password = secrets.token_hex(12)
    process = None
    try:
        (home / "password").write_text(password)
        if who:
            for path in (home, home / "password"):
                os.chown(path, who["user"], who["group"])
        with log.open("wb") as out:
            _initialise(binaries, home, out, who)
            process, port = _start(binaries, home, out, who)
        try:
            _create_database(binaries, port, password)
            yield f"postgresql://mlops:{password}@127.0.0.1:{port}/mlops"
        finally:
            _stop(process)
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _binaries() -> Path:
    on_path = [Path(found).resolve().parent for found in (shutil.which("postgres"), shutil.which("initdb")) if found]
    debian = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name.split(".")[0]), reverse=True
    )
    for folder in (*on_path, *debian):
        if all((folder / name).is_file() for name in ("initdb", "postgres", "pg_isready", "psql")):
            return folder
    pytest.skip("no PostgreSQL server is installed here: install the package postgresql")


def _account() -> dict[str, Any]:
    """Give the account for the server: it refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    import pwd

    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _initialise(binaries: Path, home: Path, out: Any, who: dict[str, Any]) -> None:
    command = [
        *(binaries / "initdb", "--pgdata", home / "data", "--username", "mlops", "--pwfile", home / "password"),
        *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--no-instructions"),
    ]
    subprocess.run(command, check=True, stdout=out, stderr=subprocess.STDOUT, cwd=home, timeout=100, **who)


def _start(binaries: Path, home: Path, out: Any, who: dict[str, Any]) -> tuple[subprocess.Popen[bytes], int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    settings = ("fsync=off", "unix_socket_directories=", "listen_addresses=127.0.0.1", f"port={port}")
    process = subprocess.Popen(
        [binaries / "postgres", "-D", home / "data", *(part for one in settings for part in ("-c", one))],
        stdout=out,
        stderr=subprocess.STDOUT,
        cwd=home,
        start_new_session=True,
        **who,
    )
    deadline = time.monotonic() + _START_SECONDS
    ready = [binaries / "pg_isready", "--quiet", "--host", "127.0.0.1", "--port", str(port), "--username", "mlops"]
    while subprocess.run(ready, check=False, timeout=20).returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            _stop(process)
            pytest.fail(f"PostgreSQL did not start:\n{Path(out.name).read_text()[-3000:]}")
        time.sleep(0.1)
    return process, port


def _create_database(binaries: Path, port: int, password: str) -> None:
    command = [binaries / "psql", "--quiet", "--no-psqlrc", f"postgresql://mlops@127.0.0.1:{port}/postgres"]
    subprocess.run(
        [*command, "--command", "CREATE DATABASE mlops"],
        check=True,
        timeout=60,
        env={**os.environ, "PGPASSWORD": password},
    )


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGINT)  # a fast shutdown: connections are cut
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_SECONDS)
