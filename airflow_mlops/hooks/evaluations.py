"""Evaluations in the artefact store, and the gate's decisions that rest on them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_mlops.exceptions import ContractError, DigestMismatchError, SpecificationError

if TYPE_CHECKING:
    from airflow_mlops.evaluation.backtest import PastGate
    from airflow_mlops.evaluation.report import EvaluationReport
    from airflow_mlops.evidence import Evidence
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["past_gates", "read_evaluation"]


def read_evaluation(store: ArtifactStore, uri: str, digest: str) -> EvaluationReport:
    """Read a report and check that it is the one that was named.

    :param digest: ``sha256:…`` as ``EvaluateModelOperator`` returned it
    :raises DigestMismatchError: if the content is another one
    :raises ContractError: if it is not there or is no report
    """
    from airflow_mlops.evaluation.report import parse_report

    found = store.manifest(uri).digest
    if found != digest:
        raise DigestMismatchError(uri, digest, found)
    try:
        text = store.read_bytes(uri).decode()
    except UnicodeDecodeError as error:
        raise ContractError(f"{uri} is not text: {error}") from error
    return parse_report(text, where=uri)


def past_gates(store: ArtifactStore, model_name: str | None = None) -> tuple[PastGate, ...]:
    """Return what the gate decided, oldest first, each with its evaluation as far as that can still be read.

    :param model_name: the model; None for all models
    :raises SpecificationError: if there is no evidence about that model
    :raises ContractError: if evidence was changed
    """
    from airflow_mlops.evaluation.holdout import holdout_uses

    known = store.evidence_subjects()
    if model_name is not None and model_name not in known:
        raise SpecificationError("model", model_name, f"one with evidence: {', '.join(known) or 'there is none'}")
    found = []
    for subject in known:
        if model_name in (None, subject):
            chain = store.read_evidence(subject)
            found += [
                replace(_past(store, document), uses=holdout_uses(chain[:position], document.references))
                for position, document in enumerate(chain)
                if document.decision == "gate"
            ]
    return tuple(sorted(found, key=lambda one: one.evidence.decided_at))


def _past(store: ArtifactStore, evidence: Evidence) -> PastGate:
    from airflow_mlops.evaluation.backtest import PastGate

    named = evidence.references.get("evaluation")
    uri, digest = (named.get("uri"), named.get("digest")) if isinstance(named, dict) else (None, None)
    if not uri or not digest:
        return PastGate(evidence=evidence, report=None, unreadable="the evidence does not name its evaluation")
    try:
        return PastGate(evidence=evidence, report=read_evaluation(store, str(uri), str(digest)))
    except ContractError as error:
        return PastGate(evidence=evidence, report=None, unreadable=str(error))
