"""What an image is made of: the files of a build context and a digest of all that decides the result."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import SpecificationError

__all__ = ["BuildContext"]


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """A folder with a Dockerfile.

    :param folder: what the Dockerfile copies from; its ``.dockerignore`` is followed
    :param dockerfile: path of the Dockerfile, relative to the folder
    :param build_args: values of the Dockerfile's ``ARG`` lines
    :param target: the stage to stop at, None for the last
    """

    folder: Path
    dockerfile: str = "Dockerfile"
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str | None = None

    def __post_init__(self) -> None:
        """Refuse a Dockerfile that is not there or lies outside."""
        if not self.folder.is_dir():
            raise SpecificationError("context", str(self.folder), "a folder that exists")
        path = (self.folder / self.dockerfile).resolve()
        if not path.is_relative_to(self.folder.resolve()) or not path.is_file():
            raise SpecificationError("dockerfile", self.dockerfile, f"a file below {self.folder}")

    def digest(self) -> str:
        """Return a digest of everything that decides the image, as far as it is known before the build.

        File times and owners do not count, as they do not for the engine's own cache. Neither does what the base image
        or a package index holds at the time.
        """
        files = {name: _identity(self.folder / name) for name in self._names()}
        return digest_of(
            {
                "files": files,
                "dockerfile": self.dockerfile,
                "build_args": dict(self.build_args),
                "target": self.target,
            }
        )

    def archive(self, stream: IO[bytes]) -> None:
        """Write the context as the tar archive that an engine reads."""
        with tarfile.open(mode="w", fileobj=stream) as archive:
            for name in self._names():
                archive.add(self.folder / name, arcname=name, recursive=False, filter=_anonymous)

    def _names(self) -> list[str]:
        from docker.utils.build import exclude_paths

        ignore = self.folder / ".dockerignore"
        patterns = list(_patterns(ignore.read_text())) if ignore.is_file() else []
        return sorted(exclude_paths(str(self.folder), patterns, dockerfile=self.dockerfile))


def _patterns(text: str) -> Iterator[str]:
    for line in text.splitlines():
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            yield stripped


def _identity(path: Path) -> str:
    if path.is_symlink():
        return f"link to {path.readlink()}"
    if path.is_dir():
        return "folder"
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()
    return f"{'program' if os.access(path, os.X_OK) else 'file'} {content}"


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.mtime = 0
    return entry
