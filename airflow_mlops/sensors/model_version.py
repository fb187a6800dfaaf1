"""Waiting for a version of a model."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.triggers.events import from_payload

if TYPE_CHECKING:
    from airflow_mlops.governance.awaited import Awaited, RegisteredVersion

__all__ = ["ModelVersionSensor"]

#: How much later than the trigger Airflow itself gives up on it.
_GRACE_SECONDS = 300.0


class ModelVersionSensor(BaseSensorOperator):
    """Wait until a registered model has a certain version, and return it.

    Returns the version: ``{"name", "version", "model", "tags", "run_id"}``; ``model`` is None if it was registered by
    something that does not say where its files are. Of several that fit, the newest. A model that does not exist yet is
    waited for.

    :param model_name: name of the registered model (templated)
    :param after_version: without an alias, the version has a higher number than this; with one, another. None is
        content with any (templated)
    :param alias: ``champion`` or ``challenger``: the version is the one that it names; None for any version (templated)
    :param tag: key of a tag that the version carries, with a value; None for none (templated)
    :param tag_value: what the tag says, None for anything (templated)
    :param mlflow_conn_id: connection of type ``mlflow``
    :param deferrable: whether to wait without a worker; ``poke_interval`` and ``timeout`` hold there too
    :param multiple_outputs: whether each part of the result can be taken by its key
    """

    template_fields: Sequence[str] = ("model_name", "after_version", "alias", "tag", "tag_value")
    ui_color = "#e0f2f1"

    def __init__(
        self,
        *,
        model_name: str,
        after_version: str | None = None,
        alias: str | None = None,
        tag: str | None = None,
        tag_value: str | None = None,
        mlflow_conn_id: str = "mlflow_default",
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.model_name = model_name
        self.after_version = after_version
        self.alias = alias
        self.tag = tag
        self.tag_value = tag_value
        self.mlflow_conn_id = mlflow_conn_id
        self.deferrable = deferrable
        self._reason = "there is none yet"

    def execute(self, context: Context) -> Any:
        """Look; in deferrable mode, go to sleep until there is something to see."""
        if self.deferrable:
            return self._look_or_sleep(time.time() + self.timeout)
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self._too_late(self._reason)) from error
        except AirflowSkipException as error:
            if error.__cause__ is not None:  # soft_fail hides an error, not that time is over
                raise
            raise AirflowSkipException(self._too_late(self._reason)) from error

    @airflow_errors()
    def poke(self, context: Context) -> PokeReturnValue | bool:  # noqa: ARG002 - Airflow's signature
        """Look once."""
        found = self._look()
        return PokeReturnValue(is_done=True, xcom_value=_result(found)) if found is not None else False

    def resume(self, context: Context, event: Any) -> Any:  # noqa: ARG002 - Airflow's signature
        """Come back from the trigger, and look again: an alias may have moved on since."""
        from airflow_mlops.triggers.model_version_wait import ModelVersionAwaited

        with airflow_errors():
            seen = from_payload(ModelVersionAwaited, event)
            if seen.kind == "refused":
                raise PermanentAdapterError(seen.message)
        if seen.kind == "timeout":
            raise AirflowSensorTimeout(self._too_late(seen.message))
        return self._look_or_sleep(seen.deadline)

    def _look_or_sleep(self, deadline: float) -> Any:
        from airflow_mlops.triggers.model_version_wait import AwaitModelVersionTrigger

        with airflow_errors():
            found = self._look()
            awaited = encode(self._awaited())
        if found is not None:
            return _result(found)
        if time.time() >= deadline:
            raise AirflowSensorTimeout(self._too_late(self._reason))
        return self.defer(
            trigger=AwaitModelVersionTrigger(
                mlflow_conn_id=self.mlflow_conn_id,
                awaited=awaited,
                deadline=deadline,
                poll_seconds=self.poke_interval,
            ),
            method_name="resume",
            timeout=timedelta(seconds=deadline - time.time() + self.poke_interval + _GRACE_SECONDS),
        )

    def _look(self) -> RegisteredVersion | None:
        from airflow_mlops.triggers.model_version_wait import look

        awaited = self._awaited()
        try:
            found = look(self.mlflow_conn_id, awaited)
        except TransientAdapterError as error:
            self._reason = str(error)
            self.log.warning("%s", error)
            return None
        self._reason = "there is none yet"
        self.log.info("Waiting for %s: %s", awaited.words, f"version {found.version}" if found else self._reason)
        return found

    def _awaited(self) -> Awaited:
        from airflow_mlops.governance.awaited import Awaited

        after = self.after_version
        return Awaited(
            model_name=self.model_name,
            after_version=None if after in (None, "", "None") else str(after),
            alias=self.alias or None,
            tag=self.tag or None,
            tag_value=self.tag_value,
        )

    def _too_late(self, reason: str) -> str:
        return f"{self._awaited().words} did not come within {self.timeout:g} seconds; last seen: {reason}"


def _result(found: RegisteredVersion) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "model": encode(found.model),
        "tags": dict(found.tags),
        "run_id": found.run_id,
    }
