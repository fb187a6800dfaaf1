"""Waiting for data that somebody else delivers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.listing import list_files
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.triggers.data import DataReadyEvent, DataReadyTrigger
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.validation.readiness import Arrival, Readiness, Unchanged, look

__all__ = ["DataReadySensor"]

_SEEN = "mlops_data_seen"
#: How much later than the trigger Airflow itself gives up on it.
_GRACE_SECONDS = 300.0


class DataReadySensor(BaseSensorOperator):
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
    ui_color = "#e0f2f1"

    def __init__(
        self,
        *,
        uri: str,
        marker: str | None = None,
        quiet_seconds: float = 60.0,
        min_files: int = 1,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.uri = uri
        self.marker = marker
        self.quiet_seconds = quiet_seconds
        self.min_files = min_files
        self.deferrable = deferrable
        self._reason = "nothing was seen yet"

    def execute(self, context: Context) -> Any:
        """Look; in deferrable mode, go to sleep until there is something new to see."""
        if self.deferrable:
            return self._look_or_sleep(context, time.time() + self.timeout)
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self._too_late(self._reason)) from error
        except AirflowSkipException as error:
            if error.__cause__ is not None:  # soft_fail hides an error, not that time is over
                raise
            raise AirflowSkipException(self._too_late(self._reason)) from error

    @airflow_errors()
    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once."""
        found = self._look(context)
        if found is None or not found.ready:
            return False
        return PokeReturnValue(is_done=True, xcom_value=self._result(found))

    def resume(self, context: Context, event: Any) -> Any:
        """Come back from the trigger, and look again: what it saw may have changed since."""
        with airflow_errors():
            seen = from_payload(DataReadyEvent, event)
            if seen.kind == "refused":
                raise PermanentAdapterError(seen.message)
            if seen.kind == "timeout":
                raise AirflowSensorTimeout(self._too_late(seen.message))
            if seen.unchanged is None:
                raise ContractError("the trigger calls data ready that it has not seen")
            self._remember(context, seen.unchanged)
        return self._look_or_sleep(context, seen.deadline)

    def _look_or_sleep(self, context: Context, deadline: float) -> Any:
        with airflow_errors():
            found = self._look(context)
        if found is not None and found.ready:
            return self._result(found)
        if time.time() >= deadline:
            raise AirflowSensorTimeout(self._too_late(self._reason))
        return self.defer(
            trigger=DataReadyTrigger(
                arrival=encode(self._arrival()),
                unchanged=encode(found.unchanged if found is not None else None),
                deadline=deadline,
                poll_seconds=self.poke_interval,
            ),
            method_name="resume",
            timeout=timedelta(seconds=deadline - time.time() + self.poke_interval + _GRACE_SECONDS),
        )

    def _look(self, context: Context) -> Readiness | None:
        """Return what is there, None if the file system does not answer; the next look may be another process's."""
        arrival = self._arrival()
        try:
            files = list_files(arrival.uri)
        except TransientAdapterError as error:
            self._reason = str(error)
            self.log.warning("%s", error)
            return None
        known = context["task_state_store"].get(_SEEN)
        before = decode(Unchanged, known) if known else None
        found = look(arrival, files, before, time.time())
        self._reason = found.reason
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

    def _result(self, found: Readiness) -> dict[str, Any]:
        return {"uri": self.uri, "files": found.files, "size_bytes": found.size_bytes, "reason": found.reason}

    def _too_late(self, reason: str) -> str:
        return f"{self.uri}: the data were not complete within {self.timeout:g} seconds; last seen: {reason}"
