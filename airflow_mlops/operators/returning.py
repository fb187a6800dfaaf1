"""Operators some of whose arguments a function returns when the task runs."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, ClassVar

from airflow.sdk import Context
from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.operators.outcome import airflow_errors

__all__ = ["ReturnedTraining", "Returning"]


class Returning(DecoratedOperator):
    """An operator some of whose arguments a function returns when the task runs."""

    #: Arguments that the function may return, and whether it returns the first one itself, not a mapping.
    returned: ClassVar[tuple[str, ...]] = ()
    alone: ClassVar[bool] = True
    #: Those among them that must come from the function or from the decorator.
    required: ClassVar[tuple[str, ...]] = ()
    custom_operator_name: str
    #: What the function returned shows among the rendered fields.
    overwrite_rtif_after_execution = True

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        op_args: Collection[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if self.alone:
            given = sorted(set(kwargs) & set(self.returned))
            if given:
                raise TypeError(f"{self.custom_operator_name}: {given[0]} is what the function returns")
        absent = {name: None for name in self.returned if name not in kwargs}
        super().__init__(python_callable=python_callable, op_args=op_args, op_kwargs=op_kwargs, **{**absent, **kwargs})

    def execute(self, context: Context) -> Any:
        """Ask the function, then do the operator's work."""
        known = {**context, **self.op_kwargs}
        found = self.python_callable(*self.op_args, **determine_kwargs(self.python_callable, self.op_args, known))
        with airflow_errors():
            self._take({self.returned[0]: found} if self.alone else found)
        return super().execute(context)

    def _take(self, found: Any) -> None:
        where = f"what {self.python_callable.__name__} returned"
        accepted = f"a mapping with some of {', '.join(self.returned)}"
        if not isinstance(found, Mapping):
            raise SpecificationError(where, found, accepted)
        for name, value in found.items():
            if name not in self.returned:
                raise SpecificationError(f"{where}: {name}", value, accepted)
            setattr(self, str(name), value)
        for name in self.required:
            if getattr(self, name) is None:
                raise SpecificationError(name, None, f"a value, from {self.custom_operator_name} or from the function")


class ReturnedTraining(Returning):
    """A training whose data and settings a function returns; no operator itself."""

    returned = ("datasets", "parameters", "models", "entrypoint", "model_name")
    required = ("entrypoint", "datasets", "model_name")
    alone = False
    custom_operator_name = "@task.train"
