"""What the sensors of this package have in common: they look, and sleep in the triggerer between looks."""

from __future__ import annotations

import time
from abc import abstractmethod
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator, Context, PokeReturnValue
from airflow.sdk.configuration import conf
from airflow.sdk.exceptions import AirflowSensorTimeout, AirflowSkipException

from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

__all__ = ["LookingSensor"]

#: How much later than the trigger Airflow itself gives up on it.
_GRACE_SECONDS = 300.0


class LookingSensor(BaseSensorOperator):
    """A sensor that says what it last saw when its time is over, with a worker or without.

    A subclass looks, makes the trigger, and takes up what the trigger saw in a method ``resume``, which ends with
    ``return self.look_or_sleep(context, deadline)``: what was seen may have changed since.

    :param deferrable: whether to wait without a worker; ``poke_interval`` and ``timeout`` hold there too
    :param multiple_outputs: whether each part of the result can be taken by its key
    """

    ui_color = "#e0f2f1"

    def __init__(
        self,
        *,
        deferrable: bool = conf.getboolean("operators", "default_deferrable", fallback=False),
        multiple_outputs: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(multiple_outputs=multiple_outputs, **kwargs)
        self.deferrable = deferrable
        self.last_seen = "nothing was seen yet"

    @abstractmethod
    def look(self, context: Context) -> Any:
        """Return the task's result, None while there is none; ``last_seen`` says why."""

    @abstractmethod
    def trigger(self, deadline: float) -> BaseTrigger:
        """Return what waits without a worker after a look that found nothing."""

    @abstractmethod
    def too_late(self, last_seen: str) -> str:
        """Say what did not come in time."""

    def execute(self, context: Context) -> Any:
        """Look; in deferrable mode, go to sleep until there is something new to see."""
        if self.deferrable:
            return self.look_or_sleep(context, time.time() + self.timeout)
        try:
            return super().execute(context)
        except AirflowSensorTimeout as error:
            raise AirflowSensorTimeout(self.too_late(self.last_seen)) from error
        except AirflowSkipException as error:
            if error.__cause__ is not None:  # soft_fail hides an error, not that time is over
                raise
            raise AirflowSkipException(self.too_late(self.last_seen)) from error

    @airflow_errors()
    def poke(self, context: Context) -> PokeReturnValue | bool:
        """Look once."""
        found = self.look(context)
        return False if found is None else PokeReturnValue(is_done=True, xcom_value=found)

    def look_or_sleep(self, context: Context, deadline: float) -> Any:
        """Look once more, then end, give up or go back to sleep.

        :param deadline: when the sensor gives up, seconds since the epoch
        """
        with airflow_errors():
            found = self.look(context)
            trigger = self.trigger(deadline)
        if found is not None:
            return found
        if time.time() >= deadline:
            raise AirflowSensorTimeout(self.too_late(self.last_seen))
        return self.defer(
            trigger=trigger,
            method_name="resume",
            timeout=timedelta(seconds=deadline - time.time() + self.poke_interval + _GRACE_SECONDS),
        )
