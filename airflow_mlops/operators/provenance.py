"""What a registered version carries with it: its gate's evidence, its run, its code, the event that announces it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
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
    from airflow_mlops.governance.contents import ModelContents
    from airflow_mlops.governance.versions import ModelVersion

__all__ = ["announce", "code_tags", "gate_evidence", "read_contents", "rejection_reason", "show_run"]


def gate_evidence(store: ArtifactStore, gate: Mapping[str, Any] | None, *, name: str = "gate") -> Evidence | None:
    """Read the evidence that a gate's result names, or that of another decision, and check that it is the one.

    :param name: the argument that holds the result, for messages
    :raises ContractError: if it names none, or another lies there
    """
    if not gate:
        return None
    uri, promised = gate.get("evidence_uri"), gate.get("evidence_digest")
    if not uri or not promised:
        operator = "ModelGateOperator" if name == "gate" else "ApproveReleaseOperator"
        raise ContractError(f"{name}: it names no evidence; hand over what {operator} returned")
    evidence = decode(Evidence, store.read_json(str(uri)), where=f"{name} evidence")
    if digest(evidence) != promised:
        raise ContractError(f"{name}: the evidence at {uri} does not have the digest {promised}; it was changed")
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


def code_tags(context: Context, git_revision: str | None = None) -> dict[str, str]:
    """Name the code that runs: the DAG's version, and the commit that it was taken from.

    :param git_revision: the commit; None takes that of the DAG's bundle or, where that has none, of the checkout that
        the bundle's folder is part of
    """
    ti = context["ti"]
    bundle = getattr(ti, "bundle_instance", None)
    found = {
        "mlops.dag_version_id": getattr(ti, "dag_version_id", None),
        "mlops.git_revision": git_revision or getattr(bundle, "version", None) or _checked_out(bundle),
    }
    return {name: str(value) for name, value in found.items() if value}


def _checked_out(bundle: Any) -> str | None:
    from airflow_mlops.hooks.checkout import revision_of

    folder = getattr(bundle, "path", None)
    return revision_of(Path(folder)) if folder else None


def read_contents(folder: Path) -> ModelContents:
    """Read what a model's files say of its libraries and columns.

    :param folder: the model, in MLflow's format
    :raises ContractError: if its ``MLmodel`` cannot be read
    """
    import yaml

    from airflow_mlops.governance.contents import ModelContents

    requirements, described = folder / "requirements.txt", folder / "MLmodel"
    try:
        document = yaml.safe_load(described.read_text()) if described.is_file() else {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{described}: this is not YAML ({error})") from error
    lines = requirements.read_text().splitlines() if requirements.is_file() else None
    signature = document.get("signature") if isinstance(document, Mapping) else None
    return ModelContents(
        requirements=None if lines is None else tuple(line for line in map(_uncommented, lines) if line),
        signature=signature if isinstance(signature, Mapping) else None,
    )


def _uncommented(line: str) -> str:
    stripped = line.partition(" #")[0].strip().removesuffix("\\").strip()
    return "" if stripped.startswith(("#", "--")) else stripped  # options of pip are no libraries
