"""The decision record: one numbered document per decision, chained per subject, never forked.

Documents lie at ``evidence/<subject>/000001-<digest>.json``; what lies beside them is described in
:mod:`airflow_mlops.governance.ledger_files`, how they are written in :mod:`airflow_mlops.hooks.evidence_writing`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from airflow_mlops.evidence import Evidence
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.ledger_files import DOCUMENT
from airflow_mlops.hooks.evidence_writing import append, head_of, stored_document
from airflow_mlops.hooks.names import original_name, safe_name

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["append", "document", "names", "read", "subjects"]


def read(store: ArtifactStore, subject: str) -> tuple[Evidence, ...]:
    """Return a subject's documents, oldest first.

    :raises ContractError: if a document was changed, removed or reordered
    """
    # The head first: the documents that it counts are there by now.
    head = head_of(store, subject)
    documents: list[Evidence] = []
    previous: str | None = None
    for position, name in enumerate(names(store, subject), start=1):
        if int(name[:6]) != position:
            where = store.uri("evidence", subject, name)
            raise ContractError(f"{where}: number {position} of the chain is missing or stands twice")
        found = stored_document(store, subject, name)
        if found.evidence.previous != previous:
            raise ContractError(
                f"evidence of {subject!r}: document {position} follows {found.evidence.previous}, "
                f"but the one before it has the digest {previous}; the chain was changed"
            )
        documents.append(found.evidence)
        previous = found.digest
    if head is not None and head.count > len(documents):
        raise ContractError(
            f"{store.uri('evidence', subject)}: its head counts {head.count} documents, but only {len(documents)} are "
            "here; newest ones were lost or removed"
        )
    return tuple(documents)


def names(store: ArtifactStore, subject: str) -> list[str]:
    """Return the file names of a subject's documents, oldest first; none of them is read."""
    folder = store.path("evidence", subject)
    # Listings are cached by some file systems; the newest document must be seen.
    folder.fs.invalidate_cache()
    if not folder.fs.exists(folder.path):
        return []
    found = (entry.rsplit("/", 1)[-1] for entry in folder.fs.ls(folder.path, detail=False))
    return sorted(name for name in found if DOCUMENT.fullmatch(name))


def document(store: ArtifactStore, subject: str, name: str) -> Evidence:
    """Read one document and check that its content is what its name promises.

    :param name: one of :func:`names`
    :raises SpecificationError: if this is no name of a document
    :raises ContractError: if it is not there, or was changed
    """
    if DOCUMENT.fullmatch(name) is None:
        raise SpecificationError("name", name, "the name of an evidence document, 000001-0123456789ab.json")
    return stored_document(store, subject, name).evidence


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
        if DOCUMENT.fullmatch(entry.rsplit("/", 1)[-1]):
            return str(json.loads(folder.fs.cat_file(entry))["subject"])
    return None
