"""Waiting for data without a worker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent
from asgiref.sync import sync_to_async

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.listing import list_files
from airflow_mlops.triggers.events import to_payload
from airflow_mlops.validation.readiness import Arrival, Unchanged, look

__all__ = ["DataReadyEvent", "DataReadyTrigger"]


@dataclass(frozen=True, kw_only=True)
class DataReadyEvent:
    """The waiting is over.

    :param kind: ``ready``, or ``timeout`` when time is over, or ``refused`` when looking is
    :param message: what was seen last
    :param deadline: seconds since the epoch at which time is over
    :param unchanged: since when the files have been as they are
    """

    kind: Literal["ready", "timeout", "refused"]
    message: str
    deadline: float
    unchanged: Unchanged | None = None


class DataReadyTrigger(BaseTrigger):
    """Fires when data are ready, or time is over.

    :param arrival: an encoded :class:`~airflow_mlops.validation.readiness.Arrival`
    :param unchanged: an encoded :class:`~airflow_mlops.validation.readiness.Unchanged` of the task's own look; None if
        it saw no data
    :param deadline: seconds since the epoch
    :param poll_seconds: time between two looks
    """

    def __init__(
        self, *, arrival: dict[str, Any], unchanged: dict[str, Any] | None, deadline: float, poll_seconds: float
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.arrival = arrival
        self.unchanged = unchanged
        self.deadline = deadline
        self.poll_seconds = poll_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.data.DataReadyTrigger",
            {
                "arrival": self.arrival,
                "unchanged": self.unchanged,
                "deadline": self.deadline,
                "poll_seconds": self.poll_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the waiting is over; a triggerer that starts anew looks anew, and the quiet time begins again."""
        arrival = decode(Arrival, self.arrival)
        before = decode(Unchanged, self.unchanged) if self.unchanged is not None else None
        reason = "nothing was seen yet"
        while True:
            await asyncio.sleep(self.poll_seconds)
            try:
                # In a thread of asgiref's, because Airflow reads connections through this loop.
                files = await sync_to_async(list_files, thread_sensitive=False)(arrival.uri)
            except TransientAdapterError as error:
                self.log.warning("%s", error)
                reason = str(error)
            except PermanentAdapterError as error:
                event = DataReadyEvent(kind="refused", message=str(error), deadline=self.deadline)
                break
            else:
                found = look(arrival, files, before, time.time())
                before, reason = found.unchanged, found.reason
                self.log.info("%s: %s", arrival.uri, reason)
                if found.ready:
                    event = DataReadyEvent(kind="ready", message=reason, deadline=self.deadline, unchanged=before)
                    break
            if time.time() >= self.deadline:
                event = DataReadyEvent(kind="timeout", message=reason, deadline=self.deadline)
                break
        yield TriggerEvent(to_payload(event))
