"""Waiting for the end of a rollout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.hooks.gateway import ModelGatewayHook
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.sensors.base import LookingSensor
from airflow_mlops.triggers.events import from_payload

if TYPE_CHECKING:
    from airflow_mlops.rollout.ending import Ending
    from airflow_mlops.triggers.rollout_end import RolloutEndTrigger

__all__ = ["RolloutSensor"]

_EXPECTED = ("promoted", "rolled_back", "any")


class RolloutSensor(LookingSensor):
    """Wait until a route's rollout is over, and say how it ended.

    It reads what is stored beside the route, so it does not matter which DAG, or which Airflow, moves the traffic.
    A rollout that has not begun yet is waited for. It succeeds when the rollout ended as expected, and fails without a
    retry, with the rollout's own reason, when it ended otherwise.

    It is the post-check that begins when all is over. A check that has to pass before any traffic moves is a task
    before the rollout, and one that follows a promotion a task behind it::

        smoke = CheckModelServerOperator(task_id="smoke", server_name=candidate, ...)
        canary = CanaryRolloutOperator(task_id="canary", model_name="flights", candidate=candidate, spec="rollout.yaml")
        tell = RegisterModelOperator(task_id="tell", ...)  # only after a promotion
        ended = RolloutSensor(task_id="ended", model_name="flights", candidate=candidate, expected="any",
                              trigger_rule="all_done")
        clean = StopModelServersOperator(task_id="clean", ...)  # after any end, also if the canary failed
        smoke >> canary >> tell
        canary >> ended >> clean

    Returns ``outcome`` (``promoted`` or ``rolled_back``), ``candidate``, ``stable``, ``weights``, ``reason`` and
    ``ended_at``.

    :param model_name: the model, which is the route (templated)
    :param candidate: model server whose rollout it is; None for the route's newest, which may have ended long ago
        (templated)
    :param expected: ``promoted``, ``rolled_back`` or ``any`` (templated)
    :param gateway_conn_id: connection of the gateway (templated)
    :param deferrable: whether to wait without a worker; ``poke_interval`` and ``timeout`` hold there too
    :param multiple_outputs: whether each part of the result can be taken by its key
    """

    template_fields: Sequence[str] = ("model_name", "candidate", "expected", "gateway_conn_id")
    ui_color = "#e8f5e9"

    def __init__(
        self,
        *,
        model_name: str,
        candidate: str | None = None,
        expected: str = "promoted",
        gateway_conn_id: str = ModelGatewayHook.default_conn_name,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.candidate = candidate
        self.expected = expected
        self.gateway_conn_id = gateway_conn_id

    def execute(self, context: Context) -> Any:
        """Look; in deferrable mode, go to sleep until it is over."""
        with airflow_errors():
            if self.expected not in _EXPECTED:
                raise SpecificationError("expected", self.expected, "one of " + ", ".join(map(repr, _EXPECTED)))
        return super().execute(context)

    def resume(self, context: Context, event: Any) -> Any:
        """Come back from the trigger, and look again: the next rollout may have begun since."""
        from airflow_mlops.triggers.rollout_end import RolloutEnded

        with airflow_errors():
            seen = from_payload(RolloutEnded, event)
            if seen.kind == "refused":
                raise PermanentAdapterError(seen.message)
        if seen.kind == "timeout":
            raise AirflowSensorTimeout(self.too_late(seen.message))
        return self.look_or_sleep(context, seen.deadline)

    def look(self, context: Context) -> dict[str, Any] | None:  # noqa: ARG002 - Airflow's signature
        """Return how the rollout ended if it has."""
        from airflow_mlops.triggers.rollout_end import look

        try:
            found, self.last_seen = look(
                ModelGatewayHook(self.gateway_conn_id).store(), self.model_name, self.candidate or None
            )
        except TransientAdapterError as error:
            found, self.last_seen = None, str(error)
        self.log.info("Rollout of %s: %s", self._whose, self.last_seen)
        return self._result(found) if found is not None else None

    def trigger(self, deadline: float) -> RolloutEndTrigger:
        """Return what waits for the end."""
        from airflow_mlops.triggers.rollout_end import RolloutEndTrigger

        return RolloutEndTrigger(
            gateway_conn_id=self.gateway_conn_id,
            route=self.model_name,
            candidate=self.candidate or None,
            deadline=deadline,
            poll_seconds=self.poke_interval,
        )

    def _result(self, found: Ending) -> dict[str, Any]:
        if self.expected not in ("any", found.outcome):
            ended = found.outcome.replace("_", " ")
            raise AirflowFailException(
                f"the rollout of {found.candidate} on route {self.model_name} was {ended}, not "
                f"{self.expected.replace('_', ' ')}: {found.reason}"
            )
        return dict(encode(found))

    @property
    def _whose(self) -> str:
        return f"{self.candidate} on route {self.model_name}" if self.candidate else f"route {self.model_name}"

    def too_late(self, last_seen: str) -> str:
        """Say what did not come in time."""
        return f"the rollout of {self._whose} was not over within {self.timeout:g} seconds; last seen: {last_seen}"
