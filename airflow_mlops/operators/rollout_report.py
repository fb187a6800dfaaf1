"""What a rollout's task leaves behind: evidence, page and result."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import encode
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.links.report import publish_report
from airflow_mlops.operators.record import tell

if TYPE_CHECKING:
    from airflow_mlops.rollout.ports import ServerFleet
    from airflow_mlops.rollout.state import RolloutState

__all__ = ["publish_rollout", "push_result"]


def publish_rollout(context: Context, fleet: ServerFleet, state: RolloutState) -> str:
    """Record the decisions and show them; return where the last one is recorded, empty if it was before."""
    from airflow_mlops.hooks.live import publish_live
    from airflow_mlops.hooks.rollout_evidence import record_decisions
    from airflow_mlops.rollout.html import render_html

    store = ArtifactStore.from_config()
    publish_live(origin(context), state)
    evidence_uri = record_decisions(store, origin(context), fleet, state, told=partial(tell, context))
    publish_report(context, store, "rollout", render_html(state, evidence_uri=evidence_uri))
    return evidence_uri


def push_result(context: Context, state: RolloutState, evidence_uri: str) -> dict[str, Any]:
    """Return the task's result, and push it: a task that fails returns nothing."""
    from airflow_mlops.hooks.metrics import in_task
    from airflow_mlops.rollout.state import intended_weights

    result = {
        "outcome": state.phase,
        "candidate": state.candidate,
        "stable": state.stable,
        "weights": intended_weights(state),
        "reason": state.reason,
        "history": encode(state.history),
        "evidence_uri": evidence_uri,
    }
    context["ti"].xcom_push(key="return_value", value=result)
    in_task().ended(state)
    return result
