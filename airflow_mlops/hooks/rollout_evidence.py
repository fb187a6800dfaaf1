"""A rollout's decisions in the model's decision record, each of them once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_mlops import __version__
from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.state import RolloutState

__all__ = ["record_decisions"]


def record_decisions(
    store: ArtifactStore,
    who: Origin,
    fleet: ServerFleet,
    state: RolloutState,
    *,
    told: Callable[[Evidence, str, str], None] | None = None,
) -> str:
    """Write evidence of the decisions that have none yet, also after a crash in between.

    :param who: the task that moves the traffic
    :param told: called with each document, its URI and its digest, once it is written
    :return: URI of the document about the last decision, empty when it was written earlier
    """
    rollout = f"{who.dag_id}/{who.run_id}/{who.task_id}/{who.map_index}/{state.started_at}"
    written = {
        document.notes.get("decision_number")
        for document in store.read_evidence(state.model_name)
        if document.notes.get("rollout") == rollout
    }
    missing = [number for number in range(len(state.history)) if number not in written]
    uri = ""
    for number in missing:
        evidence = _evidence(who, fleet, state, rollout, number)
        uri, found = store.write_evidence(evidence)
        if told is not None:
            told(evidence, uri, found)
    return uri


def _evidence(who: Origin, fleet: ServerFleet, state: RolloutState, rollout: str, number: int) -> Evidence:
    entry = state.history[number]
    newest = number == len(state.history) - 1
    policy = encode(state.spec)
    return Evidence(
        decision="rollout",
        subject=state.model_name,
        verdict=entry.verdict,
        # Only the last judgement is kept in the state; the reason of an earlier one holds its numbers.
        checks=state.checks if newest else (),
        origin=who,
        decided_at=entry.at,
        references=_references(fleet, state),
        policy=policy,
        policy_digest=digest_of(policy),
        versions={"airflow-mlops": __version__},
        notes={
            "rollout": rollout,
            "decision_number": number,
            "candidate": state.candidate,
            "stable": state.stable,
            "weights": dict(entry.weights),
            "reason": entry.reason,
            "phase": state.phase if newest else "progressing",
            "history": encode(state.history[: number + 1]),
        },
    )


def _references(fleet: ServerFleet, state: RolloutState) -> dict[str, Any]:
    servers = {"candidate": state.candidate, "stable": state.stable}
    specs = {role: None if name is None else fleet.spec(name) for role, name in servers.items()}
    return {role: encode(spec.model) for role, spec in specs.items() if spec is not None}
