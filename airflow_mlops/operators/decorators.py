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

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, task_decorator_factory

from airflow_mlops.operators.backends import train
from airflow_mlops.operators.docker import TrainInDockerOperator
from airflow_mlops.operators.gate import ModelGateOperator
from airflow_mlops.operators.returning import ReturnedTraining, Returning
from airflow_mlops.operators.training import TrainLocallyOperator
from airflow_mlops.operators.validation import ValidateDataOperator

if TYPE_CHECKING:
    from airflow.sdk.bases.decorator import TaskDecorator

__all__ = ["gate_task", "train_task", "validate_task"]


class _ValidateDecorated(Returning, ValidateDataOperator):
    returned = ("dataset",)
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ValidateDataOperator.template_fields)
    custom_operator_name = "@task.validate"


class _GateDecorated(Returning, ModelGateOperator):
    returned = ("evaluation",)
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *ModelGateOperator.template_fields)
    custom_operator_name = "@task.gate"


class _TrainDecorated(ReturnedTraining, TrainLocallyOperator):
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainLocallyOperator.template_fields)


class _TrainInDockerDecorated(ReturnedTraining, TrainInDockerOperator):
    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainInDockerOperator.template_fields)


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

    The backend is one argument or one setting, and the function stays as it is. A deferred task does not ask the
    function again when it resumes: the pod was given what it returned.

    :param python_callable: returns a mapping with some of the operator's arguments: ``datasets``, ``parameters``,
        ``models``, ``entrypoint``, ``model_name``; what it returns replaces what the decorator says
    :param multiple_outputs: whether each value of the result can be taken by its key; None for yes
    :param backend: ``local``, ``docker`` or ``kubernetes``; None for the variable MLOPS_BACKEND or the option
        ``[mlops] backend``
    :param kwargs: the operator's other arguments
    :raises SpecificationError: if the backend or its settings are wrong
    """
    operator, adapted = train.choose(backend, kwargs)
    decorated: type[Any] | None = {
        TrainLocallyOperator: _TrainDecorated,
        TrainInDockerOperator: _TrainInDockerDecorated,
    }.get(operator)
    if decorated is None:
        # Its base class costs a second to import, which only those pay who train in pods.
        from airflow_mlops.operators.kubernetes_decorated import TrainOnKubernetesDecorated

        decorated = TrainOnKubernetesDecorated
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
