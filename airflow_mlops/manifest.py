"""The canonical manifest: which files an artefact consists of, and the digest of them all.

A directory's digest is the SHA-256 of the canonical JSON of its manifest, so it depends on paths and bytes only, never
on times or on the order in which a file system lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.exceptions import ContractError, DigestMismatchError

__all__ = ["FileEntry", "Manifest", "hash_stream", "manifest_of", "verify"]

_CHUNK = 1 << 20


@dataclass(frozen=True, kw_only=True, order=True)
class FileEntry:
    """One file.

    :param path: path relative to the root, with forward slashes
    :param sha256: hexadecimal digest of the content
    :param size_bytes: length of the content
    """

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All files of an artefact, sorted by path.

    :param manifest_version: version of this document's form, currently 1
    """

    files: tuple[FileEntry, ...]
    manifest_version: int = 1

    @property
    def digest(self) -> str:
        """``sha256:…`` over the canonical form."""
        return digest_of(encode(self))

    @property
    def size_bytes(self) -> int:
        """Sum of the files' lengths."""
        return sum(entry.size_bytes for entry in self.files)


def hash_stream(stream: BinaryIO, path: str) -> FileEntry:
    """Read a stream to its end and describe it as a file at ``path``."""
    digest, size = hashlib.sha256(), 0
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return FileEntry(path=path, sha256=digest.hexdigest(), size_bytes=size)


def manifest_of(root: Path, *, exclude: Iterable[str] = ()) -> Manifest:
    """Describe a file, or all files below a directory.

    :param root: an existing file or directory
    :param exclude: relative paths to leave out
    :raises ContractError: if there is nothing at ``root``
    """
    if root.is_file():
        with root.open("rb") as stream:
            return Manifest(files=(hash_stream(stream, root.name),))
    if not root.is_dir():
        raise ContractError(f"{root}: there is no file or directory here")
    skipped, entries = set(exclude), []
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and name not in skipped:
            with path.open("rb") as stream:
                entries.append(hash_stream(stream, name))
    return Manifest(files=tuple(sorted(entries)))


def verify(root: Path, digest: str, *, exclude: Iterable[str] = ()) -> Manifest:
    """Check that what lies at ``root`` has the given digest.

    :raises DigestMismatchError: if it has another
    :raises ContractError: if there is nothing at ``root``
    """
    manifest = manifest_of(root, exclude=exclude)
    if manifest.digest != digest:
        raise DigestMismatchError(str(root), digest, manifest.digest)
    return manifest
