"""Chains of evidence as files, as their writers leave them."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evidence import Evidence, Origin, document_of
from airflow_mlops.governance.ledger_files import (
    HEAD,
    LOCK,
    Head,
    claim_bytes,
    claim_name,
    document_name,
    signature_name,
    stored_bytes,
)
from airflow_mlops.loading import ModelSignature
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["chain_of", "decision", "signed_by", "trusting"]


def decision(number: int, **changes: object) -> Evidence:
    check = CheckResult(name="rows", verdict=Verdict.PASS, reason=f"{number} Zeilen größer", value=number / 3)
    values: dict[str, object] = {
        "decision": "gate",
        "subject": "flights",
        "verdict": Verdict.PASS,
        "checks": (check,),
        "origin": Origin(dag_id="d", run_id=f"r{number}", task_id="t", try_number=1),
        "decided_at": 1795249409.5 + number,
    }
    return Evidence(**(values | changes))  # type: ignore[arg-type]


def signed_by(key: str, digest: str) -> ModelSignature:
    """Make what passes for a signature here: who knows the word can make it."""
    made = digest_of([key, digest]).removeprefix("sha256:")
    return ModelSignature(digest=digest, key_id=key, algorithm="ed25519", signature=made)


def trusting(key: str):
    return lambda one: key if one == signed_by(key, one.digest) else None


def chain_of(
    count: int, *, remote: bool = False, numbered_from: int = 1, key: str | None = None, signed_from: int = 1
) -> dict[str, bytes]:
    """Files of a chain: name to content.

    :param numbered_from: documents before are of the version before there were numbers and heads
    :param signed_from: first document that is signed if there is a key
    """
    files = {} if remote else {LOCK: b""}
    previous, first_signed = None, None
    for number in range(1, count + 1):
        numbered = number >= numbered_from
        document = document_of(replace(decision(number), previous=previous, number=number if numbered else None))
        digest = digest_of(document)
        name = document_name(number, digest)
        signature = signed_by(key, digest) if key and number >= signed_from else None
        files[name] = stored_bytes(document)
        if signature is not None:
            files[signature_name(name)] = stored_bytes(encode(signature))
            first_signed = first_signed or number
        if remote:
            files[claim_name(number)] = claim_bytes(document, signature)
        previous = digest
        if numbered:
            head = Head(subject="flights", count=number, digest=digest, signed_from=first_signed)
            files[HEAD] = stored_bytes(encode(head))
    return files
