"""Keeping the decision record: one numbered document per decision, chained per subject, never forked.

Documents lie at ``evidence/<subject>/000001-<digest>.json``. Writers on a local root take turns by a file lock. On
object storage every number is claimed by a conditional write of the document itself, so that of two writers one has
to take the next number; a claim whose document is missing (its writer died) is completed by whoever comes next.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, digest, verify_chain
from airflow_mlops.exceptions import ContractError, SpecificationError, TransientAdapterError
from airflow_mlops.hooks.names import original_name, safe_name

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["append", "document", "names", "read", "subjects"]

_NAME = re.compile(r"(\d{6})-([0-9a-f]{12})\.json")
_ATTEMPTS = 50


def append(store: ArtifactStore, evidence: Evidence) -> tuple[str, str]:
    """Link a document to the newest one of its subject, write it, return its URI and digest.

    :raises TransientAdapterError: if other writers were faster too many times
    """
    from airflow_mlops.hooks.artifacts import local_path

    folder = local_path(store.uri("evidence", evidence.subject))
    if folder is None:
        return _append_remote(store, evidence)
    with _turn(folder):
        number, linked = _linked(store, evidence)
        return _write(store, number, linked)


def read(store: ArtifactStore, subject: str) -> tuple[Evidence, ...]:
    """Return a subject's documents, oldest first.

    :raises ContractError: if a document was changed, removed or reordered
    """
    documents = []
    for position, name in enumerate(names(store, subject), start=1):
        if int(name[:6]) != position:
            where = store.uri("evidence", subject, name)
            raise ContractError(f"{where}: number {position} of the chain is missing or stands twice")
        documents.append(document(store, subject, name))
    return verify_chain(documents)


def names(store: ArtifactStore, subject: str) -> list[str]:
    """Return the file names of a subject's documents, oldest first; none of them is read."""
    folder = store.path("evidence", subject)
    # Listings are cached by some file systems; the newest document must be seen.
    folder.fs.invalidate_cache()
    if not folder.fs.exists(folder.path):
        return []
    found = (entry.rsplit("/", 1)[-1] for entry in folder.fs.ls(folder.path, detail=False))
    return sorted(name for name in found if _NAME.fullmatch(name))


def document(store: ArtifactStore, subject: str, name: str) -> Evidence:
    """Read one document and check that its content is what its name promises.

    :param name: one of :func:`names`
    :raises SpecificationError: if this is no name of a document
    :raises ContractError: if it is not there, or was changed
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise SpecificationError("name", name, "the name of an evidence document, 000001-0123456789ab.json")
    found = _document(store, subject, name)
    if found.subject != subject or digest(found).removeprefix("sha256:")[:12] != match[2]:
        where = store.uri("evidence", subject, name)
        raise ContractError(f"{where}: the content is not what its name promises; the document was changed")
    return found


def subjects(store: ArtifactStore) -> tuple[str, ...]:
    """Return the names of everything that decisions were taken about, sorted."""
    folder = store.path("evidence")
    folder.fs.invalidate_cache()
    if not folder.fs.exists(folder.path):
        return ()
    quoted = (entry.rstrip("/").rsplit("/", 1)[-1] for entry in folder.fs.ls(folder.path, detail=False))
    return tuple(sorted(subject for name in quoted if (subject := _subject(store, name))))


def _subject(store: ArtifactStore, quoted: str) -> str | None:
    """Return the name behind a folder's; one too long for a folder is read from a document, if there is any."""
    name = original_name(quoted)
    if safe_name(name) == quoted:
        return name
    folder = store.path("evidence") / quoted
    for entry in folder.fs.ls(folder.path, detail=False):
        if _NAME.fullmatch(entry.rsplit("/", 1)[-1]):
            return str(json.loads(folder.fs.cat_file(entry))["subject"])
    return None


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _append_remote(store: ArtifactStore, evidence: Evidence) -> tuple[str, str]:
    for _ in range(_ATTEMPTS):
        number, linked = _linked(store, evidence)
        claim = store.path("evidence", evidence.subject, f"{number:06d}.claim")
        try:
            claim.fs.pipe_file(claim.path, json.dumps(encode(linked)).encode(), mode="create")
        except FileExistsError:
            _write(store, number, decode(Evidence, store.read_json(str(claim))))
            continue
        return _write(store, number, linked)
    raise TransientAdapterError(f"evidence of {evidence.subject!r}: other writers were faster {_ATTEMPTS} times")


def _linked(store: ArtifactStore, evidence: Evidence) -> tuple[int, Evidence]:
    present = names(store, evidence.subject)
    if not present:
        return 1, replace(evidence, previous=None)
    last = _document(store, evidence.subject, present[-1])
    return int(present[-1][:6]) + 1, replace(evidence, previous=digest(last))


def _write(store: ArtifactStore, number: int, evidence: Evidence) -> tuple[str, str]:
    identity = digest(evidence)
    name = f"{number:06d}-{identity.removeprefix('sha256:')[:12]}.json"
    return store.write_json(evidence, "evidence", evidence.subject, name), identity


def _document(store: ArtifactStore, subject: str, name: str) -> Evidence:
    where = store.uri("evidence", subject, name)
    value: Any = store.read_json(where)
    try:
        return decode(Evidence, value, where="evidence")
    except SpecificationError as error:
        raise ContractError(f"{where}: this is not an evidence document: {error}") from error
