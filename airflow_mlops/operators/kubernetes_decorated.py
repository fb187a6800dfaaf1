"""``@task.train`` on Kubernetes."""

from __future__ import annotations

from collections.abc import Sequence

from airflow.sdk.bases.decorator import DecoratedOperator

from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator
from airflow_mlops.operators.returning import ReturnedTraining

__all__ = ["TrainOnKubernetesDecorated"]


class TrainOnKubernetesDecorated(ReturnedTraining, TrainOnKubernetesOperator):
    """Trains in a pod, or in several, with what a function returns."""

    template_fields: Sequence[str] = (*DecoratedOperator.template_fields, *TrainOnKubernetesOperator.template_fields)
