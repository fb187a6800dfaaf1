"""What a shadow or a replay has found: recorded, shown and returned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.links.report import publish_report
from airflow_mlops.operators.record import record
from airflow_mlops.verdict import CheckResult, Verdict

if TYPE_CHECKING:
    from airflow_mlops.rollout.pair_counts import PairCounts
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.shadow_spec import ShadowSpec

__all__ = ["Finding", "publish_finding"]

_LOG = logging.getLogger(__name__)
_OUTCOMES = {Verdict.PASS: "passed", Verdict.FAIL: "failed"}


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found.

    :param mode: ``mirror`` or ``replay``
    :param candidate: the model server that was asked too
    :param stable: the one that it was compared with
    :param pairs: what the pairs of answers came to
    """

    model_name: str
    mode: str
    candidate: str
    stable: str
    spec: ShadowSpec
    verdict: Verdict
    reason: str
    checks: tuple[CheckResult, ...]
    pairs: PairCounts


def publish_finding(
    context: Context, store: ArtifactStore, fleet: ServerFleet, found: Finding, *, notes: Mapping[str, Any]
) -> dict[str, Any]:
    """Record a finding, log and show it, push it as the task's result and return that.

    :param notes: further facts for the record
    """
    from airflow_mlops.rollout.shadow_html import render_shadow

    for check in found.checks:
        _LOG.info("%s: %s: %s", check.name, check.verdict.value, check.reason)
    servers = {"candidate": fleet.spec(found.candidate), "stable": fleet.spec(found.stable)}
    uri, _ = record(
        context,
        store,
        decision="rollout",
        subject=found.model_name,
        verdict=found.verdict,
        checks=found.checks,
        references={role: server.model for role, server in servers.items() if server is not None},
        policy=found.spec,
        notes={
            "check": "shadow",
            "mode": found.mode,
            "candidate": found.candidate,
            "stable": found.stable,
            "reason": found.reason,
            "pairs": found.pairs,
            **notes,
        },
    )
    page = render_shadow(
        model_name=found.model_name,
        candidate=found.candidate,
        stable=found.stable,
        mode=found.mode,
        verdict=found.verdict,
        reason=found.reason,
        checks=found.checks,
        pairs=found.pairs,
        spec=found.spec,
        evidence_uri=uri,
    )
    publish_report(context, store, "shadow", page)
    result = {
        "outcome": _OUTCOMES.get(found.verdict, "inconclusive"),
        "verdict": found.verdict.value,
        "reason": found.reason,
        "mode": found.mode,
        "candidate": found.candidate,
        "stable": found.stable,
        "pairs": found.pairs.pairs,
        "checks": [
            {"name": check.name, "verdict": check.verdict.value, "reason": check.reason} for check in found.checks
        ],
        "evidence_uri": uri,
    }
    context["ti"].xcom_push(key="return_value", value=result)
    return result
