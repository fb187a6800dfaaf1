"""Writing evidence: each document gets the number after the newest one, and no number is given twice.

On a local root writers take turns by a file lock: signature, document, head, each of them whole or not at all. On
object storage a number belongs to whoever creates its claim, which holds document and signature, so that whoever comes
next can complete what a killed writer began. The head is written last: it never counts a document that is not there,
and where it does, documents were lost and nothing is appended.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.evidence import Evidence, document_of
from airflow_mlops.exceptions import ContractError, SpecificationError, TransientAdapterError
from airflow_mlops.governance.ledger_files import (
    DOCUMENT,
    HEAD,
    LOCK,
    SIGNATURE,
    TEMPORARY,
    Head,
    Stored,
    claim_bytes,
    claim_name,
    document_name,
    read_claim,
    read_head,
    read_stored,
    short,
    signature_name,
    stored_bytes,
)
from airflow_mlops.hooks import settings
from airflow_mlops.hooks.transfer import local_path
from airflow_mlops.loading import ModelSignature

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["append", "bytes_of", "head_of", "stored_document"]

_ATTEMPTS = 50
_ADVICE = (
    "restore what is missing from a backup; `airflow mlops audit verify` says what, docs/evidence.md what else to do"
)


def append(store: ArtifactStore, evidence: Evidence) -> tuple[str, str]:
    """Link a document to the newest one of its subject, sign it if there is a key, write it, return URI and digest.

    :raises SpecificationError: if ``[mlops] evidence_key`` names no key
    :raises ContractError: if documents are missing, so that what was lost would be covered up
    :raises TransientAdapterError: if other writers were faster too many times
    """
    key = _signing_key()
    # As it will be read: a whole number in a field for fractions gets its point now, so that its digest stays.
    fresh = decode(Evidence, encode(evidence), where="evidence")
    folder = local_path(store.uri("evidence", fresh.subject))
    if folder is None:
        return _append_remote(store, fresh, key)
    with _turn(folder):
        return _append_local(store, folder, fresh, key)


def bytes_of(store: ArtifactStore, subject: str, name: str) -> bytes | None:
    """Read a file of a chain, None if it is not there."""
    where = store.path("evidence", subject, name)
    try:
        content: bytes = where.fs.cat_file(where.path)
    except FileNotFoundError:
        return None
    return content


def head_of(store: ArtifactStore, subject: str) -> Head | None:
    """Read a chain's head, None where there is none.

    :raises ContractError: if what lies there is no head
    """
    raw = bytes_of(store, subject, HEAD)
    return None if raw is None else read_head(raw, store.uri("evidence", subject, HEAD))


def stored_document(store: ArtifactStore, subject: str, name: str) -> Stored:
    """Read a document and check it against its name.

    :raises ContractError: if it is not there, or is not what its name promises
    """
    where = store.uri("evidence", subject, name)
    raw = bytes_of(store, subject, name)
    if raw is None:
        raise ContractError(f"{where}: there is no file here")
    found = read_stored(raw, where, exact=False)
    if found.evidence.subject != subject or short(found.digest) != name[7:19]:
        raise ContractError(f"{where}: the content is not what its name promises; the document was changed")
    return found


def _signing_key() -> bytes | None:
    path = settings.option("evidence_key")
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise SpecificationError("[mlops] evidence_key", path, f"a readable PEM file ({error.strerror})") from error


def _linked(evidence: Evidence, newest: tuple[int, str | None]) -> dict[str, Any]:
    number, digest = newest
    return document_of(replace(evidence, number=number + 1, previous=digest))


def _signed(digest: str, key: bytes | None) -> ModelSignature | None:
    if key is None:
        return None
    from airflow_mlops.container.model_signature import sign_digest

    return sign_digest(digest, key, purpose="evidence")


def _advanced(head: Head | None, subject: str, number: int, digest: str, *, signed: bool) -> Head:
    begin = head.signed_from if head is not None else None
    return Head(subject=subject, count=number, digest=digest, signed_from=begin or (number if signed else None))


def _newest(store: ArtifactStore, subject: str, present: list[str], head: Head | None) -> tuple[int, str | None]:
    """Return number and digest of the newest document, if nothing that is seen without reading the chain is missing."""
    where, number = store.uri("evidence", subject), int(present[-1][:6]) if present else 0
    if head is not None and head.count > number:
        raise ContractError(
            f"{where}: {HEAD} counts {head.count} documents and the newest here is {number}: "
            f"nothing is appended while documents are missing; {_ADVICE}"
        )
    if not present:
        return 0, None
    if len(present) > 1 and int(present[-2][:6]) == number:
        raise ContractError(f"{where}: number {number} stands twice: {present[-2]} and {present[-1]}; {_ADVICE}")
    newest = stored_document(store, subject, present[-1])
    if head is None:
        _check_first_head(store, subject, present, newest)
    elif (head.count, head.digest) != (number, newest.digest) and head.count == number:
        raise ContractError(f"{where}: {HEAD} says {head.digest} of document {number}, which has {newest.digest}")
    elif head.count == number - 1 and newest.evidence.previous != head.digest:
        raise ContractError(f"{where}: document {number} does not follow {head.digest}, which {HEAD} names; {_ADVICE}")
    return number, newest.digest


def _check_first_head(store: ArtifactStore, subject: str, present: list[str], newest: Stored) -> None:
    """Allow no head where documents are of earlier versions, or where the first writer after those was killed."""
    if newest.evidence.number is None or len(present) == 1:
        return
    if stored_document(store, subject, present[-2]).evidence.number is not None:
        raise ContractError(
            f"{store.uri('evidence', subject, HEAD)} is missing, and with it the proof that no newest document is; "
            f"{_ADVICE}"
        )


# On a local root --------------------------------------------------------------------------------------------------


@contextmanager
def _turn(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _append_local(store: ArtifactStore, folder: Path, evidence: Evidence, key: bytes | None) -> tuple[str, str]:
    present = [entry.name for entry in folder.iterdir()]
    names = sorted(name for name in present if DOCUMENT.fullmatch(name))
    head = head_of(store, evidence.subject)
    newest = _newest(store, evidence.subject, names, head)
    if head is not None and newest[0] > head.count + 1:
        raise ContractError(
            f"{folder}: there are {newest[0]} documents and {HEAD} counts {head.count}; a killed writer leaves one "
            f"more, not {newest[0] - head.count}; {_ADVICE}"
        )
    for name in present:
        # We hold the lock: nobody is still writing these.
        match = SIGNATURE.fullmatch(name)
        if TEMPORARY.fullmatch(name) or (match and int(match[1]) > newest[0]):
            (folder / name).unlink(missing_ok=True)
    document = _linked(evidence, newest)
    digest, number = digest_of(document), newest[0] + 1
    signature, name = _signed(digest, key), document_name(number, digest)
    if signature is not None:
        _put(folder / signature_name(name), stored_bytes(encode(signature)))
    _put(folder / name, stored_bytes(document))
    after = _advanced(head, evidence.subject, number, digest, signed=signature is not None)
    _put(folder / HEAD, stored_bytes(encode(after)))
    return store.uri("evidence", evidence.subject, name), digest


def _put(target: Path, content: bytes) -> None:
    """Write a file, whole or not at all; once this returns it survives a loss of power."""
    temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
    with temporary.open("xb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    temporary.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


# On object storage ------------------------------------------------------------------------------------------------


def _append_remote(store: ArtifactStore, evidence: Evidence, key: bytes | None) -> tuple[str, str]:
    from airflow_mlops.hooks.evidence import names

    subject = evidence.subject
    for _ in range(_ATTEMPTS):
        # The head first: the documents that it counts are there by now.
        head, present = head_of(store, subject), names(store, subject)
        number = int(present[-1][:6]) if present else 0
        if head is not None and head.count > number and _completed(store, subject, number + 1) is not None:
            continue
        document = _linked(evidence, _newest(store, subject, present, head))
        digest = digest_of(document)
        signature = _signed(digest, key)
        claim = store.path("evidence", subject, claim_name(number + 1))
        try:
            claim.fs.pipe_file(claim.path, claim_bytes(document, signature), mode="create")
        except FileExistsError:
            _completed(store, subject, number + 1)
            continue
        _write(store, subject, number + 1, document, signature)
        _advance(store, subject, number + 1, digest, signed=signature is not None)
        return store.uri("evidence", subject, document_name(number + 1, digest)), digest
    raise TransientAdapterError(f"evidence of {subject!r}: other writers were faster {_ATTEMPTS} times")


def _completed(store: ArtifactStore, subject: str, number: int) -> str | None:
    """Write what a claim holds and its writer may not have written; return the document's digest, None if no claim."""
    found = _claimed(store, subject, number)
    if found is None:
        return None
    document, signature = found
    _write(store, subject, number, document, signature)
    digest = digest_of(document)
    _advance(store, subject, number, digest, signed=signature is not None)
    return digest


def _claimed(store: ArtifactStore, subject: str, number: int) -> tuple[Mapping[str, Any], ModelSignature | None] | None:
    raw = bytes_of(store, subject, claim_name(number))
    return None if raw is None else read_claim(raw, store.uri("evidence", subject, claim_name(number)))


def _write(
    store: ArtifactStore, subject: str, number: int, document: Mapping[str, Any], signature: ModelSignature | None
) -> None:
    name = document_name(number, digest_of(document))
    if signature is not None:
        store.write_bytes(stored_bytes(encode(signature)), "evidence", subject, signature_name(name))
    store.write_bytes(stored_bytes(document), "evidence", subject, name)


def _advance(store: ArtifactStore, subject: str, number: int, digest: str, *, signed: bool) -> None:
    """Let the head count a document, and those whose heads this one may have replaced in the meantime."""
    while True:
        head = head_of(store, subject)
        if head is not None and head.count >= number:
            return
        after = _advanced(head, subject, number, digest, signed=signed)
        store.write_bytes(stored_bytes(encode(after)), "evidence", subject, HEAD)
        found = _claimed(store, subject, number + 1)
        if found is None:
            return
        number, digest, signed = number + 1, digest_of(found[0]), found[1] is not None
        _write(store, subject, number, *found)
