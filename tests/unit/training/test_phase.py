"""From a pod's documents to what happened."""

from __future__ import annotations

import pytest

from airflow_mlops.training.phase import Cause, PodPhase, read_pod


def pod(phase="Running", *, waiting=None, terminated=None, running=None, name="base", deleted=False, **status):
    state = {
        key: value for key, value in (("waiting", waiting), ("terminated", terminated), ("running", running)) if value
    }
    containers = [{"name": name, "image": "trainer:1", "state": state}] if state else []
    metadata = {"name": "p", "namespace": "ml"} | ({"deletionTimestamp": "2026-01-01T00:00:00Z"} if deleted else {})
    return {"metadata": metadata, "status": {"phase": phase, "containerStatuses": containers, **status}}


def condition(kind, status, reason, message=""):
    return {"type": kind, "status": status, "reason": reason, "message": message}


def event(reason, message):
    return {"reason": reason, "message": message}


def look(document, *events):
    return read_pod(document, container="base", events=events)


@pytest.mark.parametrize(
    ("document", "phase"),
    [
        (pod("Pending"), PodPhase.PENDING),
        (pod("Unknown"), PodPhase.PENDING),
        (pod("Running", running={"startedAt": "x"}), PodPhase.RUNNING),
        (pod("Succeeded", terminated={"exitCode": 0}), PodPhase.SUCCEEDED),
    ],
)
def test_a_healthy_pod_is_in_no_trouble(document, phase):
    report = look(document)
    assert report.phase is phase
    assert report.trouble is None


def test_a_pod_without_status_is_pending():
    assert look({"metadata": {"name": "p"}}).phase is PodPhase.PENDING


