"""All kinds of custom resources that train, by the name in their documents."""

from __future__ import annotations

from airflow_mlops.training.kubeflow import TRAIN_JOB
from airflow_mlops.training.ray import RAY_JOB

__all__ = ["KINDS"]

KINDS = {one.kind: one for one in (TRAIN_JOB, RAY_JOB)}
