"""A local folder that behaves as object storage does: whole objects, and conditional writes that one writer wins."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

from fsspec.implementations.local import LocalFileSystem

__all__ = ["ObjectFolder"]


class ObjectFolder(LocalFileSystem):
    """Objects below a folder, shared by processes; attached as ``memory``, which is no local path."""

    protocol = ("memory",)

    @classmethod
    def _strip_protocol(cls, path: Any) -> str:
        return super()._strip_protocol(str(path).removeprefix("memory://"))

    def pipe_file(self, path: str, value: bytes, mode: str = "overwrite", **kwargs: Any) -> None:
        """Write an object in one step; ``create`` fails where there is one."""
        target = Path(self._strip_protocol(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        # What a killed writer did not finish is no object, so it lies where nobody lists: outside of the root.
        unfinished = target.parents[3] / "unfinished"
        unfinished.mkdir(exist_ok=True)
        temporary = unfinished / uuid.uuid4().hex
        temporary.write_bytes(value)
        if mode == "create":
            target.hardlink_to(temporary)
            temporary.unlink()
        else:
            temporary.replace(target)
