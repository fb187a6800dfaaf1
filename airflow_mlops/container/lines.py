"""Files that only grow, one JSON document per line, written so that a kill tears at most the last line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

__all__ = ["LineFile", "Lines", "read_lines"]

_BLOCK = 1 << 16


class LineFile:
    """Appends documents, each in one ``write`` to a file opened for appending.

    Lines are not synced to the disk one by one: they survive the death of the process, not that of the machine. One
    process writes to a file at a time: what an earlier one left torn at the end is cut off.

    :param path: the file; its folder is made if missing
    :param exclusive: the file must not exist yet
    :raises OSError: if it cannot be opened
    """

    def __init__(self, path: Path, *, exclusive: bool = False) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | (os.O_EXCL if exclusive else 0)
        self._descriptor = os.open(path, flags, 0o644)
        self._cut_torn_end()

    def _cut_torn_end(self) -> None:
        """Make the file end with a whole line again."""
        end = os.fstat(self._descriptor).st_size
        while end > 0:
            start = max(0, end - _BLOCK)
            newline = os.pread(self._descriptor, end - start, start).rfind(b"\n")
            if newline >= 0:
                end = start + newline + 1
                break
            end = start
        os.ftruncate(self._descriptor, end)

    def append(self, document: Mapping[str, Any]) -> None:
        """Write one line.

        :raises OSError: if it could not be written whole, for example because the disk is full
        :raises ValueError: on NaN or infinity, which JSON has not
        """
        line = json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        written = os.write(self._descriptor, line)
        if written != len(line):
            # A full disk costs the lines that it cut, no others.
            self._cut_torn_end()
            raise OSError(f"{self.path}: wrote {written} of {len(line)} bytes")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def __enter__(self) -> Self:
        """Return the file itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the file."""
        self.close()


@dataclass(frozen=True, kw_only=True)
class Lines:
    """What such a file holds.

    :param documents: the lines that are whole
    :param torn: number of lines that are not JSON objects, cut by a kill or a full disk
    """

    documents: tuple[dict[str, Any], ...]
    torn: int


def read_lines(paths: Iterable[Path], *, last_bytes: int | None = None) -> Lines:
    """Read files in the order given; one that does not exist holds nothing.

    :param last_bytes: read only the end of each file; a line that the cut splits is left out uncounted
    """
    documents: list[dict[str, Any]] = []
    torn = 0
    for path in paths:
        for line in _raw_lines(path, last_bytes):
            document = _parse(line)
            if document is None:
                torn += 1
            else:
                documents.append(document)
    return Lines(documents=tuple(documents), torn=torn)


def _raw_lines(path: Path, last_bytes: int | None) -> list[bytes]:
    try:
        with path.open("rb") as stream:
            length = os.fstat(stream.fileno()).st_size
            if last_bytes is None or length <= last_bytes:
                return stream.read().splitlines()
            stream.seek(length - last_bytes)
            return stream.read().splitlines()[1:]
    except FileNotFoundError:
        return []


def _parse(line: bytes) -> dict[str, Any] | None:
    try:
        document = json.loads(line)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None
