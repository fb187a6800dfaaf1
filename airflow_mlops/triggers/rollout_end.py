"""Waiting for the end of a rollout without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.exceptions import MLOpsError, TransientAdapterError
from airflow_mlops.triggers.events import to_payload
from airflow_mlops.triggers.threads import in_thread

if TYPE_CHECKING:
    from airflow_mlops.rollout.ending import Ending
    from airflow_mlops.rollout.ports import RolloutStore

__all__ = ["RolloutEndTrigger", "RolloutEnded", "look"]


@dataclass(frozen=True, kw_only=True)
class RolloutEnded:
    """The waiting is over.

    :param kind: ``ended``, or ``timeout`` when time is over, or ``refused`` when looking is
    :param message: what was seen last
    :param deadline: seconds since the epoch at which time is over
    """

    kind: Literal["ended", "timeout", "refused"]
    message: str
    deadline: float


def look(store: RolloutStore, route: str, candidate: str | None) -> tuple[Ending | None, str]:
    """Return how a rollout ended, None while it has not, and what was seen in words."""
    from airflow_mlops.rollout.ending import ending

    lease = store.load(route)
    found = ending(lease, now=time.time(), candidate=candidate)
    if found is not None:
        return found, f"{found.outcome.replace('_', ' ')}: {found.reason}"
    if lease is None:
        return None, "there was none yet"
    held = f"held by {lease.holder}" if lease.holder else "held by nobody"
    return None, f"{held}; {'nothing is stored yet' if lease.state is None else lease.state.reason}"


class RolloutEndTrigger(BaseTrigger):
    """Fires when a route's rollout is over, or time is.

    :param gateway_conn_id: connection of the gateway
    :param route: the route, which is the model's name
    :param candidate: target whose rollout it is; None for the newest of any
    :param deadline: seconds since the epoch
    :param poll_seconds: time between two looks
    """

    def __init__(
        self, *, gateway_conn_id: str, route: str, candidate: str | None, deadline: float, poll_seconds: float
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gateway_conn_id = gateway_conn_id
        self.route = route
        self.candidate = candidate
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.rollout_end.RolloutEndTrigger",
            {
                "gateway_conn_id": self.gateway_conn_id,
                "route": self.route,
                "candidate": self.candidate,
                "deadline": self.deadline,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the waiting is over."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        try:
            store = await in_thread((await ModelGatewayHook.aopen(self.gateway_conn_id)).store)
            event = None
            while event is None:
                await asyncio.sleep(self.poll_seconds)
                event = await self._look(store)
        except MLOpsError as error:
            event = self._event("refused", str(error))
        yield TriggerEvent(to_payload(event))

    async def _look(self, store: RolloutStore) -> RolloutEnded | None:
        try:
            found, seen = await in_thread(look, store, self.route, self.candidate)
        except TransientAdapterError as error:
            self.log.warning("%s", error)
            found, seen = None, str(error)
        if found is not None:
            return self._event("ended", seen)
        return self._event("timeout", seen) if time.time() >= self.deadline else None

    def _event(self, kind: Any, message: str) -> RolloutEnded:
        return RolloutEnded(kind=kind, message=message, deadline=self.deadline)
