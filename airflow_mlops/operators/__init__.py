"""All operators, each loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mlops.operators.approval import ApproveReleaseOperator
    from airflow_mlops.operators.datasets import SnapshotDatasetOperator
    from airflow_mlops.operators.docker import TrainInDockerOperator
    from airflow_mlops.operators.docker_evaluation import EvaluateInDockerOperator
    from airflow_mlops.operators.evaluation import EvaluateModelOperator
    from airflow_mlops.operators.explanation import ExplainModelOperator
    from airflow_mlops.operators.gate import ModelGateOperator
    from airflow_mlops.operators.image_bills import WriteImageBillOperator
    from airflow_mlops.operators.image_checks import CheckImageOperator
    from airflow_mlops.operators.images import BuildImageOperator
    from airflow_mlops.operators.kubeflow import TrainWithKubeflowOperator
    from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator
    from airflow_mlops.operators.kubernetes_evaluation import EvaluateOnKubernetesOperator
    from airflow_mlops.operators.model_card import ModelCardOperator
    from airflow_mlops.operators.monitoring import DecideRetrainingOperator, DetectDriftOperator
    from airflow_mlops.operators.onnx_export import ExportToOnnxOperator
    from airflow_mlops.operators.pod_start import StartWarmPodOperator
    from airflow_mlops.operators.profiling import ProfileDataOperator
    from airflow_mlops.operators.ray import TrainWithRayOperator
    from airflow_mlops.operators.registration import RegisterModelOperator
    from airflow_mlops.operators.registry import PromoteModelOperator, RollBackModelOperator
    from airflow_mlops.operators.rollout import CanaryRolloutOperator
    from airflow_mlops.operators.serving import (
        CheckModelServerOperator,
        StartModelServerOperator,
        StopModelServersOperator,
    )
    from airflow_mlops.operators.shadow import ShadowRolloutOperator
    from airflow_mlops.operators.training import TrainLocallyOperator
    from airflow_mlops.operators.validation import ValidateDataOperator
    from airflow_mlops.operators.warm_step import RunInWarmPodOperator, StopWarmPodOperator

__all__ = [
    "ApproveReleaseOperator",
    "BuildImageOperator",
    "CanaryRolloutOperator",
    "CheckImageOperator",
    "CheckModelServerOperator",
    "DecideRetrainingOperator",
    "DetectDriftOperator",
    "EvaluateInDockerOperator",
    "EvaluateModelOperator",
    "EvaluateOnKubernetesOperator",
    "ExplainModelOperator",
    "ExportToOnnxOperator",
    "ModelCardOperator",
    "ModelGateOperator",
    "ProfileDataOperator",
    "PromoteModelOperator",
    "RegisterModelOperator",
    "RollBackModelOperator",
    "RunInWarmPodOperator",
    "ShadowRolloutOperator",
    "SnapshotDatasetOperator",
    "StartModelServerOperator",
    "StartWarmPodOperator",
    "StopModelServersOperator",
    "StopWarmPodOperator",
    "TrainInDockerOperator",
    "TrainLocallyOperator",
    "TrainOnKubernetesOperator",
    "TrainWithKubeflowOperator",
    "TrainWithRayOperator",
    "ValidateDataOperator",
    "WriteImageBillOperator",
]

_MODULES = {
    "ApproveReleaseOperator": "approval",
    "BuildImageOperator": "images",
    "CanaryRolloutOperator": "rollout",
    "CheckImageOperator": "image_checks",
    "CheckModelServerOperator": "serving",
    "DecideRetrainingOperator": "monitoring",
    "DetectDriftOperator": "monitoring",
    "EvaluateInDockerOperator": "docker_evaluation",
    "EvaluateModelOperator": "evaluation",
    "EvaluateOnKubernetesOperator": "kubernetes_evaluation",
    "ExplainModelOperator": "explanation",
    "ExportToOnnxOperator": "onnx_export",
    "ModelCardOperator": "model_card",
    "ModelGateOperator": "gate",
    "ProfileDataOperator": "profiling",
    "PromoteModelOperator": "registry",
    "RegisterModelOperator": "registration",
    "RollBackModelOperator": "registry",
    "RunInWarmPodOperator": "warm_step",
    "ShadowRolloutOperator": "shadow",
    "SnapshotDatasetOperator": "datasets",
    "StartModelServerOperator": "serving",
    "StartWarmPodOperator": "pod_start",
    "StopModelServersOperator": "serving",
    "StopWarmPodOperator": "warm_step",
    "TrainInDockerOperator": "docker",
    "TrainLocallyOperator": "training",
    "TrainOnKubernetesOperator": "kubernetes",
    "TrainWithKubeflowOperator": "kubeflow",
    "TrainWithRayOperator": "ray",
    "ValidateDataOperator": "validation",
    "WriteImageBillOperator": "image_bills",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
