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

    return RolloutTrigger(
        gateway_conn_id=gateway_conn_id,
        route=state.model_name,
        token=token,
        look_seconds=state.spec.look_seconds,
        task=_task(context),
        started_at=state.started_at,
        asked=show_question(context, state, assigned_users) if awaits_approval(state) else "",
    )


def wait_here(context: Context, gateway: Gateway, state: RolloutState, *, token: int, log: Any) -> RolloutState:
    """Look from this process until something has to be done."""
    from airflow_mlops.hooks.live import LivePage
    from airflow_mlops.hooks.metrics import Looks, in_task
    from airflow_mlops.rollout.plan import describe

    live, looks = LivePage(_task(context)), Looks(in_task)
    while True:
        time.sleep(state.spec.look_seconds)
        state, plan = gateway.look(state.model_name, token=token)
        live.publish(state)
        looks.tell(state, plan)
        log.info("%s", describe(plan))
        if plan.has_effects:
            return state


def _task(context: Context) -> dict[str, Any]:
    who = origin(context)
    return {"dag_id": who.dag_id, "run_id": who.run_id, "task_id": who.task_id, "map_index": who.map_index}
