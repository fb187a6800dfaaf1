"""The decision record: one document for every decision, chained per model.

The chain is made by ``previous``: the digest of the document before it for the same subject. Whoever holds the newest
digest can detect any change, removal or reordering of what came before.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.exceptions import ContractError
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["Decision", "Evidence", "Origin", "chain", "digest", "document_of", "verify_chain"]

Decision = Literal[
    "validation",
    "evaluation",
    "gate",
    "approval",
    "registration",
    "rollout",
    "promotion",
    "drift",
    "retraining",
    "card",
]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The task instance that decided."""

    dag_id: str
    run_id: str
    task_id: str
    try_number: int
    map_index: int = -1


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """One decision and everything that it rests on.

    :param decision: which kind of decision this is
    :param subject: name of the model or dataset that it is about; chains are kept per subject
    :param verdict: the conclusion
    :param checks: the single judgements behind it
    :param references: role to encoded reference, for example ``candidate`` to a ModelRef
    :param policy: the policy or spec that was applied, encoded
    :param policy_digest: digest of that policy
    :param origin: who decided
    :param decided_at: seconds since the epoch
    :param versions: library name to version
    :param seeds: purpose to seed, where randomness took part
    :param notes: further JSON-safe facts
    :param previous: digest of the document before this one in the subject's chain; None for the first
    :param number: position in that chain, from 1; None before it is written, and in documents of earlier versions
    :param evidence_version: version of this document's form, currently 1
    """

    decision: Decision
    subject: str
    verdict: Verdict
    checks: tuple[CheckResult, ...]
    origin: Origin
    decided_at: float
    references: Mapping[str, Any] = field(default_factory=dict)
    policy: Mapping[str, Any] = field(default_factory=dict)
    policy_digest: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    seeds: Mapping[str, int] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    previous: str | None = None
    number: int | None = None
    evidence_version: int = 1


def document_of(evidence: Evidence) -> dict[str, Any]:
    """Encode a document as it is stored: one without a number has no such key, as before there were numbers."""
    encoded: dict[str, Any] = encode(evidence)
    if encoded["number"] is None:
        del encoded["number"]
    return encoded


def digest(evidence: Evidence) -> str:
    """``sha256:…`` of the document's canonical form."""
    return digest_of(document_of(evidence))


def chain(evidence: Evidence, earlier: Sequence[Evidence]) -> Evidence:
    """Return ``evidence`` linked to the last of ``earlier``."""
    return replace(evidence, previous=digest(earlier[-1]) if earlier else None)


def verify_chain(documents: Sequence[Evidence]) -> tuple[Evidence, ...]:
    """Check that every document names the one before it, and return them.

    :param documents: all documents of one subject, oldest first
    :raises ContractError: naming the first document that was changed, removed, added or moved
    """
    previous: str | None = None
    for number, document in enumerate(documents, start=1):
        if document.previous != previous:
            raise ContractError(
                f"evidence of {document.subject!r}: document {number} follows {document.previous}, "
                f"but the one before it has the digest {previous}; the chain was changed"
            )
        previous = digest(document)
    return tuple(documents)
