"""``@task.validate``, ``@task.train`` and ``@task.gate``: a function says what varies, the decorator all else.

.. code-block:: python

    from airflow.sdk import dag, task


    @dag(schedule=None)
    def release():
        @task.validate(suite="suite.yaml")
        def check(month):
            return snapshot_of(month)

        @task.train(entrypoint="train.py", model_name="flights")
        def train(checked):
            return {"datasets": {"train": [checked["dataset"]]}, "parameters": {"depth": 3}}

        @task.gate(policy="gate.yaml", model_name="flights")
        def gate(evaluation):
            return evaluation

The function runs in the task, right before the operator's own work; its result is taken as it is, never rendered as a
template. The task returns what the operator returns, and maps with ``partial`` and ``expand`` over the function's
arguments. All further arguments of the operators can be given to the decorators.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import Context
from airflow.sdk.bases.decorator import DecoratedOperator, determine_kwargs, task_decorator_factory

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.operators.backends import train
from airflow_mlops.operators.docker import TrainInDockerOperator
from airflow_mlops.operators.gate import ModelGateOperator
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.operators.training import TrainLocallyOperator
from airflow_mlops.operators.validation import ValidateDataOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator

__all__ = ["gate_task", "train_task", "validate_task"]

_TRAINED = ("datasets", "parameters", "models", "entrypoint", "model_name")


class _Returning(DecoratedOperator):
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


class _ValidateDecorated(_Returning, ValidateDataOperator):
    returned = ("dataset",)
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ValidateDataOperator.template_fields)
    custom_operator_name = "@task.validate"


class _GateDecorated(_Returning, ModelGateOperator):
    returned = ("evaluation",)
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ModelGateOperator.template_fields)
    custom_operator_name = "@task.gate"


class _TrainDecorated(_Returning, TrainLocallyOperator):
    returned = _TRAINED
    required = ("entrypoint", "datasets", "model_name")
    alone = False
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainLocallyOperator.template_fields)
    custom_operator_name = "@task.train"


class _TrainInDockerDecorated(_Returning, TrainInDockerOperator):
    returned = _TRAINED
    required = _TrainDecorated.required
    alone = False
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainInDockerOperator.template_fields)
    custom_operator_name = "@task.train"


def validate_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Check the dataset that the function returns, as :class:`~airflow_mlops.operators.ValidateDataOperator` does.

    :param python_callable: returns an encoded :class:`~airflow_mlops.references.DatasetRef`
    :param multiple_outputs: whether each value of the result can be taken by its key; None for yes
    :param kwargs: the operator's other arguments; ``suite`` is required
    """
    return _decorator(_ValidateDecorated, python_callable, multiple_outputs, kwargs)


def train_task(
    python_callable: Callable[..., Any] | None = None,
    multiple_outputs: bool | None = None,
    *,
    backend: str | None = None,
    **kwargs: Any,
) -> TaskDecorator:
    """Train with what the function returns, where :mod:`airflow_mlops.operators.backends` would.

    Pods are made by ``backends.train`` itself: what a function returned is gone when a deferred task resumes.

    :param python_callable: returns a mapping with some of the operator's arguments: ``datasets``, ``parameters``,
        ``models``, ``entrypoint``, ``model_name``; what it returns replaces what the decorator says
    :param multiple_outputs: whether each value of the result can be taken by its key; None for yes
    :param backend: ``local`` or ``docker``; None for the variable MLOPS_BACKEND or the option ``[mlops] backend``
    :param kwargs: the operator's other arguments
    :raises SpecificationError: if the backend is another one, or its settings are wrong
    """
    operator, adapted = train.choose(backend, kwargs)
    decorated = {TrainLocallyOperator: _TrainDecorated, TrainInDockerOperator: _TrainInDockerDecorated}.get(operator)
    if decorated is None:
        raise SpecificationError("@task.train", operator.__name__, "the backend local or docker")
    return _decorator(decorated, python_callable, multiple_outputs, adapted)


def gate_task(
    python_callable: Callable[..., Any] | None = None, multiple_outputs: bool | None = None, **kwargs: Any
) -> TaskDecorator:
    """Judge the evaluation that the function returns, as :class:`~airflow_mlops.operators.ModelGateOperator` does.

    :param python_callable: returns what ``EvaluateModelOperator`` returned
    :param multiple_outputs: whether each value of the result can be taken by its key; None for yes
    :param kwargs: the operator's other arguments; ``policy`` and ``model_name`` are required
    """
    return _decorator(_GateDecorated, python_callable, multiple_outputs, kwargs)


def _decorator(
    operator: type[Any],
    python_callable: Callable[..., Any] | None,
    multiple_outputs: bool | None,
    kwargs: Mapping[str, Any],
) -> TaskDecorator:
    return task_decorator_factory(
        python_callable=python_callable,
        multiple_outputs=True if multiple_outputs is None else multiple_outputs,
        decorated_operator_class=operator,
        **kwargs,
    )
