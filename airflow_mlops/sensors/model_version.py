"""Waiting for a version of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSensorTimeout

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.sensors.base import LookingSensor
from airflow_mlops.triggers.events import from_payload

if TYPE_CHECKING:
    from airflow_mlops.governance.awaited import Awaited, RegisteredVersion
    from airflow_mlops.triggers.model_version_wait import AwaitModelVersionTrigger

__all__ = ["ModelVersionSensor"]


class ModelVersionSensor(LookingSensor):
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

    def __init__(
        self,
        *,
        model_name: str,
        after_version: str | None = None,
        alias: str | None = None,
        tag: str | None = None,
        tag_value: str | None = None,
        mlflow_conn_id: str = "mlflow_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.after_version = after_version
        self.alias = alias
        self.tag = tag
        self.tag_value = tag_value
        self.mlflow_conn_id = mlflow_conn_id

    def resume(self, context: Context, event: Any) -> Any:
        """Come back from the trigger, and look again: an alias may have moved on since."""
        from airflow_mlops.triggers.model_version_wait import ModelVersionAwaited

        with airflow_errors():
            seen = from_payload(ModelVersionAwaited, event)
            if seen.kind == "refused":
                raise PermanentAdapterError(seen.message)
        if seen.kind == "timeout":
            raise AirflowSensorTimeout(self.too_late(seen.message))
        return self.look_or_sleep(context, seen.deadline)

    def look(self, context: Context) -> dict[str, Any] | None:  # noqa: ARG002 - Airflow's signature
        """Return the version if there is one."""
        from airflow_mlops.triggers.model_version_wait import look

        awaited = self._awaited()
        try:
            found = look(self.mlflow_conn_id, awaited)
        except TransientAdapterError as error:
            self.last_seen = str(error)
            self.log.warning("%s", error)
            return None
        self.last_seen = "there is none yet"
        self.log.info("Waiting for %s: %s", awaited.words, f"version {found.version}" if found else self.last_seen)
        return _result(found) if found is not None else None

    def trigger(self, deadline: float) -> AwaitModelVersionTrigger:
        """Return what waits for the version."""
        from airflow_mlops.triggers.model_version_wait import AwaitModelVersionTrigger

        return AwaitModelVersionTrigger(
            mlflow_conn_id=self.mlflow_conn_id,
            awaited=encode(self._awaited()),
            deadline=deadline,
            poll_seconds=self.poke_interval,
        )

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

    def too_late(self, last_seen: str) -> str:
        """Say what did not come in time."""
        return f"{self._awaited().words} did not come within {self.timeout:g} seconds; last seen: {last_seen}"


def _result(found: RegisteredVersion) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "model": encode(found.model),
        "tags": dict(found.tags),
        "run_id": found.run_id,
    }
