"""What a RayJob says, and what is asked of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.phase import Cause, PodPhase
from airflow_mlops.training.pods import PodResources, PodVolume
from airflow_mlops.training.ray import RAY_JOB, ray_job, read_ray_job

P = PodPhase
HELD = "; a queue or a person holds it back"

# (jobDeploymentStatus, jobStatus, reason): phase, cause, message
STATES: dict[tuple[str, str, str], tuple[PodPhase, Cause | None, str | None]] = {
    ("", "", ""): (P.PENDING, None, None),
    ("Initializing", "", ""): (P.PENDING, None, None),
    ("Waiting", "", ""): (P.PENDING, None, None),
    ("Scheduling", "", ""): (P.PENDING, None, None),
    ("Scheduled", "SCHEDULED", ""): (P.PENDING, None, None),
    ("Retrying", "FAILED", "AppFailed"): (P.PENDING, None, None),
    ("Running", "", ""): (P.RUNNING, None, None),
    ("Running", "PENDING", ""): (P.RUNNING, None, None),
    ("Running", "RUNNING", ""): (P.RUNNING, None, None),
    # The job is over, its deployment not yet: the next look sees Complete or Failed.
    ("Running", "FAILED", ""): (P.RUNNING, None, None),
    ("Suspending", "RUNNING", ""): (P.PENDING, Cause.UNSCHEDULABLE, f"it is Suspending: why{HELD}"),
    ("Suspended", "", ""): (P.PENDING, Cause.UNSCHEDULABLE, f"it is Suspended: why{HELD}"),
    ("Complete", "SUCCEEDED", ""): (P.SUCCEEDED, None, None),
    ("Complete", "FAILED", ""): (P.FAILED, Cause.EXIT_CODE, "it is Complete, the job in Ray is FAILED: why"),
    ("Complete", "STOPPED", ""): (P.FAILED, Cause.KILLED, "it is Complete, the job in Ray is STOPPED: why"),
    ("Complete", "", ""): (P.FAILED, Cause.NODE, "it is Complete: why"),
    ("Failed", "FAILED", "AppFailed"): (
        P.FAILED,
        Cause.EXIT_CODE,
        "it is Failed, the job in Ray is FAILED (AppFailed): why",
    ),
    ("Failed", "FAILED", ""): (P.FAILED, Cause.EXIT_CODE, "it is Failed, the job in Ray is FAILED: why"),
    ("Failed", "STOPPED", "AppFailed"): (
        P.FAILED,
        Cause.KILLED,
        "it is Failed, the job in Ray is STOPPED (AppFailed): why",
    ),
    ("Failed", "", ""): (P.FAILED, Cause.NODE, "it is Failed: why"),
    ("ValidationFailed", "", "ValidationFailed"): (P.FAILED, Cause.CONFIGURATION, "it is ValidationFailed: why"),
    **{
        ("Failed", "RUNNING", reason): (
            P.FAILED,
            cause,
            f"it is Failed, the job in Ray is RUNNING ({reason}): why",
        )
        for reason, cause in {
            "DeadlineExceeded": Cause.DEADLINE,
            "PreRunningDeadlineExceeded": Cause.SLOW_START,
            "SubmissionFailed": Cause.NODE,
            "ValidationFailed": Cause.CONFIGURATION,
            "JobDeploymentStatusTransitionGracePeriodExceeded": Cause.NODE,
            "JobStatusCheckTimeoutExceeded": Cause.NODE,
            "SomethingNew": Cause.NODE,
        }.items()
    },
    ("Wobbling", "", ""): (P.PENDING, Cause.NODE, "it is Wobbling, which is no state of KubeRay that is known here"),
}


@pytest.mark.parametrize("state", STATES, ids="-".join)
def test_a_status_says_where_the_job_stands(state: tuple[str, str, str]) -> None:
    names = ("jobDeploymentStatus", "jobStatus", "reason")
    status = {name: value for name, value in zip(names, state, strict=True) if value}
    report = read_ray_job({"metadata": {}, "status": {**status, "message": "why"}})
    phase, cause, message = STATES[state]
    assert report.phase is phase
    assert (report.trouble and report.trouble.cause) is cause
    assert (report.trouble and report.trouble.message) == message


WORDS = st.sampled_from([word for state in STATES for word in state]) | st.text()


@given(WORDS | st.none(), WORDS | st.none(), WORDS | st.none())
def test_only_a_complete_success_in_ray_is_a_success(deployment: Any, ray: Any, reason: Any) -> None:
    status = {"jobDeploymentStatus": deployment, "jobStatus": ray, "reason": reason, "message": None}
    report = read_ray_job({"metadata": {}, "status": status})
    assert (report.phase is P.SUCCEEDED) == ((deployment, ray) == ("Complete", "SUCCEEDED"))
    assert report.phase is not P.FAILED or report.trouble is not None


def build(**changes: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "metadata": {"name": "train-1", "labels": {"team": "flights"}, "annotations": {}},
        "workers": 3,
        "ray_version": None,
        "image": "ray:1",
        "command": ["python", "-m", "x", "--directory", "/a folder"],
        "resources": PodResources(cpu="1"),
        "worker_resources": PodResources(gpus=1),
        "artifacts": PodVolume(mount_path="/store", host_path="/srv"),
        "group": 1000,
    }
    return ray_job(**arguments | changes)


def test_head_and_workers_see_the_store_and_only_ray_starts_them() -> None:
    spec = build(active_deadline_seconds=60, ray_version="2.50.0")["spec"]
    assert spec["entrypoint"] == "python -m x --directory '/a folder'"
    assert (spec["shutdownAfterJobFinishes"], spec["backoffLimit"], spec["activeDeadlineSeconds"]) == (True, 0, 60)
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == "2.50.0"
    (workers,) = cluster["workerGroupSpecs"]
    assert {workers[name] for name in ("replicas", "minReplicas", "maxReplicas")} == {3}
    limits = []
    for group, name in ((cluster["headGroupSpec"], "ray-head"), (workers, "ray-worker")):
        assert group["template"]["metadata"]["labels"] == {"team": "flights"}
        (container,) = group["template"]["spec"]["containers"]
        assert (container["name"], container["image"]) == (name, "ray:1")
        assert "command" not in container
        assert container["volumeMounts"][0]["mountPath"] == "/store"
        limits.append(container["resources"]["limits"])
    assert limits == [{}, {"nvidia.com/gpu": "1"}]


def test_a_head_may_be_alone() -> None:
    assert build(workers=0)["spec"]["rayClusterSpec"]["workerGroupSpecs"] == []


@pytest.mark.parametrize("workers", [-1, True, "2"])
def test_workers_are_a_number(workers: Any) -> None:
    with pytest.raises(SpecificationError, match=r"workers: .* expected a number of at least 0"):
        build(workers=workers)


def test_the_definition_has_a_name() -> None:
    assert RAY_JOB.definition == "rayjobs.ray.io/v1"
