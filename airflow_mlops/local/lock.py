"""One supervisor per home: a lock that the system lets go of when its holder dies."""

from __future__ import annotations

import fcntl
import time
from pathlib import Path
from typing import IO

__all__ = ["acquire", "is_held"]

_POLL_SECONDS = 0.05


def acquire(path: Path, *, wait_seconds: float = 0.0) -> IO[str] | None:
    """Take the lock; it is held until the returned file is closed, or the process ends.

    :param wait_seconds: how long to try
    :return: None when somebody else holds it
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_seconds
    while True:
        stream = path.open("a+", encoding="utf-8")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            if time.monotonic() >= deadline:
                return None
            time.sleep(_POLL_SECONDS)
        else:
            return stream


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock."""
    if not path.exists():
        return False
    with path.open("a+", encoding="utf-8") as stream:
        try:
            # Shared, so that two who only ask do not take each other for the holder.
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False
