"""Writing the decision record from a task."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from airflow.sdk import Context

from airflow_mlops import __version__
from airflow_mlops.codec import digest_of, encode
from airflow_mlops.evidence import Decision, Evidence
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.operators.base import remember_decision
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["record", "tell", "versions"]


def versions(distributions: Iterable[str] = ()) -> dict[str, str]:
    """Versions of this package and of those named, as far as they are installed."""
    found = {"airflow-mlops": __version__}
    for name in ("apache-airflow", *distributions):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def record(
    context: Context,
    store: ArtifactStore,
    *,
    decision: Decision,
    subject: str,
    verdict: Verdict,
    checks: Sequence[CheckResult],
    references: Mapping[str, Any] | None = None,
    policy: Any = None,
    seeds: Mapping[str, int] | None = None,
    notes: Mapping[str, Any] | None = None,
    distributions: Iterable[str] = (),
) -> tuple[str, str]:
    """Append a decision of the running task to its subject's chain.

    :param subject: name of the model or dataset that the decision is about
    :param references: role to reference
    :param policy: the policy or spec that was applied
    :param distributions: packages whose versions belong to the decision
    :return: URI and digest of the document
    """
    encoded = encode(policy) if policy is not None else {}
    evidence = Evidence(
        decision=decision,
        subject=subject,
        verdict=verdict,
        checks=tuple(checks),
        origin=origin(context),
        decided_at=time.time(),
        references=encode(references or {}),
        policy=encoded,
        policy_digest=digest_of(encoded) if policy is not None else None,
        versions=versions(distributions),
        seeds=dict(seeds or {}),
        notes=encode(notes or {}),
    )
    uri, found = store.write_evidence(evidence)
    tell(context, evidence, uri, found)
    return uri, found


def tell(context: Context, evidence: Evidence, uri: str, found: str) -> None:
    """Show a recorded decision on the task, count it, and keep it for the task's lineage.

    :param uri: where its document lies
    :param found: the document's digest
    """
    from airflow_mlops.hooks.metrics import in_task
    from airflow_mlops.links.pages import show_evidence

    in_task().decided(evidence.decision, evidence.subject, evidence.verdict.value, evidence.checks)
    show_evidence(context, evidence.subject, uri)
    remember_decision(context, evidence, uri, found)
