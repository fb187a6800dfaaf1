"""A model at a glance, from its decisions: what serves, why, since when, and what is on its way.

Champion, challenger and weights are those that were recorded, not what a registry or a gateway would answer now.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_mlops.evidence import Origin
from airflow_mlops.governance.decided import (
    Document,
    is_moment,
    model_digest_of,
    reason_of,
    slot_of,
    title_of,
    version_of,
    weights_of,
)
from airflow_mlops.verdict import Verdict

__all__ = [
    "DriftState",
    "LastDecision",
    "ModelOverview",
    "NamedVersion",
    "OpenApproval",
    "RolloutUnderWay",
    "overview",
    "slots_wanted",
]

DriftState = Literal["drifted", "none", "undecided", "unknown"]
_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class NamedVersion:
    """The version that an alias was given to.

    :param version: registered version
    :param digest: of its files, empty if no document at hand says
    :param since: when that was recorded, seconds since the epoch
    :param number: of the document that says so
    """

    version: str
    digest: str
    since: float
    number: int


@dataclass(frozen=True, kw_only=True)
class LastDecision:
    """The newest decision of one kind.

    :param kind: ``gate``, ``approval``, ``registration``, ``rollout``, ``smoke``, ``shadow``, ``promotion``, …
    :param at: seconds since the epoch
    :param number: of its document
    """

    kind: str
    title: str
    verdict: Verdict
    reason: str
    at: float
    number: int
    version: str
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class OpenApproval:
    """A question to people that nobody has answered on record.

    :param asked_at: seconds since the epoch
    :param until: until when, as it was recorded; empty for no limit
    :param origin: the task that asks; Airflow shows the form there
    """

    number: int
    what: str
    asked_at: float
    until: str
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class RolloutUnderWay:
    """A rollout whose last recorded decision is not its end.

    :param weights: target to percent, by its last decision
    :param began_at: seconds since the epoch
    :param since: when its last decision was recorded
    :param origin: the task that moves the traffic
    :param looked_at: when somebody looked at it last, None where that is not known
    :param is_stale: whether somebody should have looked since then
    :param standing: what is still missing, one sentence; empty where that is not known
    """

    candidate: str
    stable: str
    weights: Mapping[str, int]
    began_at: float
    since: float
    reason: str
    number: int
    origin: Origin
    looked_at: float | None = None
    is_stale: bool = False
    standing: str = ""


@dataclass(frozen=True, kw_only=True)
class ModelOverview:
    """What is known of one model.

    :param name: of the registered model
    :param champion: the version last promoted, or to which a roll-back returned
    :param challenger: the version registered last, if it asks to be released and nothing was decided about it
    :param serving: target to percent of the traffic
    :param since: since when, seconds since the epoch; None where no traffic was recorded
    :param verdicts: kind of decision to the newest one
    :param drift: ``undecided`` if too little was seen; ``unknown`` if nobody looked
    :param drift_window: what was looked at
    :param drift_at: when, seconds since the epoch
    :param data_age_seconds: age of the newest row behind the last gate; None where its policy did not ask for that
    :param open_approvals: questions that wait for people
    :param rollout: what is on its way
    :param decisions: number of all documents, shown or not
    :param newest_at: when the newest of those at hand was decided
    :param withheld: kinds of which the newest decision is by a DAG that the reader may not see
    :param looked_back_to: number of the oldest document that was considered, 1 if all were
    """

    name: str
    champion: NamedVersion | None = None
    challenger: NamedVersion | None = None
    serving: Mapping[str, int] = field(default_factory=dict)
    since: float | None = None
    verdicts: Mapping[str, LastDecision] = field(default_factory=dict)
    drift: DriftState = "unknown"
    drift_window: str = ""
    drift_at: float | None = None
    data_age_seconds: float | None = None
    open_approvals: tuple[OpenApproval, ...] = ()
    rollout: RolloutUnderWay | None = None
    decisions: int = 0
    newest_at: float | None = None
    withheld: tuple[str, ...] = ()
    looked_back_to: int = 1

    @property
    def is_complete(self) -> bool:
        """Whether everything that was recorded was considered, and may be shown."""
        return not self.withheld and self.looked_back_to <= 1


def slots_wanted() -> frozenset[str]:
    """Return the kinds that a model with a release has; who reads from the newest may stop when all were seen."""
    return frozenset({"gate", "registration", "rollout", "promotion"})


def overview(
    name: str,
    documents: Sequence[Document],
    *,
    now: float,
    decisions: int | None = None,
    looked_back_to: int = 1,
    may_read: Callable[[str], bool] = lambda _: True,
) -> ModelOverview:
    """Return what the documents tell about a model.

    :param documents: of one model, in any order: at least the newest of each kind, as
        :func:`~airflow_mlops.governance.decided.slot_of` tells kinds apart, and all gates and approvals
        that may be open
    :param now: seconds since the epoch
    :param decisions: number of documents in the chain; None for those given
    :param may_read: whether decisions of a DAG, named by its id, may be shown
    """
    ordered = sorted(documents, key=lambda document: document.number)
    newest = {slot_of(document.evidence): document for document in ordered}
    shown = {slot: one for slot, one in newest.items() if may_read(one.evidence.origin.dag_id)}
    readable = [document for document in ordered if may_read(document.evidence.origin.dag_id)]
    traffic = shown.get("rollout")
    drift = shown.get("drift")
    champion = _champion(newest, shown)
    return ModelOverview(
        name=name,
        champion=champion,
        challenger=_challenger(shown, newest),
        serving=weights_of(traffic.evidence) if traffic else {},
        since=traffic.evidence.decided_at if traffic else None,
        verdicts={slot: _last(slot, document) for slot, document in shown.items()},
        drift=_drift(drift),
        drift_window=str(drift.evidence.notes.get("window") or "") if drift else "",
        drift_at=drift.evidence.decided_at if drift else None,
        data_age_seconds=_data_age(shown.get("gate"), now),
        open_approvals=_open_approvals(readable, ordered),
        rollout=_under_way(traffic),
        decisions=len(ordered) if decisions is None else decisions,
        newest_at=max((one.evidence.decided_at for one in readable), default=None),
        withheld=tuple(sorted(set(newest) - set(shown))),
        looked_back_to=looked_back_to,
    )


def _champion(newest: Mapping[str, Document], shown: Mapping[str, Document]) -> NamedVersion | None:
    """Return who leads by the last move of the alias, which may have been a roll-back."""
    moves = [newest[slot] for slot in ("promotion", "rejection") if slot in newest]
    if not moves:
        return None
    last = max(moves, key=lambda document: document.number)
    if last not in shown.values():
        return None
    evidence = last.evidence
    if evidence.verdict.promotes:
        return _named(last, version_of(evidence), model_digest_of(evidence))
    before = evidence.notes.get("champion")
    if not before:
        return None
    promoted = shown.get("promotion")
    same = promoted is not None and version_of(promoted.evidence) == str(before)
    if promoted is not None and same:
        return _named(promoted, str(before), model_digest_of(promoted.evidence))  # it led already
    return _named(last, str(before), "")


def _challenger(shown: Mapping[str, Document], newest: Mapping[str, Document]) -> NamedVersion | None:
    document = shown.get("registration")
    if document is None or not document.evidence.notes.get("alias"):
        return None
    version = version_of(document.evidence)
    moves = [newest[slot] for slot in ("promotion", "rejection") if slot in newest]
    settled = any(move.number > document.number and version_of(move.evidence) == version for move in moves)
    return None if settled else _named(document, version, model_digest_of(document.evidence))


def _named(document: Document, version: str, digest: str) -> NamedVersion:
    return NamedVersion(version=version, digest=digest, since=document.evidence.decided_at, number=document.number)


def _last(slot: str, document: Document) -> LastDecision:
    evidence = document.evidence
    return LastDecision(
        kind=slot,
        title=title_of(evidence),
        verdict=evidence.verdict,
        reason=reason_of(evidence),
        at=evidence.decided_at,
        number=document.number,
        version=version_of(evidence),
        origin=evidence.origin,
    )


def _drift(document: Document | None) -> DriftState:
    if document is None:
        return "unknown"
    verdict = document.evidence.verdict
    return "drifted" if verdict is Verdict.FAIL else "none" if verdict.promotes else "undecided"


def _data_age(gate: Document | None, now: float) -> float | None:
    """Return the age of the newest row that the last gate saw, grown since then."""
    if gate is None:
        return None
    names = ("freshness.training", "freshness.evaluation")
    days = [one.value for one in gate.evidence.checks if one.name in names and one.value is not None]
    return min(days) * _DAY + max(0.0, now - gate.evidence.decided_at) if days else None


def _under_way(document: Document | None) -> RolloutUnderWay | None:
    if document is None or document.evidence.notes.get("phase") != "progressing":
        return None
    evidence, notes = document.evidence, document.evidence.notes
    began = str(notes.get("rollout") or "").rsplit("/", 1)[-1]
    return RolloutUnderWay(
        candidate=str(notes.get("candidate") or ""),
        stable=str(notes.get("stable") or ""),
        weights=weights_of(evidence),
        began_at=_seconds(began, evidence.decided_at),
        since=evidence.decided_at,
        reason=reason_of(evidence),
        number=document.number,
        origin=evidence.origin,
    )


def _seconds(text: str, otherwise: float) -> float:
    try:
        found = float(text)
    except ValueError:
        return otherwise
    return found if is_moment(found) else otherwise


def _open_approvals(documents: Sequence[Document], everything: Sequence[Document]) -> tuple[OpenApproval, ...]:
    """Return the questions among the documents that nothing has answered, be the answer shown or withheld."""
    answered: set[str] = set()
    newest: dict[str, str] = {}
    for document in everything:
        if document.evidence.decision != "approval":
            continue
        for role in ("gate", "question"):
            asked = document.evidence.references.get(role)
            if isinstance(asked, Mapping):
                question = str(asked.get("digest") or "")
                answered.add(question)
                answered.add(str(asked.get("uri") or "").rsplit("/", 1)[-1][7:19])
                # Several people answer one question in turn; only the newest of its documents tells how it stands.
                answered.add(newest.get(question, question))
                newest[question] = document.digest
    return tuple(
        OpenApproval(
            number=document.number,
            what=f"{title_of(document.evidence)}: {reason_of(document.evidence)}",
            asked_at=document.evidence.decided_at,
            until=str(asks.get("until") or ""),
            origin=document.evidence.origin,
        )
        for document in documents
        if isinstance(asks := document.evidence.notes.get("asks"), Mapping)
        and not {document.digest, document.digest.removeprefix("sha256:")[:12]} & answered
    )
