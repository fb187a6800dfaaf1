"""What a registered version carries with it: its gate's evidence, its run, its code, the event that announces it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import Asset, Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.mlflow import MLflowHook
from airflow_mlops.links.base import push_link
from airflow_mlops.links.mlflow import MLflowRunLink

if TYPE_CHECKING:
    from airflow_mlops.governance.versions import ModelVersion

__all__ = ["announce", "code_tags", "gate_evidence", "rejection_reason", "show_run"]


def gate_evidence(store: ArtifactStore, gate: Mapping[str, Any] | None) -> Evidence | None:
    """Read the evidence that a gate's result names, and check that it is the one.

    :raises ContractError: if it names none, or another lies there
    """
    if not gate:
        return None
    uri, promised = gate.get("evidence_uri"), gate.get("evidence_digest")
    if not uri or not promised:
        raise ContractError("gate: it names no evidence; hand over what ModelGateOperator returned")
    evidence = decode(Evidence, store.read_json(str(uri)), where="gate evidence")
    if digest(evidence) != promised:
        raise ContractError(f"gate: the evidence at {uri} does not have the digest {promised}; it was changed")
    return evidence


def rejection_reason(store: ArtifactStore, model_name: str, run_id: str) -> str | None:
    """Say why this run failed, in the words of its newest decision against the model; None if there is none."""
    for document in reversed(store.read_evidence(model_name)):
        if document.origin.run_id == run_id and not document.verdict.promotes:
            said = next((check.reason for check in document.checks if not check.verdict.promotes), "no reason given")
            return f"{document.decision} of run {run_id}: {said}"
    return None


def show_run(context: Context, hook: MLflowHook, version: ModelVersion) -> None:
    """Link the task to the version's run in MLflow."""
    if version.run_id:
        push_link(context, MLflowRunLink(), hook.run_url(version.run_id))


def announce(context: Context, outlets: Iterable[Any], version: ModelVersion, evidence: str) -> None:
    """Give every outlet's event the facts that a release needs."""
    for outlet in outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = {
                "model_name": version.name,
                "version": version.version,
                "model": encode(version.model),
                "digest": version.model.digest,
                "evidence_digest": evidence,
            }


def code_tags(context: Context) -> dict[str, str]:
    """Name the code that runs: the DAG's version, and the revision of its bundle where that has one."""
    ti = context["ti"]
    bundle = getattr(ti, "bundle_instance", None)
    found = {
        "mlops.dag_version_id": getattr(ti, "dag_version_id", None),
        "mlops.git_revision": getattr(bundle, "version", None),
    }
    return {name: str(value) for name, value in found.items() if value}
