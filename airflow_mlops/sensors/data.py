"""Waiting for data that somebody else delivers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSensorTimeout

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.listing import list_files
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.sensors.base import LookingSensor
from airflow_mlops.triggers.data import DataReadyEvent, DataReadyTrigger
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.validation.readiness import Arrival, Readiness, Unchanged, look

__all__ = ["DataReadySensor"]

_SEEN = "mlops_data_seen"


class DataReadySensor(LookingSensor):
    """Wait until data have arrived and are complete.

    They are complete when a marker file lies beside them or, where no marker is expected, when names, lengths and
    versions of the files have not changed for a while, as seen from here. Nothing is read. Files whose name begins
    with ``.`` or ``_`` are no data: writers use such names for what is not finished.

    :param uri: a file or a folder, as an absolute path or a URI that ``ObjectStoragePath`` understands (templated)
    :param marker: path relative to ``uri`` of the file that says that the data are complete, for example
        ``_SUCCESS``; None if there is none (templated)
    :param quiet_seconds: for how long nothing may change where no marker is expected; choose ``poke_interval`` well
        below it, because what happens between two looks is not seen
    :param min_files: how many data files there must be at least; a marker without them is not enough
    :param deferrable: whether to wait without a worker; ``poke_interval`` and ``timeout`` hold there too
    :param multiple_outputs: whether each part of the result can be taken by its key
    :return: ``uri``, ``files`` (their number), ``size_bytes`` and ``reason``
    """

    template_fields: Sequence[str] = ("uri", "marker")

    def __init__(
        self,
        *,
        uri: str,
        marker: str | None = None,
        quiet_seconds: float = 60.0,
        min_files: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.uri = uri
        self.marker = marker
        self.quiet_seconds = quiet_seconds
        self.min_files = min_files
        self._unchanged: Unchanged | None = None

    def resume(self, context: Context, event: Any) -> Any:
        """Come back from the trigger, and look again: what it saw may have changed since."""
        with airflow_errors():
            seen = from_payload(DataReadyEvent, event)
            if seen.kind == "refused":
                raise PermanentAdapterError(seen.message)
            if seen.kind == "timeout":
                raise AirflowSensorTimeout(self.too_late(seen.message))
            if seen.unchanged is None:
                raise ContractError("the trigger calls data ready that it has not seen")
            self._remember(context, seen.unchanged)
        return self.look_or_sleep(context, seen.deadline)

    def look(self, context: Context) -> dict[str, Any] | None:
        """Return what is there if it is complete."""
        found = self._look(context)
        self._unchanged = found.unchanged if found is not None else None
        if found is None or not found.ready:
            return None
        return {"uri": self.uri, "files": found.files, "size_bytes": found.size_bytes, "reason": found.reason}

    def trigger(self, deadline: float) -> DataReadyTrigger:
        """Return what waits for something new."""
        return DataReadyTrigger(
            arrival=encode(self._arrival()),
            unchanged=encode(self._unchanged),
            deadline=deadline,
            poll_seconds=self.poke_interval,
        )

    def _look(self, context: Context) -> Readiness | None:
        """Return what is there, None if the file system does not answer; the next look may be another process's."""
        arrival = self._arrival()
        try:
            files = list_files(arrival.uri)
        except TransientAdapterError as error:
            self.last_seen = str(error)
            self.log.warning("%s", error)
            return None
        known = context["task_state_store"].get(_SEEN)
        before = decode(Unchanged, known) if known else None
        found = look(arrival, files, before, time.time())
        self.last_seen = found.reason
        self.log.info("%s: %s", arrival.uri, found.reason)
        if found.unchanged != before:
            self._remember(context, found.unchanged)
        return found

    def _remember(self, context: Context, unchanged: Unchanged | None) -> None:
        # An empty mapping, not None: the store keeps values only.
        context["task_state_store"].set(_SEEN, encode(unchanged) if unchanged is not None else {})

    def _arrival(self) -> Arrival:
        return Arrival(
            uri=self.uri, marker=self.marker or None, quiet_seconds=self.quiet_seconds, min_files=self.min_files
        )

    def too_late(self, last_seen: str) -> str:
        """Say what did not come in time."""
        return f"{self.uri}: the data were not complete within {self.timeout:g} seconds; last seen: {last_seen}"
