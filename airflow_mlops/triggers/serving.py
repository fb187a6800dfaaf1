"""Waiting for a model server without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.triggers.events import to_payload

__all__ = ["ModelServerReadyTrigger", "ServerEvent", "Waiting", "look"]


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """What is waited for, and how long.

    :param server: name of the server
    :param since: seconds since the epoch; what was reported before is about an earlier process of that name
    :param deadline: seconds since the epoch
    :param restarts: the server's restarts when the waiting began
    :param crashes: crashes after which the waiting ends; one alone may be somebody's kill
    """

    server: str
    since: float
    deadline: float
    restarts: int = 0
    crashes: int = 3


@dataclass(frozen=True, kw_only=True)
class ServerEvent:
    """The waiting is over.

    :param server: name of the server
    :param phase: what it came to
    :param port: TCP port of a server that is ready
    :param host: where it listens
    :param message: what a person should know where it is not ready
    """

    server: str
    phase: Literal["ready", "crashed", "timeout"]
    port: int | None = None
    host: str = "127.0.0.1"
    message: str = ""


def look(status: ServerStatus | None, waiting: Waiting, now: float, *, problem: str = "") -> ServerEvent | None:
    """Decide whether the waiting is over; None goes on.

    :param status: what the supervisor reports, None where it reports nothing
    :param problem: why its report could not be read
    """
    if status is not None and status.since >= waiting.since:
        if status.phase == "ready" and status.port is not None:
            return ServerEvent(server=waiting.server, phase="ready", port=status.port, host=status.host)
        crashes = status.restarts - waiting.restarts + 1
        if status.phase == "crashed" and crashes >= waiting.crashes:
            message = f"crashed {crashes} times; its last words: {status.message or 'none'}"
            return ServerEvent(server=waiting.server, phase="crashed", message=message)
    if now < waiting.deadline:
        return None
    if status is not None:
        seen = f"it is {status.phase}" + (f": {status.message}" if status.message else "")
    else:
        supervisor = "does the supervisor run? (`airflow mlops local status`)"
        seen = problem or f"nobody reports on it; {supervisor} In a cluster: was its Deployment deleted?"
    return ServerEvent(server=waiting.server, phase="timeout", message=seen)


class ModelServerReadyTrigger(BaseTrigger):
    """Fires when a model server is ready, keeps crashing, or time is over.

    :param gateway_conn_id: connection of the gateway
    :param waiting: an encoded :class:`Waiting`
    :param poll_seconds: time between two looks
    """

    def __init__(self, *, gateway_conn_id: str, waiting: dict[str, Any], poll_seconds: float = 0.5) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.gateway_conn_id = gateway_conn_id
        self.waiting = waiting
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.serving.ModelServerReadyTrigger",
            {"gateway_conn_id": self.gateway_conn_id, "waiting": self.waiting, "poll_seconds": self.poll_seconds},
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the waiting is over."""
        from airflow_mlops.hooks.gateway import ModelGatewayHook

        waiting = decode(Waiting, self.waiting)
        hook = await ModelGatewayHook.aopen(self.gateway_conn_id)
        fleet = hook.fleet()
        while True:
            event = await self._look(fleet, waiting)
            if event is not None:
                break
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent(to_payload(event))

    async def _look(self, fleet: ServerFleet, waiting: Waiting) -> ServerEvent | None:
        try:
            status = await asyncio.to_thread(fleet.status, waiting.server)
        except (MLOpsError, OSError) as error:
            # The supervisor writes it anew; until then nothing is known, and the deadline stands.
            self.log.warning("The status of %s cannot be read: %s", waiting.server, error)
            return look(None, waiting, time.time(), problem=str(error))
        return look(status, waiting, time.time())
