"""Looks at a rollout again and again; judges and stores, but never touches the traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Any
from zlib import crc32

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.exceptions import StaleWriteError, TransientAdapterError
from airflow_mlops.hooks.live import LivePage
from airflow_mlops.hooks.metrics import Looks, in_triggerer
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.plan import Plan, describe
from airflow_mlops.rollout.state import RolloutState, awaits_approval
from airflow_mlops.triggers.approval import close_form, read_form
from airflow_mlops.triggers.events import RolloutEvent, to_payload
from airflow_mlops.triggers.task_state import STILL_AT_WORK, task_state
from airflow_mlops.triggers.threads import in_thread

__all__ = ["RolloutTrigger"]

#: A look that concludes what the last one did is told this often: rollouts may take days.
_TELL_SECONDS = 60.0


class RolloutTrigger(BaseTrigger):
    """Wakes the rollout's task when there is something to do.

    Two of these may run for one rollout while Airflow moves triggers; the store lets one look through. While a step
    waits for approval they go on looking, and read the answer to the task's form beside it. Airflow itself wakes a
    deferred task whose form is answered, but not when the answer comes before the task has gone to sleep.

    :param gateway_conn_id: connection of the gateway
    :param route: the route, which is the model's name
    :param token: of the lease under which the rollout began
    :param look_seconds: time between two looks
    :param task: dag_id, run_id, task_id and map_index of the waiting task
    :param started_at: when the rollout began
    :param asked: id of the task instance whose form asks for approval, empty while nobody is asked
    """

    def __init__(
        self,
        *,
        gateway_conn_id: str,
        route: str,
        token: int,
        look_seconds: float,
        task: dict[str, Any],
        started_at: float = 0.0,
        asked: str = "",
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gateway_conn_id = gateway_conn_id
        self.route = route
        self.token = token
        self.look_seconds = look_seconds
        self.task_key = task
        self.started_at = started_at
        self.asked = asked
        self._told: tuple[str, str] | None = None
        self._told_at = 0.0
        self._live = LivePage(task)
        self._looks = Looks(in_triggerer)

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
                "started_at": self.started_at,
                "asked": self.asked,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the task has to act."""
        try:
            gateway = await self._open()
            event = None
            # Triggers that start together, as they do with their triggerer, would go on to look all at the same moment.
            pause = self.look_seconds * crc32(self.route.encode()) / 2**32
            while event is None:
                event = await self._answered()
                if event is None:
                    await asyncio.sleep(pause)
                    event = await self._look(gateway)
                    pause = self.look_seconds
        except StaleWriteError as error:
            event = self._event("lost", str(error))
        except Exception as error:
            # Without this the task would fail and the candidate keep its traffic with nobody judging it.
            self.log.exception("The rollout of %s cannot be judged", self.route)
            event = self._event("broken", f"{type(error).__name__}: {error}")
        yield TriggerEvent(to_payload(event))

    def _event(self, kind: Any, message: str, **more: Any) -> RolloutEvent:
        return RolloutEvent(kind=kind, token=self.token, message=message, started_at=self.started_at, **more)

    async def _open(self) -> Gateway:
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        hook = await ModelGatewayHook.aopen(self.gateway_conn_id)
        return await in_thread(hook.gateway)  # it may read files

    async def _look(self, gateway: Gateway) -> RolloutEvent | None:
        """Return what has to be done, None when nothing has."""
        try:
            state, plan = await in_thread(self._look_and_show, gateway)
        except TransientAdapterError as error:
            # The store could not be reached: nothing was recorded, so the budget for the unknown runs on.
            self.log.warning("%s: %s", self.route, error)
            return None
        self._tell(plan)
        waits = awaits_approval(state)
        if self.asked and not waits:
            await self._close_form(state, plan)
        if plan.has_effects:
            return self._event("act", describe(plan))
        return self._event("ask", describe(plan)) if waits and not self.asked else None

    def _look_and_show(self, gateway: Gateway) -> tuple[RolloutState, Plan]:
        state, plan = gateway.look(self.route, token=self.token)
        self._live.publish(state)
        self._looks.tell(state, plan)
        return state, plan

    def _tell(self, plan: Plan) -> None:
        said, now = (plan.action, plan.verdict.value), time.monotonic()
        if said != self._told or now - self._told_at >= _TELL_SECONDS:
            self.log.info("%s: %s", self.route, describe(plan))
            self._told, self._told_at = said, now

    async def _answered(self) -> RolloutEvent | None:
        answer = await read_form(self.asked) if self.asked else None
        return None if answer is None else self._event("answered", "the form was answered", answer=answer)

    async def _close_form(self, state: RolloutState, plan: Plan) -> None:
        """Ask nobody any more: the step was approved by a command, or is over in another way."""
        from airflow_mlops.evaluation.approval import APPROVE, REJECT

        await close_form(self.asked, [REJECT if state.phase == "rolled_back" else APPROVE], plan.reason)
        self.asked = ""

    async def on_kill(self) -> None:
        """Give the traffic back when a person ended or cleared the waiting task.

        Triggers that only move to another process are reported to come here too (Airflow issue 73454), and so do
        those whose task Airflow wakes because its form was answered; so form and task are asked first.
        """
        if await self._answered() is not None:
            self.log.info("%s: the task goes on with the answer to its form", self.route)
            return
        state = await self._task_state()
        # One that is about to run, because it was cleared, takes the rollout up.
        if state in (*STILL_AT_WORK, "scheduled", "queued"):
            self.log.info("%s: the task is %s, the rollout goes on", self.route, state)
            return
        gateway = await self._open()
        reason = f"the task was ended by hand (its state is {state or 'unknown'})"
        moved = await in_thread(self._give_back, gateway, reason)
        self.log.info("%s: %s", self.route, "all traffic went back" if moved else "there was nothing to give back")

    def _give_back(self, gateway: Gateway, reason: str) -> bool:
        moved = gateway.give_back(self.route, token=self.token, reason=reason)
        lease = gateway.store.load(self.route)
        if moved and lease is not None and lease.state is not None:
            in_triggerer().ended(lease.state)
        return moved

    async def _task_state(self) -> str | None:
        return await task_state(self.task_key)
