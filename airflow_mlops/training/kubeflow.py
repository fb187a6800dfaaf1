"""Kubeflow Trainer's ``TrainJob``: the document of a training, and what its status says.

The reasons are those that Trainer and JobSet, which it builds on, write into the conditions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.custom_resource import Json, ResourceKind, failed, suspended
from airflow_mlops.training.phase import Cause, PodPhase, PodReport
from airflow_mlops.training.pods import PodResources, PodVolume, pod_overlay

__all__ = ["TRAIN_JOB", "leader", "read_train_job", "train_job"]

# The container, and in all of Trainer's own runtimes the replicated job, of the step that trains.
_NODE = "node"
_RUNTIME_KINDS = ("ClusterTrainingRuntime", "TrainingRuntime")
# Where rank 0 may listen; the port is the one that users of torch.distributed know.
_PORT = 29500
# Who writes the patches of the runtime; keeps them apart from those of queues.
_MANAGER = "airflow-mlops/operator"

_REASONS = {
    "TrainingRuntimeNotSupported": Cause.CONFIGURATION,
    "TrainJobResourcesCreationFailed": Cause.CONFIGURATION,
    "DeadlineExceeded": Cause.DEADLINE,
    # A pod ended badly; its own documents and what the script left say why.
    "FailedJobs": Cause.EXIT_CODE,
    "FailJobSetFailurePolicyAction": Cause.EXIT_CODE,
    "ReachedMaxRestarts": Cause.EXIT_CODE,
}


def read_train_job(job: Json) -> PodReport:
    """Say where a ``TrainJob`` stands; what no condition says is not over."""
    status: Json = job.get("status") or {}
    true = {one.get("type"): one for one in status.get("conditions") or () if one.get("status") == "True"}
    if "Failed" in true:
        reason = _said(true["Failed"])["reason"]
        return failed(_REASONS.get(reason, Cause.NODE), "Failed", **_said(true["Failed"]))
    if "Complete" in true:
        return PodReport(phase=PodPhase.SUCCEEDED)
    if "Suspended" in true:
        return suspended("Suspended", **_said(true["Suspended"]))
    begun = any(
        one.get("active") or one.get("succeeded") or one.get("failed") for one in status.get("jobsStatus") or ()
    )
    return PodReport(phase=PodPhase.RUNNING if begun or status.get("trainerStatus") else PodPhase.PENDING)


TRAIN_JOB = ResourceKind(
    kind="TrainJob",
    group="trainer.kubeflow.org",
    version="v1alpha1",
    plural="trainjobs",
    controller="Kubeflow Trainer",
    container=_NODE,
    read=read_train_job,
)


def leader(name: str) -> str:
    """Return ``host:port`` of the first node, as JobSet names it in DNS.

    :param name: the TrainJob's name
    """
    return f"{name}-{_NODE}-0-0.{name}:{_PORT}"


def train_job(
    *,
    metadata: Json,
    runtime: str,
    runtime_kind: str,
    nodes: int,
    image: str,
    command: Sequence[str],
    resources: PodResources,
    artifacts: PodVolume | None,
    group: int,
    active_deadline_seconds: int | None = None,
) -> dict[str, Any]:
    """Return the document of a training.

    :param metadata: name, labels and annotations, which its pods get too
    :param runtime: name of the runtime, which says how the nodes find each other
    :param runtime_kind: ``ClusterTrainingRuntime`` or ``TrainingRuntime``
    :param nodes: how many pods train together; the runtime tells each its rank
    :param command: what every node runs
    :param group: group of the job's folder
    :param active_deadline_seconds: how long it may take, None for no limit
    :raises SpecificationError: if it asks for what a ``TrainJob`` cannot say
    """
    if resources.priority_class is not None:
        raise SpecificationError(
            "pod_resources.priority_class", resources.priority_class, "None: a TrainJob's runtime sets the priority"
        )
    if isinstance(nodes, bool) or not isinstance(nodes, int) or nodes < 1:
        raise SpecificationError("nodes", nodes, "a number of at least 1")
    if runtime_kind not in _RUNTIME_KINDS:
        raise SpecificationError("runtime_kind", runtime_kind, f"one of {', '.join(_RUNTIME_KINDS)}")
    labels, annotations = metadata.get("labels") or {}, metadata.get("annotations") or {}
    overlay = pod_overlay(
        container=_NODE,
        command=command,
        labels=labels,
        annotations=annotations,
        resources=resources,
        artifacts=artifacts,
        group=group,
    )
    pod: dict[str, Any] = dict(overlay["spec"])
    (main,) = pod["containers"]
    pod["containers"] = [{"name": _NODE, "volumeMounts": main["volumeMounts"]}]
    spec: dict[str, Any] = {
        "runtimeRef": {"apiGroup": TRAIN_JOB.group, "kind": runtime_kind, "name": runtime},
        "trainer": {
            "image": image,
            "command": list(command),
            "numNodes": nodes,
            "resourcesPerNode": resources.requirements,
            "env": main["env"],
        },
        "runtimePatches": [_patch({"metadata": overlay["metadata"], "spec": pod})],
        "suspend": False,
    }
    if active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = active_deadline_seconds
    return {"apiVersion": TRAIN_JOB.api_version, "kind": TRAIN_JOB.kind, "metadata": dict(metadata), "spec": spec}


def _patch(template: Json) -> dict[str, Any]:
    job = {"name": _NODE, "template": {"spec": {"template": template}}}
    return {"manager": _MANAGER, "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [job]}}}}


def _said(condition: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(condition.get(name) or "") for name in ("reason", "message")}
