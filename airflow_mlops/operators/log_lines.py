"""What a job prints, as it appears in a task's log."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["LogLines"]


class LogLines:
    """Reads the lines that were appended to a file.

    :param path: the file, which need not exist yet
    :param offset: where to begin
    """

    def __init__(self, path: Path, offset: int) -> None:
        self._path, self._offset, self._rest = path, offset, b""

    def new(self, *, last: bool) -> Sequence[str]:
        """Return the complete lines since the last call; with ``last``, an incomplete one too."""
        if not self._path.exists():
            return ()
        with self._path.open("rb") as stream:
            stream.seek(self._offset)
            content = stream.read()
        self._offset += len(content)
        lines = (self._rest + content).split(b"\n")
        self._rest = lines.pop()
        if last and self._rest:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace") for line in lines]