FAILURES = {
    "evicted": (
        pod("Failed", reason="Evicted", message="The node was low on resource: memory."),
        Cause.EVICTED,
        "the pod was evicted (Evicted): The node was low on resource: memory.",
    ),
    "drained": (
        pod(
            "Failed",
            conditions=[condition("DisruptionTarget", "True", "EvictionByEvictionAPI", "Eviction API: evicting")],
        ),
        Cause.EVICTED,
        "the pod was evicted (EvictionByEvictionAPI): Eviction API: evicting",
    ),
    "preempted": (
        pod(
            "Failed",
            conditions=[condition("DisruptionTarget", "True", "PreemptionByScheduler", "preempting to accommodate")],
        ),
        Cause.PREEMPTED,
        "the pod was preempted by a more important one (PreemptionByScheduler): preempting to accommodate",
    ),
    "deadline": (
        pod(
            "Failed", reason="DeadlineExceeded", message="Pod was active on the node longer than the specified deadline"
        ),
        Cause.DEADLINE,
        "ran past its deadline (active_deadline_seconds) (DeadlineExceeded): Pod was active on the node longer",
    ),
    "node shut down": (
        pod("Failed", reason="Shutdown", message="Node is shutting, evicting pods"),
        Cause.NODE,
        "ended or refused by its node (Shutdown): Node is shutting",
    ),
    "node filled up": (
        pod("Failed", reason="OutOfcpu", message="Pod Node didn't have enough resource: cpu"),
        Cause.NODE,
        "refused by its node (OutOfcpu): Pod Node didn't have enough resource: cpu",
    ),
    "out of memory": (
        pod("Failed", terminated={"exitCode": 137, "reason": "OOMKilled"}),
        Cause.OUT_OF_MEMORY,
        "container 'base' ran out of memory and was killed (OOMKilled); raise its memory limit",
    ),
    "killed": (
        pod("Failed", terminated={"exitCode": 137, "reason": "Error"}),
        Cause.KILLED,
        "container 'base' was killed by SIGKILL (exit code 137)",
    ),
    "command not found": (
        pod("Failed", terminated={"exitCode": 128, "reason": "StartError", "message": "exec: not found"}),
        Cause.CONFIGURATION,
        "container 'base' cannot be started (StartError): exec: not found",
    ),
    "exit code": (
        pod("Failed", terminated={"exitCode": 3, "reason": "Error", "message": "ValueError: no rows\n"}),
        Cause.EXIT_CODE,
        "container 'base' ended with exit code 3",
    ),
    "nothing ran": (pod("Failed"), Cause.NODE, "the pod failed before its containers ran"),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failed_pod_says_what_happened(name):
    document, cause, message = FAILURES[name]
    report = look(document)
    assert report.phase is PodPhase.FAILED
    assert report.trouble.cause is cause
    assert message in report.trouble.message


def test_the_last_lines_come_with_the_exit_code():
    report = look(pod("Failed", terminated={"exitCode": 3, "message": "line 1\nValueError: no rows\n"}))
    assert report.exit_code == 3
    assert report.last_lines == "line 1\nValueError: no rows"


def test_the_pods_own_reason_goes_before_its_containers():
    report = look(
        pod("Failed", reason="Evicted", message="low on disk", terminated={"exitCode": 137, "reason": "Error"})
    )
    assert report.trouble.cause is Cause.EVICTED


def test_an_init_container_that_failed_is_named():
    statuses = [{"name": "fetch", "state": {"terminated": {"exitCode": 2, "reason": "Error"}}}]
    report = look({"metadata": {}, "status": {"phase": "Failed", "initContainerStatuses": statuses}})
    assert report.trouble.message == "container 'fetch' ended with exit code 2"


PULL = 'Failed to pull image "trainer:1": rpc error: code = NotFound desc = failed to resolve reference: not found'


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"])
def test_an_image_that_is_not_there_is_no_matter_of_time(reason):
    report = look(
        pod("Pending", waiting={"reason": reason, "message": "Back-off pulling image"}), event("Failed", PULL)
    )
    assert report.trouble.cause is Cause.IMAGE
    assert not report.trouble.cause.retryable
    assert f"the image 'trainer:1' of container 'base' cannot be pulled ({reason}): {PULL}" == report.trouble.message


@pytest.mark.parametrize(
    "message",
    ["toomanyrequests: rate limit", "dial tcp: i/o timeout", "502 Bad Gateway", "connect: connection refused"],
)
def test_a_registry_that_is_down_is_worth_another_try(message):
    report = look(pod("Pending", waiting={"reason": "ErrImagePull", "message": message}))
    assert report.trouble.cause is Cause.REGISTRY
    assert report.trouble.cause.retryable


def test_a_pod_that_fits_nowhere_repeats_the_schedulers_reason():
    waiting = pod(
        "Pending", conditions=[condition("PodScheduled", "False", "Unschedulable", "0/1 nodes: Insufficient cpu.")]
    )
    report = look(waiting)
    assert report.trouble.cause is Cause.UNSCHEDULABLE
    assert report.trouble.message == "no node takes the pod: 0/1 nodes: Insufficient cpu."
    assert report.phase.is_live


def test_a_missing_secret_is_a_matter_of_configuration():
    state = {"reason": "CreateContainerConfigError", "message": 'secret "token" not found'}
    report = look(pod("Pending", waiting=state))
    assert report.trouble.cause is Cause.CONFIGURATION
    assert report.trouble.message == (
        "container 'base' cannot be started (CreateContainerConfigError): secret \"token\" not found"
    )


def test_a_pod_that_is_creating_its_containers_is_in_no_trouble():
    assert look(pod("Pending", waiting={"reason": "ContainerCreating"})).trouble is None


def test_a_pod_that_is_gone_is_gone():
    report = look(None)
    assert report.phase is PodPhase.ABSENT
    assert report.trouble.cause is Cause.GONE


@pytest.mark.parametrize(
    ("reason", "cause"),
    [("Preempted", Cause.PREEMPTED), ("TaintManagerEviction", Cause.EVICTED), ("Evicted", Cause.EVICTED)],
)
def test_the_events_of_a_pod_that_is_gone_say_why(reason, cause):
    report = look(
        None, event("Scheduled", "assigned"), event(reason, "by ml/urgent on node n1"), event("Killing", "stopping")
    )
    assert report.trouble.cause is cause
    assert f"({reason}): by ml/urgent on node n1, and is gone" in report.trouble.message


def test_a_deletion_under_way_is_seen():
    assert look(pod("Running", running={"startedAt": "x"}, deleted=True)).ending


@pytest.mark.parametrize("code", [1, 137, 143])
def test_a_script_that_ends_because_its_pod_is_deleted_is_not_to_blame(code):
    ended = pod("Failed", terminated={"exitCode": code, "reason": "Error"}, deleted=True)
    assert look(ended).trouble.cause is Cause.GONE
    assert look(ended, event("Preempted", "by ml/urgent")).trouble.cause is Cause.PREEMPTED


def test_only_what_the_cluster_did_overrides_what_the_script_said():
    assert {cause for cause in Cause if not cause.is_outside} == {Cause.EXIT_CODE, Cause.KILLED}
