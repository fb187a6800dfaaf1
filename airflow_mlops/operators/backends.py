"""The same task wherever jobs run: a DAG says what to do, a setting says where.

.. code-block:: python

    from airflow_mlops.operators.backends import evaluate, train

    trained = train(task_id="train", entrypoint="train.py", datasets={"train": [...]}, model_name="flights")

With ``MLOPS_BACKEND=kubernetes`` this is a pod, with ``docker`` a container, else a process of the model environment.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.backends import backend_settings, job_backend
from airflow_mlops.training.backends import Backend, check_settings, read_backend

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.definitions.mappedoperator import OperatorPartial

__all__ = ["Job", "evaluate", "train"]

#: Fields whose arguments are called otherwise by Airflow's pod operator.
_ON_KUBERNETES = {"poll_interval_seconds": "poll_interval"}


@dataclass(frozen=True)
class Job:
    """Makes the task of one kind of job, as an operator of the chosen backend.

    Called with the arguments that the operators of all backends have in common, those of the local one but
    ``python``, and these:

    - ``backend``: ``local``, ``docker`` or ``kubernetes``; None for the variable MLOPS_BACKEND or the option
      ``[mlops] backend``
    - ``docker``, ``kubernetes``: fields of :class:`~airflow_mlops.training.backends.DockerSettings` and
      :class:`~airflow_mlops.training.backends.KubernetesSettings` that are different for this task; each replaces
      the one that is set by the variable MLOPS_DOCKER or MLOPS_KUBERNETES, or by the option of the same name

    ``timeout_seconds`` becomes the pod's deadline and ``environment`` its variables. A pod gets no credentials from a
    connection; ``pod_resources.secrets`` names those that it needs.

    Settings are read when the DAG is parsed, because they decide what the task is. Nothing else is.

    :param operators: name of the operator by backend
    """

    operators: Mapping[Backend, str]

    def __call__(self, *, backend: str | None = None, **arguments: Any) -> BaseOperator:
        """Make the task.

        :raises SpecificationError: if the backend or its settings are wrong
        """
        operator, adapted = self.choose(backend, arguments)
        made: BaseOperator = operator(**adapted)
        return made

    def partial(self, *, backend: str | None = None, **arguments: Any) -> OperatorPartial:
        """Make the task's fixed part, to be expanded over arguments that all backends have.

        :raises SpecificationError: if the backend or its settings are wrong
        """
        operator, adapted = self.choose(backend, arguments)
        made: OperatorPartial = operator.partial(**adapted)
        return made

    def choose(self, backend: str | None, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the chosen backend's operator and the arguments as it takes them.

        :raises SpecificationError: if the backend or its settings are wrong
        """
        chosen = job_backend() if backend is None else read_backend(backend, where="backend")
        here = {one: dict(arguments.get(one.value) or {}) for one in (Backend.DOCKER, Backend.KUBERNETES)}
        common = {name: value for name, value in arguments.items() if name not in {one.value for one in here}}
        given, where = backend_settings(chosen)
        given |= here.get(chosen, {})
        if chosen is not Backend.LOCAL and not given:
            raise SpecificationError(
                where,
                None,
                f'its settings, for example {{"image": "mlops-trainer:1"}}: set MLOPS_{chosen.name}, '
                f"AIRFLOW__MLOPS__{chosen.name}, the option or this task's argument {chosen.value}",
            )
        placed = check_settings(chosen, given, where=where)
        if chosen is Backend.KUBERNETES:
            placed = {_ON_KUBERNETES.get(name, name): value for name, value in placed.items()}
            common = _for_a_pod(**common)
        operator = getattr(import_module("airflow_mlops.operators"), self.operators[chosen])
        return operator, {**placed, **common}


def _for_a_pod(
    *, timeout_seconds: float = 3600, environment: Mapping[str, str] | None = None, **others: Any
) -> dict[str, Any]:
    return {
        "active_deadline_seconds": math.ceil(timeout_seconds),
        "env_vars": {"MLFLOW_DISABLE_TELEMETRY": "true", **(environment or {})},
        **others,
    }


#: Trains a model; see :class:`~airflow_mlops.operators.training.TrainLocallyOperator`.
train = Job(
    {
        Backend.LOCAL: "TrainLocallyOperator",
        Backend.DOCKER: "TrainInDockerOperator",
        Backend.KUBERNETES: "TrainOnKubernetesOperator",
    }
)

#: Measures a model; see :class:`~airflow_mlops.operators.evaluation.EvaluateModelOperator`.
evaluate = Job(
    {
        Backend.LOCAL: "EvaluateModelOperator",
        Backend.DOCKER: "EvaluateInDockerOperator",
        Backend.KUBERNETES: "EvaluateOnKubernetesOperator",
    }
)
