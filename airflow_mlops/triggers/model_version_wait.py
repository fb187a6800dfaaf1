"""Waiting for a version of a model without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import MLOpsError, TransientAdapterError
from airflow_mlops.triggers.events import to_payload

if TYPE_CHECKING:
    from airflow_mlops.governance.awaited import Awaited, RegisteredVersion

__all__ = ["AwaitModelVersionTrigger", "ModelVersionAwaited", "look"]


@dataclass(frozen=True, kw_only=True)
class ModelVersionAwaited:
    """The waiting is over.

    :param kind: ``found``, or ``timeout`` when time is over, or ``refused`` when looking is
    :param message: what was seen last
    :param deadline: seconds since the epoch at which time is over
    """

    kind: Literal["found", "timeout", "refused"]
    message: str
    deadline: float


def look(conn_id: str, awaited: Awaited) -> RegisteredVersion | None:
    """Look once for a version that somebody waits for; None if there is none."""
    from airflow_mlops.hooks.mlflow import MLflowHook

    if awaited.alias is not None:
        seen = MLflowHook(conn_id).look(awaited.model_name, newest=0)
    else:
        after = int(awaited.after_version or 0)
        seen = MLflowHook(conn_id).look(awaited.model_name, after=after, newest=None if awaited.tag else 100)
    return awaited.found(seen)


class AwaitModelVersionTrigger(BaseTrigger):
    """Fires when a model has the version that a task waits for, or time is over.

    :param mlflow_conn_id: connection of type ``mlflow``
    :param awaited: an encoded :class:`~airflow_mlops.governance.awaited.Awaited`
    :param deadline: seconds since the epoch
    :param poll_seconds: time between two looks
    """

    def __init__(self, *, mlflow_conn_id: str, awaited: dict[str, Any], deadline: float, poll_seconds: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.mlflow_conn_id = mlflow_conn_id
        self.awaited = awaited
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.model_version_wait.AwaitModelVersionTrigger",
            {
                "mlflow_conn_id": self.mlflow_conn_id,
                "awaited": self.awaited,
                "deadline": self.deadline,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the waiting is over."""
        from airflow_mlops.governance.awaited import Awaited

        awaited = decode(Awaited, self.awaited)
        while True:
            await asyncio.sleep(self.poll_seconds)
            reason = "there is none yet"
            try:
                # In a thread of asgiref's, because Airflow reads connections through this loop.
                found = await sync_to_async(look, thread_sensitive=False)(self.mlflow_conn_id, awaited)
            except TransientAdapterError as error:
                self.log.warning("%s", error)
                reason = str(error)
            except MLOpsError as error:
                event = ModelVersionAwaited(kind="refused", message=str(error), deadline=self.deadline)
                break
            else:
                if found is not None:
                    event = ModelVersionAwaited(kind="found", message=found.version, deadline=self.deadline)
                    break
            if time.time() >= self.deadline:
                event = ModelVersionAwaited(kind="timeout", message=reason, deadline=self.deadline)
                break
        yield TriggerEvent(to_payload(event))
