"""How a rollout's task waits for something to do: asleep, with a trigger that looks, or in its own process."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.hooks.artifacts import origin
from airflow_mlops.operators.rollout_approval import show_question

if TYPE_CHECKING:
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.state import RolloutState
    from airflow_mlops.triggers.rollout import RolloutTrigger

__all__ = ["trigger_that_looks", "wait_here"]


def trigger_that_looks(
    context: Context, state: RolloutState, *, gateway_conn_id: str, token: int, assigned_users: Sequence[Any]
) -> RolloutTrigger:
    """Return what the task goes to sleep with; a step that waits for approval shows its form before."""
    from airflow_mlops.rollout.state import awaits_approval
    from airflow_mlops.triggers.rollout import RolloutTrigger

    who = origin(context)
    return RolloutTrigger(
        gateway_conn_id=gateway_conn_id,
        route=state.model_name,
        token=token,
        look_seconds=state.spec.look_seconds,
        task={"dag_id": who.dag_id, "run_id": who.run_id, "task_id": who.task_id, "map_index": who.map_index},
        started_at=state.started_at,
        asked=show_question(context, state, assigned_users) if awaits_approval(state) else "",
    )


def wait_here(gateway: Gateway, state: RolloutState, *, token: int, log: Any) -> RolloutState:
    """Look from this process until something has to be done."""
    from airflow_mlops.rollout.plan import describe

    while True:
        time.sleep(state.spec.look_seconds)
        state, plan = gateway.look(state.model_name, token=token)
        log.info("%s", describe(plan))
        if plan.has_effects:
            return state
