"""What is new in a folder of files that only grow, a JSON document in every line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from airflow_mlops.exceptions import ContractError, TransientAdapterError

__all__ = ["LogTail"]

T = TypeVar("T")
_LOG = logging.getLogger(__name__)
_BATCH = 500


@dataclass(frozen=True)
class _Place:
    inode: int
    offset: int


class LogTail:
    """Remembers how far each file was read, so that every line is seen once.

    A last line without its end is left for later. A file that vanished takes back nothing of what was read of it; one
    that is shorter than it was, or another file of the same name, is read from its beginning. Both are warned about,
    because a process that begins to read now cannot see what was there.

    :param folder: holds the files, ``*.jsonl``; one that is not there yet is empty
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._places: dict[str, _Place] = {}
        self._missed: set[str] = set()

    def batches(
        self, parse: Callable[[Mapping[str, Any]], T], *, ready: Callable[[T], bool] | None = None
    ) -> Iterator[list[T]]:
        """Yield what is new, file by file; what was yielded counts as read when the next batch is asked for.

        :param parse: makes a row of a document
        :param ready: whether a row may be read yet; the first one of a file that may not stays, with all after it
        :raises ContractError: at a line that is not what it should be
        :raises TransientAdapterError: when a file cannot be read
        """
        try:
            files = sorted(path for path in self._folder.iterdir() if path.suffix == ".jsonl")
        except FileNotFoundError:
            files = []
        except OSError as error:
            raise TransientAdapterError(f"{self._folder}: {error.strerror}") from error
        gone = self._places.keys() - {path.name for path in files} - self._missed
        if gone:
            self._missed |= gone
            _LOG.warning("%s: vanished: %s; what was counted of them stays", self._folder, ", ".join(sorted(gone)))
        for path in files:
            yield from self._new_in(path, parse, ready)

    def _new_in(
        self, path: Path, parse: Callable[[Mapping[str, Any]], T], ready: Callable[[T], bool] | None
    ) -> Iterator[list[T]]:
        try:
            stream = path.open("rb")
        except FileNotFoundError:
            return
        except OSError as error:
            raise TransientAdapterError(f"{path}: {error.strerror}") from error
        with stream:
            state = os.fstat(stream.fileno())
            place = self._places.get(path.name, _Place(state.st_ino, 0))
            if place.inode != state.st_ino or state.st_size < place.offset:
                _LOG.warning("%s is not the file that it was; it is counted from its beginning", path)
                place = _Place(state.st_ino, 0)
            stream.seek(place.offset)
            rows: list[T] = []
            end = place.offset
            for raw in stream:
                if not raw.endswith(b"\n"):
                    break
                row = _row(raw, parse, path, end)
                if ready is not None and not ready(row):
                    break
                rows.append(row)
                end += len(raw)
                if len(rows) == _BATCH:
                    yield rows
                    self._places[path.name] = _Place(place.inode, end)
                    rows = []
            if rows:
                yield rows
            self._places[path.name] = _Place(place.inode, end)


def _row(raw: bytes, parse: Callable[[Mapping[str, Any]], T], path: Path, offset: int) -> T:
    try:
        document = json.loads(raw)
        if not isinstance(document, Mapping):
            raise TypeError("it is no mapping")  # noqa: TRY301 - told like what the parser says
        return parse(document)
    except (ValueError, KeyError, TypeError) as error:
        said = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
        raise ContractError(f"{path}, at byte {offset}: {said}") from error
