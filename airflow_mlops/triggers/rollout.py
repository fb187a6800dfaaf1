"""Looks at a rollout again and again; judges and stores, but never touches the traffic."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.exceptions import StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.plan import describe
from airflow_mlops.triggers.events import RolloutEvent, to_payload
from airflow_mlops.triggers.task_state import STILL_AT_WORK, task_state

__all__ = ["RolloutTrigger"]


class RolloutTrigger(BaseTrigger):
    """Wakes the rollout's task when there is something to do.

    Two of these may run for one rollout while Airflow moves triggers; the store lets one look through.

    :param gateway_conn_id: connection of the gateway
    :param route: the route, which is the model's name
    :param token: of the lease under which the rollout began
    :param look_seconds: time between two looks
    :param task: dag_id, run_id, task_id and map_index of the waiting task
    """

    def __init__(
        self, *, gateway_conn_id: str, route: str, token: int, look_seconds: float, task: dict[str, Any]
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gateway_conn_id = gateway_conn_id
        self.route = route
        self.token = token
        self.look_seconds = look_seconds
        self.task_key = task

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.rollout.RolloutTrigger",
            {
                "gateway_conn_id": self.gateway_conn_id,
                "route": self.route,
                "token": self.token,
                "look_seconds": self.look_seconds,
                "task": self.task_key,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the task has to act."""
        try:
            gateway = await self._open()
            while True:
                await asyncio.sleep(self.look_seconds)
                message = await self._look(gateway)
                if message is not None:
                    event = RolloutEvent(kind="act", token=self.token, message=message)
                    break
        except StaleWriteError as error:
            event = RolloutEvent(kind="lost", token=self.token, message=str(error))
        except Exception as error:
            # Without this the task would fail and the candidate keep its traffic with nobody judging it.
            self.log.exception("The rollout of %s cannot be judged", self.route)
            event = RolloutEvent(kind="broken", token=self.token, message=f"{type(error).__name__}: {error}")
        yield TriggerEvent(to_payload(event))

    async def _open(self) -> Gateway:
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        hook = await ModelGatewayHook.aopen(self.gateway_conn_id)
        return hook.gateway()

    async def _look(self, gateway: Gateway) -> str | None:
        """Return what has to be done, None when nothing has."""
        try:
            _, plan = await asyncio.to_thread(gateway.look, self.route, token=self.token)
        except TransientAdapterError as error:
            # The store could not be reached: nothing was recorded, so the budget for the unknown runs on.
            self.log.warning("%s: %s", self.route, error)
            return None
        self.log.info("%s: %s", self.route, describe(plan))
        return describe(plan) if plan.has_effects else None

    async def on_kill(self) -> None:
        """Give the traffic back when a person ended or cleared the waiting task.

        Triggers that only move to another process are reported to come here too (Airflow issue 73454), so the task's
        state is asked first.
        """
        state = await self._task_state()
        if state in STILL_AT_WORK:
            self.log.info("%s: the task is %s, the rollout goes on", self.route, state)
            return
        gateway = await self._open()
        reason = f"the task was ended by hand (its state is {state or 'unknown'})"
        moved = await asyncio.to_thread(gateway.give_back, self.route, token=self.token, reason=reason)
        self.log.info("%s: %s", self.route, "all traffic went back" if moved else "there was nothing to give back")

    async def _task_state(self) -> str | None:
        return await task_state(self.task_key)
