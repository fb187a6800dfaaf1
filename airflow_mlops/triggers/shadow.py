"""Looks at a shadow again and again; judges and keeps the lease, but never touches the route."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import StaleWriteError, TransientAdapterError
from airflow_mlops.triggers.events import to_payload
from airflow_mlops.triggers.task_state import STILL_AT_WORK, task_state

if TYPE_CHECKING:
    from airflow_mlops.rollout.mirroring import Shadowing
    from airflow_mlops.rollout.shadow import ShadowState

__all__ = ["ShadowEvent", "ShadowTrigger"]


@dataclass(frozen=True, kw_only=True)
class ShadowEvent:
    """A shadow needs its task.

    :param kind: ``act`` when the state says more than the route, ``lost`` when the lease passed on, ``broken`` when
        judging itself failed
    :param message: one sentence for the log, or the error
    :param state: the shadow's state, encoded; it holds counts, and nothing of any row
    """

    kind: Literal["act", "lost", "broken"]
    message: str
    state: Mapping[str, Any]


class ShadowTrigger(BaseTrigger):
    """Wakes the shadow's task when there is something to do.

    It reads the logs from the shadow's beginning and then what is appended; two of these may run for one shadow.

    :param gateway_conn_id: connection of the gateway
    :param holder: who holds the lease
    :param state: the shadow's state, encoded
    :param logs: where both models log, an encoded :class:`~airflow_mlops.hooks.shadow.ShadowLogs`
    :param task: dag_id, run_id, task_id and map_index of the waiting task
    """

    def __init__(
        self,
        *,
        gateway_conn_id: str,
        holder: str,
        state: Mapping[str, Any],
        logs: Mapping[str, Any],
        task: Mapping[str, Any],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gateway_conn_id = gateway_conn_id
        self.holder = holder
        self.state = dict(state)
        self.logs = dict(logs)
        self.task_key = dict(task)

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.shadow.ShadowTrigger",
            {
                "gateway_conn_id": self.gateway_conn_id,
                "holder": self.holder,
                "state": self.state,
                "logs": self.logs,
                "task": self.task_key,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the task has to act."""
        state = self._state()
        try:
            state, message = await self._watch(state)
            event = ShadowEvent(kind="act", message=message, state=encode(state))
        except StaleWriteError as error:
            event = ShadowEvent(kind="lost", message=str(error), state=self.state)
        except Exception as error:
            # Without this the task would fail and the requests be copied with nobody looking.
            self.log.exception("The shadow of %s cannot be judged", state.model_name)
            event = ShadowEvent(kind="broken", message=f"{type(error).__name__}: {error}", state=self.state)
        yield TriggerEvent(to_payload(event))

    async def _watch(self, state: ShadowState) -> tuple[ShadowState, str]:
        """Return the state at the first look after which something has to be done, and what."""
        from airflow_mlops.hooks.shadow import ShadowLogs
        from airflow_mlops.rollout.pairing import Pairing

        shadowing = await self._open(state)
        log = decode(ShadowLogs, self.logs).open(state.model_name, since=state.started_at)
        pairing = Pairing(state.spec)
        while True:
            await asyncio.sleep(state.spec.look_seconds)
            try:
                state, plan = await asyncio.to_thread(shadowing.look, state, pairing, log)
            except TransientAdapterError as error:
                # The lease could not be read; if that lasts, it runs out and the watchdog ends the copies.
                self.log.warning("%s: %s", state.model_name, error)
                continue
            self.log.info("%s: %s: %s", state.model_name, plan.action, plan.reason)
            if plan.action != "hold":
                return state, plan.reason

    async def _open(self, state: ShadowState) -> Shadowing:
        from airflow_mlops.hooks.gateway import ModelGatewayHook
        from airflow_mlops.rollout.mirroring import Shadowing

        hook = await ModelGatewayHook.aopen(self.gateway_conn_id)
        return Shadowing(gateway=hook.gateway(), route=state.model_name, holder=self.holder)

    def _state(self) -> ShadowState:
        from airflow_mlops.rollout.shadow import ShadowState

        return decode(ShadowState, self.state)

    async def on_kill(self) -> None:
        """End the copies when a person ended or cleared the waiting task.

        Triggers that only move to another process are reported to come here too (Airflow issue 73454), so the task's
        state is asked first.
        """
        found = await self._task_state()
        if found in STILL_AT_WORK:
            self.log.info("the task is %s, the shadow goes on", found)
            return
        state = self._state()
        shadowing = await self._open(state)
        ended = await asyncio.to_thread(shadowing.give_back, state.token)
        self.log.info("%s: %s", state.model_name, "copies ended" if ended else "nothing was copied")

    async def _task_state(self) -> str | None:
        return await task_state(self.task_key)
