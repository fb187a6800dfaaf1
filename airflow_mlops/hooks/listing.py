"""What lies at a URI, file by file, without reading any of it."""

from __future__ import annotations

from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.validation.readiness import FileFact

__all__ = ["list_files"]

#: What file systems call that which changes with a file's content.
_VERSIONS = ("ETag", "etag", "generation", "mtime", "LastModified", "last_modified", "updated", "created")


def list_files(uri: str) -> tuple[FileFact, ...]:
    """List the files at or below a URI, sorted; none if nothing is there.

    :raises PermanentAdapterError: if looking is refused
    :raises TransientAdapterError: if the file system does not answer
    """
    where = ObjectStoragePath(uri if "://" in uri else f"file://{uri}")
    try:
        # Some file systems remember listings; what has come since the last look must be seen.
        where.fs.invalidate_cache()
        found: dict[str, dict[str, Any]] = where.fs.find(where.path, detail=True)
    except FileNotFoundError:
        return ()
    except PermissionError as error:
        raise PermanentAdapterError(f"{uri}: {error}") from error
    except OSError as error:
        raise TransientAdapterError(f"{uri}: {error}") from error
    base = where.fs._strip_protocol(where.path).rstrip("/")  # noqa: SLF001 - fsspec's way to compare paths
    return tuple(
        sorted(
            FileFact(
                path=path[len(base) :].lstrip("/") or where.name,
                size_bytes=int(facts.get("size") or 0),
                version="|".join(str(facts[key]) for key in _VERSIONS if facts.get(key) is not None),
            )
            for path, facts in found.items()
            if facts.get("type") != "directory"
        )
    )
