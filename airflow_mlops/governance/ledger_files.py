"""How a chain of evidence lies in its folder: names, exact bytes, head.

- ``000007-0123456789ab.json``: document 7, with the begin of its digest;
- ``000007-0123456789ab.sig``: a signature over that digest;
- ``000007.claim``: on object storage, who came first to number 7: the document and its signature;
- ``chain.head``: how many documents there are, and the digest of the newest.

All of them hold JSON; only documents are named ``*.json``.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.codec import decode, digest_of, encode
from airflow_mlops.evidence import Evidence
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.loading import ModelSignature

__all__ = [
    "CLAIM",
    "DOCUMENT",
    "HEAD",
    "LOCK",
    "SIGNATURE",
    "TEMPORARY",
    "Head",
    "Stored",
    "claim_bytes",
    "claim_name",
    "document_name",
    "read_claim",
    "read_head",
    "read_signature",
    "read_stored",
    "short",
    "signature_name",
    "stored_bytes",
]

DOCUMENT = re.compile(r"([0-9]{6})-([0-9a-f]{12})\.json")
SIGNATURE = re.compile(r"([0-9]{6})-([0-9a-f]{12})\.sig")
CLAIM = re.compile(r"([0-9]{6})\.claim")
TEMPORARY = re.compile(r"\.[0-9a-f]{32}\.tmp")
HEAD = "chain.head"
LOCK = ".lock"
_MOST = 999_999


@dataclass(frozen=True, kw_only=True)
class Head:
    """How far a chain goes, kept beside its documents so that a missing newest one is noticed.

    :param subject: name of the model or dataset
    :param count: number of documents
    :param digest: of the newest
    :param signed_from: number of the first document that had to be signed, None where none had to
    """

    subject: str
    count: int
    digest: str
    signed_from: int | None = None
    head_version: int = 1


@dataclass(frozen=True, kw_only=True)
class Stored:
    """A document as its file says it.

    :param evidence: the decision
    :param digest: of the canonical form of what the file says
    :param exact: whether the file has the very bytes that are written for it
    """

    evidence: Evidence
    digest: str
    exact: bool


def stored_bytes(value: Any) -> bytes:
    """Return the one form in which a document is written: sorted keys, indented by two, UTF-8, a newline at the end.

    :raises ValueError: on NaN, infinity and on text that is no Unicode
    """
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False).encode() + b"\n"


def short(digest: str) -> str:
    """Return the begin of a digest that stands in names."""
    return digest.removeprefix("sha256:")[:12]


def document_name(number: int, digest: str) -> str:
    """Name the file of a document.

    :raises ContractError: if the chain is as long as names allow
    """
    if number > _MOST:
        raise ContractError(f"the chain has {_MOST:,} documents, and names hold no greater number; begin a new one")
    return f"{number:06d}-{short(digest)}.json"


def signature_name(document: str) -> str:
    """Name the file of a document's signature."""
    return document.removesuffix(".json") + ".sig"


def claim_name(number: int) -> str:
    """Name the file that says whose document has a number."""
    return f"{number:06d}.claim"


def claim_bytes(document: Mapping[str, Any], signature: ModelSignature | None) -> bytes:
    """Return a claim: whoever finds it can complete what its writer began."""
    return stored_bytes({"document": document, "signature": encode(signature)})


def read_stored(raw: bytes, where: str, *, exact: bool = True) -> Stored:
    """Read a document.

    :param where: leads the message
    :param exact: whether to compare every byte; it takes ten times as long
    :raises ContractError: if it is no evidence document
    """
    value = _value(raw, where)
    try:
        evidence, digest = decode(Evidence, value, where="evidence"), digest_of(value)
        return Stored(evidence=evidence, digest=digest, exact=not exact or _is_exact(value, raw))
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{where}: this is not an evidence document: {error}") from error


def read_claim(raw: bytes, where: str) -> tuple[Mapping[str, Any], ModelSignature | None]:
    """Return a claim's document and signature; the claims of earlier versions were the document alone.

    :raises ContractError: if it is no claim
    """
    value = _value(raw, where)
    if isinstance(value, Mapping) and "decision" in value:
        return value, None
    if not isinstance(value, Mapping) or set(value) != {"document", "signature"} or not _is_exact(value, raw):
        raise ContractError(f"{where}: this is not a claim to a number in the chain")
    return value["document"], None if value["signature"] is None else _decoded(value["signature"], where)


def read_head(raw: bytes, where: str) -> Head:
    """Read a head, strictly.

    :raises ContractError: if it is none, or not in the form in which heads are written
    """
    value = _value(raw, where)
    try:
        head = decode(Head, value, where="head")
        if head.head_version != 1 or head.count < 1 or not _is_exact(encode(head), raw):
            raise SpecificationError("head", value, "the form in which heads are written")
    except ValueError as error:
        raise ContractError(f"{where}: this is not the head of a chain: {error}") from error
    return head


def read_signature(raw: bytes, where: str) -> ModelSignature:
    """Read a signature, strictly; it is not checked.

    :raises ContractError: if it is none, or not in the form in which signatures are written
    """
    signature = _decoded(_value(raw, where), where)
    if not _is_exact(encode(signature), raw) or not _is_base64(signature.signature):
        raise ContractError(f"{where}: this is not in the form in which signatures are written")
    return signature


def _decoded(value: Any, where: str) -> ModelSignature:
    try:
        return decode(ModelSignature, value, where="signature")
    except SpecificationError as error:
        raise ContractError(f"{where}: this is not a signature: {error}") from error


def _is_base64(text: str) -> bool:
    try:
        # Several texts stand for the same bytes: the last character has bits that count for nothing.
        return base64.b64encode(base64.b64decode(text, validate=True)).decode() == text
    except ValueError:
        return False


def _is_exact(value: Any, raw: bytes) -> bool:
    try:
        return stored_bytes(value) == raw
    except (ValueError, RecursionError):
        return False


def _value(raw: bytes, where: str) -> Any:
    try:
        return json.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ContractError(f"{where}: this is not JSON ({error})") from error
