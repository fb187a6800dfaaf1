"""Moving files between this machine and any file system that Airflow can reach, whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from airflow.sdk import ObjectStoragePath

from airflow_mlops.exceptions import ContractError, DigestMismatchError

if TYPE_CHECKING:
    from airflow_mlops.manifest import FileEntry

__all__ = ["copy_file", "download", "files_at", "local_path", "remote_files", "write_file"]


def local_path(uri: str) -> Path | None:
    """Path of a ``file://`` URI or of an absolute path, None for any other scheme."""
    if uri.startswith("file://"):
        return Path(uri.removeprefix("file://"))
    return Path(uri) if uri.startswith("/") else None


def remote_files(where: ObjectStoragePath) -> dict[str, str]:
    """All files at or below a path: relative name to the file system's own path."""
    found = where.fs.find(where.path)
    base = where.fs._strip_protocol(where.path).rstrip("/")  # noqa: SLF001 - fsspec's way to compare paths
    return {path[len(base) :].lstrip("/") or where.name: path for path in found}


def files_at(where: ObjectStoragePath) -> set[str]:
    """Relative names of all files below a path, empty where there is nothing."""
    local = local_path(str(where))
    if local is None:
        return set(remote_files(where))
    return {path.relative_to(local).as_posix() for path in local.rglob("*") if path.is_file()}


def write_file(where: ObjectStoragePath, content: bytes) -> None:
    """Write a file in one step, so that no reader sees a half of it."""
    local = local_path(str(where))
    if local is None:
        where.fs.pipe_file(where.path, content)
        return
    with _beside(local) as temporary:
        temporary.write_bytes(content)


def copy_file(source: Path, where: ObjectStoragePath, entry: FileEntry, *, exists: bool) -> None:
    """Copy a file to where it does not exist yet, or has the same content.

    :param entry: what the file is
    :param exists: whether something lies there already
    :raises ContractError: if other content lies there
    """
    from airflow_mlops.manifest import hash_stream

    if exists:
        with where.fs.open(where.path, "rb") as stream:
            if hash_stream(stream, entry.path) == entry:
                return
        raise ContractError(f"{where}: other content lies here already; a published artefact does not change")
    local = local_path(str(where))
    if local is None:
        where.fs.put_file(str(source), where.path)
        return
    with _beside(local) as temporary:
        shutil.copyfile(source, temporary)


def download(where: ObjectStoragePath, digest: str) -> Path:
    """Bring a remote artefact into this machine's cache, verified at every use.

    :param digest: ``sha256:…`` of the canonical manifest
    :raises DigestMismatchError: if the content is not what was named
    :raises ContractError: if nothing is there
    """
    from airflow_mlops.manifest import manifest_of, verify

    cache = Path(tempfile.gettempdir()) / f"airflow-mlops-{os.getuid()}" / digest.removeprefix("sha256:")
    kept = cache / where.name
    if kept.exists() and manifest_of(kept).digest == digest:
        return kept
    cache.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=cache.parent))
    try:
        _fetch(where, fresh / where.name)
        found = manifest_of(fresh / where.name)
        if found.digest != digest:
            raise DigestMismatchError(str(where), digest, found.digest)
        shutil.rmtree(cache, ignore_errors=True)
        try:
            fresh.rename(cache)
        except OSError:
            verify(kept, digest)  # another task downloaded the same artefact meanwhile
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return kept


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """Give a file that takes the target's place when it is complete."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _fetch(where: ObjectStoragePath, target: Path) -> None:
    files = remote_files(where)
    if not files:
        raise ContractError(f"{where}: there is no file or directory here")
    single = list(files) == [where.name] and where.fs.isfile(where.path)
    for name, found in files.items():
        destination = target if single else target / name
        destination.parent.mkdir(parents=True, exist_ok=True)
        where.fs.get_file(found, str(destination))
