"""Keep what a job prints in its directory as well: a container's own log goes with the container."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["copied_to"]

# How long to wait for the last lines: a process that the script left behind may hold its end of the pipe open.
_PATIENCE_SECONDS = 5


@contextmanager
def copied_to(log: Path) -> Iterator[None]:
    """Append to a file what this process and its children print, and print it nevertheless.

    Standard output and standard error become one stream, in the order in which they are written.
    """
    read, write = os.pipe()
    output, errors = os.dup(1), os.dup(2)
    with log.open("ab", buffering=0) as file:

        def copy() -> None:
            while chunk := os.read(read, 1 << 16):
                file.write(chunk)
                os.write(output, chunk)

        thread = threading.Thread(target=copy, name="output", daemon=True)
        thread.start()
        os.dup2(write, 1)
        os.dup2(write, 2)
        os.close(write)
        try:
            yield
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os.dup2(output, 1)
            os.dup2(errors, 2)
            os.close(errors)
            thread.join(_PATIENCE_SECONDS)
