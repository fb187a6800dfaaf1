"""What one document says, in the words of a page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.evidence import Evidence

__all__ = [
    "Document",
    "Reference",
    "is_moment",
    "model_digest_of",
    "number_behind",
    "reason_of",
    "references_of",
    "slot_of",
    "title_of",
    "version_of",
    "weights_of",
]

_SERVER = re.compile(r".+-v(\d+)")
_LAST_MOMENT = 253402300800.0
_EVIDENCE_NAME = re.compile(r"(?:^|/)(\d{6,})-[0-9a-f]{12}\.json$")


@dataclass(frozen=True, kw_only=True)
class Document:
    """A document of a chain, with its place.

    :param number: position in the chain, from 1
    :param digest: ``sha256:…`` of the document
    """

    number: int
    digest: str
    evidence: Evidence


@dataclass(frozen=True, kw_only=True)
class Reference:
    """What a decision rests on.

    :param role: for example ``candidate`` or ``datasets.train``
    :param digest: ``sha256:…``, empty where the reference has none
    :param uri: where it lies, empty where that is not said
    :param label: which part it is, for example the partition ``2013-03``; may be empty
    """

    role: str
    digest: str
    uri: str = ""
    label: str = ""


def is_moment(seconds: float) -> bool:
    """Whether this is a time that a calendar has: seconds since the epoch, until the year 9999."""
    return 0 <= seconds < _LAST_MOMENT


def slot_of(evidence: Evidence) -> str:
    """Return the kind of a decision, finer than :data:`~airflow_mlops.evidence.Decision`."""
    if evidence.decision == "rollout":
        check = evidence.notes.get("check")
        return check if isinstance(check, str) and check else "rollout"
    if evidence.decision == "promotion" and not evidence.verdict.promotes:
        return "rejection"
    return evidence.decision


def title_of(evidence: Evidence) -> str:
    """Return what was decided, in a few words."""
    notes = evidence.notes
    if evidence.decision == "rollout":
        if notes.get("check") == "smoke":
            return "Server check"
        if notes.get("check") == "shadow":
            return "Shadow traffic"
        phase = notes.get("phase")
        if phase in ("promoted", "rolled_back"):
            return "Rollout: all traffic" if phase == "promoted" else "Rollout: traffic went back"
        return "Rollout: begins" if notes.get("decision_number") == 0 else "Rollout: next step"
    if evidence.decision == "promotion":
        return "Promotion" if evidence.verdict.promotes else "Taken out"
    return evidence.decision.capitalize()


def weights_of(evidence: Evidence) -> dict[str, int]:
    """Return the traffic that a decision set, empty if it set none."""
    found = evidence.notes.get("weights")
    if evidence.decision != "rollout" or not isinstance(found, Mapping):
        return {}
    return {str(name): value for name, value in found.items() if type(value) is int and 0 <= value <= 100}


def reason_of(evidence: Evidence) -> str:
    """Return the sentence that says why: the decision's own, else that of its worst check."""
    said = evidence.notes.get("reason")
    if isinstance(said, str) and said:
        return said
    worst = [check for check in evidence.checks if check.verdict is evidence.verdict]
    if worst and not evidence.verdict.promotes:
        more = len(worst) - 1
        return worst[0].reason + (f" (and {more} more)" if more else "")
    if evidence.decision == "registration":
        alias = evidence.notes.get("alias")
        return f"registered as version {version_of(evidence)}" + (f", {alias}" if alias else "")
    if evidence.decision == "promotion":
        before = evidence.notes.get("previous_champion")
        return f"version {version_of(evidence)} is champion" + (f" after version {before}" if before else "")
    passed = sum(check.verdict.promotes for check in evidence.checks)
    if len(evidence.checks) == 1:
        return evidence.checks[0].reason
    return f"{passed} of {len(evidence.checks)} checks passed" if evidence.checks else ""


def version_of(evidence: Evidence) -> str:
    """Return the registered version that a decision is about, empty if it does not say."""
    notes = evidence.notes
    if evidence.decision in ("registration", "promotion", "approval", "card") and notes.get("version"):
        return str(notes["version"])
    if evidence.decision in ("drift", "retraining") and notes.get("champion"):
        return str(notes["champion"])
    server = notes.get("candidate") or notes.get("server")
    match = _SERVER.fullmatch(server) if evidence.decision == "rollout" and isinstance(server, str) else None
    return match[1] if match else ""


def model_digest_of(evidence: Evidence) -> str:
    """Return the digest of the model that a decision is about, empty if it does not say."""
    for role in ("candidate", "model"):
        found = evidence.references.get(role)
        if isinstance(found, Mapping) and isinstance(found.get("digest"), str):
            return str(found["digest"])
    return ""


def number_behind(reference: Any) -> int:
    """Return the number of the document that a reference names by its URI, 0 if it names none."""
    uri = reference.get("uri") if isinstance(reference, Mapping) else None
    match = _EVIDENCE_NAME.search(uri) if isinstance(uri, str) else None
    return int(match[1]) if match else 0


def references_of(role: str, given: Any) -> list[Reference]:
    """Flatten references into rows: a mapping with a digest or a URI is one, others hold some."""
    if isinstance(given, str) and given:
        return [Reference(role=role, digest="", uri=given)]
    if isinstance(given, Sequence) and not isinstance(given, str):
        return [found for one in given for found in references_of(role, one)]
    if not isinstance(given, Mapping):
        return []
    digest, uri = given.get("digest") or given.get("evidence_digest"), given.get("uri") or given.get("evidence_uri")
    if digest or uri:
        label = given.get("partition") or given.get("format") or ""
        return [Reference(role=role, digest=str(digest or ""), uri=str(uri or ""), label=str(label))]
    inner = {name: one for name, one in given.items() if isinstance(one, (Mapping, list, tuple)) or not role}
    return [
        found for name, one in inner.items() for found in references_of(f"{role}.{name}" if role else str(name), one)
    ]
