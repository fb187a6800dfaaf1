"""What a TrainJob says, and what is asked of it."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.kubeflow import TRAIN_JOB, leader, read_train_job, train_job
from airflow_mlops.training.phase import Cause, PodPhase
from airflow_mlops.training.pods import PodResources, PodVolume, SecretVariable

NODES = {"name": "node", "active": 0, "ready": 0, "failed": 0, "succeeded": 0, "suspended": 0}


def condition(kind: str, status: str = "True", reason: str = "R", message: str = "m") -> dict[str, str]:
    return {"type": kind, "status": status, "reason": reason, "message": message}


# name: status, phase, cause, message
STATUSES: dict[str, tuple[Any, PodPhase, Cause | None, str | None]] = {
    "nobody took it up": (None, PodPhase.PENDING, None, None),
    "empty": ({}, PodPhase.PENDING, None, None),
    "jobs without pods": ({"jobsStatus": [NODES]}, PodPhase.PENDING, None, None),
    "pods at work": ({"jobsStatus": [{**NODES, "active": 2}]}, PodPhase.RUNNING, None, None),
    "one node is done": ({"jobsStatus": [{**NODES, "succeeded": 1}]}, PodPhase.RUNNING, None, None),
    "the trainer reports": ({"trainerStatus": {"progressPercentage": 3}}, PodPhase.RUNNING, None, None),
    "complete": ({"conditions": [condition("Complete")]}, PodPhase.SUCCEEDED, None, None),
    "not complete": ({"conditions": [condition("Complete", "False")]}, PodPhase.PENDING, None, None),
    "unknown condition": ({"conditions": [condition("Wobbling")]}, PodPhase.PENDING, None, None),
    "resumed": (
        {"conditions": [condition("Suspended", "False", "Resumed")], "jobsStatus": [{**NODES, "active": 1}]},
        PodPhase.RUNNING,
        None,
        None,
    ),
    "suspended": (
        {"conditions": [condition("Suspended", reason="Suspended", message="TrainJob is suspended")]},
        PodPhase.PENDING,
        Cause.UNSCHEDULABLE,
        "it is Suspended: TrainJob is suspended; a queue or a person holds it back",
    ),
    "complete after it was resumed": (
        {"conditions": [condition("Suspended", "False"), condition("Complete")]},
        PodPhase.SUCCEEDED,
        None,
        None,
    ),
    **{
        reason: (
            {"conditions": [condition("Suspended", "False"), condition("Failed", reason=reason, message=" why\n")]},
            PodPhase.FAILED,
            cause,
            f"it is Failed ({reason}): why",
        )
        for reason, cause in {
            "TrainingRuntimeNotSupported": Cause.CONFIGURATION,
            "TrainJobResourcesCreationFailed": Cause.CONFIGURATION,
            "DeadlineExceeded": Cause.DEADLINE,
            "FailedJobs": Cause.EXIT_CODE,
            "FailJobSetFailurePolicyAction": Cause.EXIT_CODE,
            "ReachedMaxRestarts": Cause.EXIT_CODE,
            "SomethingNew": Cause.NODE,
        }.items()
    },
}


@pytest.mark.parametrize("name", STATUSES)
def test_a_status_says_where_the_job_stands(name: str) -> None:
    status, phase, cause, message = STATUSES[name]
    report = read_train_job({"metadata": {}, "status": status} if status is not None else {"metadata": {}})
    assert report.phase is phase
    assert (report.trouble and report.trouble.cause) is cause
    assert (report.trouble and report.trouble.message) == message


def build(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "metadata": {"name": "train-1", "labels": {"team": "flights"}, "annotations": {"a": "b"}},
        "runtime": "torch-distributed",
        "runtime_kind": "ClusterTrainingRuntime",
        "nodes": 2,
        "image": "trainer:1",
        "command": ["python", "-m", "x"],
        "resources": PodResources(
            cpu="2",
            gpus=1,
            tolerations=({"key": "spot"},),
            secrets=(SecretVariable(variable="T", secret="s", key="k"),),
        ),
        "artifacts": PodVolume(mount_path="/store", claim="store"),
        "group": 1000,
    }
    return train_job(**given | changes)


def test_the_trainer_gets_what_only_it_may_have_and_the_rest_is_a_patch_of_the_runtime() -> None:
    document = build(active_deadline_seconds=60)
    assert (document["apiVersion"], document["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    spec = document["spec"]
    assert spec["runtimeRef"]["name"] == "torch-distributed"
    assert spec["activeDeadlineSeconds"] == 60
    assert spec["trainer"] == {
        "image": "trainer:1",
        "command": ["python", "-m", "x"],
        "numNodes": 2,
        "resourcesPerNode": {"requests": {"cpu": "2"}, "limits": {"nvidia.com/gpu": "1"}},
        "env": [{"name": "T", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
    }
    (patch,) = spec["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    template = job["template"]["spec"]["template"]
    assert template["metadata"] == {"labels": {"team": "flights"}, "annotations": {"a": "b"}}
    assert template["spec"] == {
        "containers": [
            {"name": "node", "volumeMounts": [{"name": "mlops-0", "mountPath": "/store", "readOnly": False}]}
        ],
        "volumes": [{"name": "mlops-0", "persistentVolumeClaim": {"claimName": "store", "readOnly": False}}],
        "tolerations": [{"key": "spot"}],
        "securityContext": {"supplementalGroups": [1000]},
    }


@pytest.mark.parametrize("nodes", [0, -1, True, "2", 1.5])
def test_nodes_are_a_number(nodes: Any) -> None:
    with pytest.raises(SpecificationError, match=r"nodes: .* expected a number of at least 1"):
        build(nodes=nodes)


def test_what_a_trainjob_cannot_say_is_refused() -> None:
    with pytest.raises(SpecificationError, match="a TrainJob's runtime sets the priority"):
        build(resources=PodResources(priority_class="high"))


def test_the_first_node_has_the_name_that_jobset_gives_it() -> None:
    assert leader("train-1") == "train-1-node-0-0.train-1:29500"
    assert TRAIN_JOB.definition == "trainjobs.trainer.kubeflow.org/v1alpha1"
