"""What was decided about a model, as pages show it: entry by entry, and gathered into releases.

Pure projections of evidence: nothing is asked of a registry or a gateway, a page shows what was recorded and by whom.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from airflow_mlops.evidence import Decision, Evidence, Origin
from airflow_mlops.governance.decided import (
    Document,
    Reference,
    model_digest_of,
    number_behind,
    reason_of,
    references_of,
    slot_of,
    title_of,
    version_of,
    weights_of,
)
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["ReleaseRecord", "ReleaseState", "TimelineEntry", "WeightChange", "releases", "timeline"]

ReleaseState = Literal["judged", "rejected", "registered", "rolling_out", "promoted", "rolled_back", "withdrawn"]


@dataclass(frozen=True, kw_only=True)
class TimelineEntry:
    """One decision.

    :param number: position of the document in the model's chain, from 1
    :param decided_at: seconds since the epoch
    :param title: what was decided, a few words, for example ``Gate`` or ``Traffic: step 2``
    :param reason: one sentence
    :param origin: the task that decided
    :param digest: of the document
    :param previous: digest of the document before it, None for the first
    :param weights: target to percent of the traffic from then on; empty if the decision moved none
    :param report: address of the task's report on the web server, empty where there is none
    :param version: registered version that it is about, empty while that is not known
    :param subject: the model or dataset that it is about
    :param kind: the decision, or what a rollout's task checked: ``smoke``, ``shadow``; ``rejection`` of a version
    """

    number: int
    decided_at: float
    decision: Decision
    verdict: Verdict
    title: str
    reason: str
    origin: Origin
    digest: str
    previous: str | None
    weights: Mapping[str, int] = field(default_factory=dict)
    references: tuple[Reference, ...] = ()
    checks: tuple[CheckResult, ...] = ()
    report: str = ""
    version: str = ""
    subject: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """The traffic from some moment on.

    :param at: seconds since the epoch
    :param weights: target to percent
    :param reason: why, one sentence
    :param number: of the document that says so
    """

    at: float
    weights: Mapping[str, int]
    verdict: Verdict
    reason: str
    number: int


@dataclass(frozen=True, kw_only=True)
class ReleaseRecord:
    """One candidate's way, as far as the documents that were looked at tell it.

    :param number: of its first document among them; a page about it has this in its address
    :param version: registered version, empty while there is none
    :param digest: of the model's files, empty if no document says
    :param datasets: what it was trained and judged on
    :param entries: oldest first
    :param verdict: of the last decision about the candidate itself
    :param state: how far it has come
    :param weights: every change of the traffic, oldest first
    """

    number: int
    model_name: str
    version: str
    digest: str
    datasets: tuple[Reference, ...]
    entries: tuple[TimelineEntry, ...]
    verdict: Verdict
    state: ReleaseState
    weights: tuple[WeightChange, ...] = ()

    @property
    def began_at(self) -> float:
        """When its first decision was taken, seconds since the epoch."""
        return self.entries[0].decided_at

    @property
    def title(self) -> str:
        """What people call it."""
        return f"version {self.version}" if self.version else f"candidate {self.digest.removeprefix('sha256:')[:12]}"


def timeline(
    documents: Sequence[Document], *, report_address: Callable[[Evidence], str] = lambda _: ""
) -> tuple[TimelineEntry, ...]:
    """Return the decisions as entries, in the order of the documents.

    :param report_address: gives the address of the report behind a decision, empty where there is none
    """
    return tuple(_entry(document, report_address(document.evidence)) for document in documents)


def releases(
    documents: Sequence[Document], *, report_address: Callable[[Evidence], str] = lambda _: ""
) -> tuple[ReleaseRecord, ...]:
    """Gather decisions about the same candidate, newest candidate first.

    Decisions name the candidate by its digest, its version, its server or the gate's document; what names none of
    them, such as a validation, belongs to no release.

    :param documents: of one subject, oldest first; they need not be all
    """
    ordered = sorted(documents, key=lambda document: document.number)
    keys = _keys(ordered)
    gathered: dict[str, list[Document]] = {}
    for document in ordered:
        key = keys[document.number]
        if key:
            gathered.setdefault(key, []).append(document)
    found = [_release(own, report_address) for own in gathered.values()]
    return tuple(sorted(found, key=lambda release: release.number, reverse=True))


def _entry(document: Document, report: str) -> TimelineEntry:
    evidence = document.evidence
    return TimelineEntry(
        number=document.number,
        decided_at=evidence.decided_at,
        decision=evidence.decision,
        verdict=evidence.verdict,
        title=title_of(evidence),
        reason=reason_of(evidence),
        origin=evidence.origin,
        digest=document.digest,
        previous=evidence.previous,
        weights=weights_of(evidence),
        references=tuple(references_of("", evidence.references)),
        checks=evidence.checks,
        report=report,
        version=version_of(evidence),
        subject=evidence.subject,
        kind=slot_of(evidence),
    )


def _keys(documents: Sequence[Document]) -> dict[int, str]:
    """Return document number to the candidate that it is about: a digest or ``version …``, empty for none."""
    digests: dict[str, str] = {}
    for document in documents:
        version, digest = version_of(document.evidence), model_digest_of(document.evidence)
        if version and digest:
            digests[version] = digest
    keys: dict[int, str] = {}
    for document in documents:
        evidence = document.evidence
        version = version_of(evidence)
        key = model_digest_of(evidence) or digests.get(version, f"version {version}" if version else "")
        keys[document.number] = key or keys.get(number_behind(evidence.references.get("gate")), "")
    return keys


def _release(documents: Sequence[Document], report_address: Callable[[Evidence], str]) -> ReleaseRecord:
    entries = timeline(documents, report_address=report_address)
    own = [entry for entry in entries if entry.decision not in ("drift", "retraining", "card")]
    changes = tuple(
        WeightChange(
            at=entry.decided_at,
            weights=entry.weights,
            verdict=entry.verdict,
            reason=entry.reason,
            number=entry.number,
        )
        for entry in entries
        if entry.weights
    )
    versions = [entry.version for entry in entries if entry.version]
    digests = [digest for document in documents if (digest := model_digest_of(document.evidence))]
    return ReleaseRecord(
        number=entries[0].number,
        model_name=documents[0].evidence.subject,
        version=versions[-1] if versions else "",
        digest=digests[0] if digests else "",
        datasets=_datasets(documents),
        entries=entries,
        verdict=(own or entries)[-1].verdict,
        state=_state(documents),
        weights=changes,
    )


def _datasets(documents: Sequence[Document]) -> tuple[Reference, ...]:
    """Return each dataset once, in the order of the documents that name them."""
    found: dict[tuple[str, str], Reference] = {}
    for document in documents:
        for role in ("datasets", "dataset"):
            for reference in references_of(role, document.evidence.references.get(role)):
                if reference.digest:
                    found.setdefault((reference.digest, reference.label), reference)
    return tuple(found.values())


def _state(documents: Sequence[Document]) -> ReleaseState:
    state: ReleaseState = "judged"
    for document in documents:
        state = _next_state(state, document.evidence)
    return state


def _next_state(state: ReleaseState, evidence: Evidence) -> ReleaseState:
    promotes = evidence.verdict.promotes
    if evidence.decision == "approval" and evidence.notes.get("state") == "open":
        return state  # people are asked about its release, and nothing is decided
    if evidence.decision in ("gate", "approval"):
        return state if state not in ("judged", "rejected") else "judged" if promotes else "rejected"
    if evidence.decision == "registration":
        return "registered"
    if evidence.decision == "promotion":
        if promotes:
            return "promoted"
        return "rolled_back" if evidence.verdict is Verdict.FAIL else "withdrawn"
    phases: dict[Any, ReleaseState] = {"progressing": "rolling_out", "rolled_back": "rolled_back"}
    # All traffic is not yet the alias: a promotion says that.
    return phases.get(evidence.notes.get("phase"), state) if evidence.decision == "rollout" else state
