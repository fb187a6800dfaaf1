"""Files that several processes read and write: replaced as a whole, changed under a lock.

A reader sees the old content or the new one, never a part; a writer that dies leaves the old content. The lock ends
with its process, so a killed writer blocks nobody.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import ContractError, TransientAdapterError

__all__ = ["atomic_write_json", "atomic_write_text", "file_lock", "read_json"]

_LOCK_WAIT_SECONDS = 10.0
_LOCK_POLL_SECONDS = 0.02


def atomic_write_text(path: Path, text: str) -> None:
    """Replace ``path`` by a file with this content, all or nothing; its folder is made if missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        # mkstemp makes files that only the owner reads; services under other users read these too.
        temporary.chmod(0o644)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def atomic_write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by the JSON of a value, indented for people; see :func:`atomic_write_text`."""
    atomic_write_text(path, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, None when there is no such file.

    :raises ContractError: when the content is not JSON
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        return json.loads(text)
    except ValueError as error:
        raise ContractError(f"{path} is not JSON: {error}") from error


@contextlib.contextmanager
def file_lock(path: Path, *, wait_seconds: float = _LOCK_WAIT_SECONDS) -> Iterator[None]:
    """Hold the exclusive lock of a lock file while the block runs.

    :param path: the lock file; made if missing, never removed
    :param wait_seconds: how long to wait for another holder
    :raises TransientAdapterError: when the lock stays taken
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    with path.open("a+", encoding="utf-8") as stream:
        while True:
            try:
                fcntl.flock(stream.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise TransientAdapterError(f"lock {path} stayed taken for {wait_seconds:g} s") from None
                time.sleep(_LOCK_POLL_SECONDS)
        yield
