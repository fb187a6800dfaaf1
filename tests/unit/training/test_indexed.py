"""The Job of a training in several pods, and what its documents say."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.contract import Group, JobRequest, dump, parse_request
from airflow_mlops.training.indexed import (
    JobReport,
    Patience,
    gives_ranks,
    indexed_job,
    leader,
    read_job,
    rendezvous_service,
    stuck,
)
from airflow_mlops.training.phase import Cause, PodPhase
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL

LABELS = {JOB_LABEL: "j", ATTEMPT_LABEL: "a", "team": "air"}
PATIENCE = Patience(schedule_seconds=60, startup_seconds=600)
MADE = "2026-01-01T00:00:00Z"
BEGAN = 1767225600.0


def lone_pod(**spec):
    containers = [
        {"name": "proxy", "image": "p"},
        {"name": "base", "image": "t", "command": ["alone"], "env": [{"name": "X", "value": "1"}]},
    ]
    return {
        "metadata": {"name": "train-1", "labels": LABELS, "annotations": {"note": "n"}},
        "spec": {"containers": containers, "restartPolicy": "Always", **spec},
    }


def a_job(**spec):
    return indexed_job(lone_pod(**spec), parallelism=3, container="base", command=["rank"], service="ranks-1")


def a_pod(name, phase="Running", index=None, **status):
    annotations = {} if index is None else {"batch.kubernetes.io/job-completion-index": str(index)}
    metadata = {"name": name, "creationTimestamp": MADE, "annotations": annotations}
    return {"metadata": metadata, "status": {"phase": phase, **status}}


def found_job(*conditions, **metadata):
    listed = [{"type": kind, "status": "True", "reason": "R", "message": "m"} for kind in conditions]
    return {"metadata": {"name": "train-1", "creationTimestamp": MADE, **metadata}, "status": {"conditions": listed}}


def read(job, *pods, **options):
    return read_job(job, pods, container="base", **options)


def waiting(**state):
    return {"containerStatuses": [{"name": "base", "image": "t", "state": {"waiting": state}}]}


def test_the_job_is_the_lone_pod_several_times_with_another_command():
    job = a_job()
    assert job["metadata"] == {"name": "train-1", "labels": LABELS, "annotations": {"note": "n"}}
    wanted = {"completionMode": "Indexed", "parallelism": 3, "completions": 3, "backoffLimit": 0}
    assert {name: job["spec"][name] for name in wanted} == wanted
    template = job["spec"]["template"]
    assert template["metadata"]["labels"] == LABELS
    assert (template["spec"]["restartPolicy"], template["spec"]["subdomain"]) == ("Never", "ranks-1")
    proxy, main = template["spec"]["containers"]
    assert proxy == {"name": "proxy", "image": "p"}
    assert main["command"] == ["rank"]
    assert [one["name"] for one in main["env"]] == ["X", "MLOPS_POD_NAME", "MLOPS_POD_ADDRESS"]
    assert lone_pod()["spec"]["containers"][1]["command"] == ["alone"]


def test_rank_0_has_a_name_in_dns_and_on_the_nodes_network_any_port():
    assert leader(a_job()) == "train-1-0.ranks-1:29500"
    assert leader(a_job(hostNetwork=True)) == "train-1-0.ranks-1:0"


def test_the_service_has_no_address_selects_the_attempts_pods_and_goes_with_the_job():
    job = a_job()
    job["metadata"]["uid"] = "u-1"
    service = rendezvous_service(job, name="ranks-1")
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["publishNotReadyAddresses"]
    assert service["spec"]["selector"] == {JOB_LABEL: "j", ATTEMPT_LABEL: "a"}
    assert service["metadata"]["ownerReferences"] == [
        {"apiVersion": "batch/v1", "kind": "Job", "name": "train-1", "uid": "u-1"}
    ]


def test_an_old_cluster_drops_the_mode():
    assert gives_ranks(a_job())
    old = a_job()
    del old["spec"]["completionMode"]
    assert not gives_ranks(old)


@pytest.mark.parametrize(
    ("job", "pods", "phase", "ending"),
    [
        (None, [], PodPhase.ABSENT, True),
        (None, [a_pod("a")], PodPhase.RUNNING, True),
        (found_job(), [], PodPhase.PENDING, False),
        (found_job(), [a_pod("a", "Succeeded")], PodPhase.PENDING, False),
        (found_job(), [a_pod("a"), a_pod("b", "Pending")], PodPhase.RUNNING, False),
        (found_job(deletionTimestamp=MADE), [a_pod("a")], PodPhase.RUNNING, True),
        (found_job("Failed"), [a_pod("a"), a_pod("b", "Failed")], PodPhase.RUNNING, True),
        (found_job("Failed"), [a_pod("b", "Failed")], PodPhase.FAILED, True),
        (found_job("Complete"), [], PodPhase.SUCCEEDED, True),
        (found_job("Suspended"), [], PodPhase.PENDING, False),
    ],
)
def test_a_job_lives_as_long_as_one_of_its_pods_may(job, pods, phase, ending):
    report = read(job, *pods)
    assert (report.phase, report.ending, report.present) == (phase, ending, job is not None)


def test_the_cluster_says_which_pod_has_which_rank():
    report = read(found_job(), a_pod("x", index=1), a_pod("y", index=0), a_pod("z"))
    assert [(one.pod, one.rank) for one in report.members] == [("x", 1), ("y", 0), ("z", None)]


def test_the_jobs_own_words_are_kept():
    assert read(found_job("Failed")).complaint == "R: m"
    events = [
        {"reason": "SuccessfulCreate", "message": "made"},
        {"reason": "FailedCreate", "message": "exceeded quota"},
    ]
    assert read(found_job(), events=events).complaint == "exceeded quota"


UNSCHEDULABLE = {
    "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes"}]
}


@pytest.mark.parametrize(
    ("status", "after", "cause"),
    [
        (UNSCHEDULABLE, 59, None),
        (UNSCHEDULABLE, 61, Cause.UNSCHEDULABLE),
        (waiting(reason="ErrImageNeverPull", message="not present"), 1, Cause.IMAGE),
        (waiting(reason="ErrImagePull", message="i/o timeout"), 599, None),
        (waiting(reason="ErrImagePull", message="i/o timeout"), 601, Cause.REGISTRY),
        (waiting(reason="CreateContainerConfigError", message="no secret"), 599, None),
        (waiting(reason="CreateContainerConfigError", message="no secret"), 601, Cause.CONFIGURATION),
        (waiting(reason="ContainerCreating"), 599, None),
        (waiting(reason="ContainerCreating"), 601, Cause.SLOW_START),
    ],
)
def test_a_pod_that_does_not_begin_is_given_up_when_it_is_hopeless_or_time_is_over(status, after, cause):
    report = read(found_job(), a_pod("a"), a_pod("b", "Pending", **status), a_pod("c"))
    found = stuck(report, 3, PATIENCE, BEGAN + after)
    assert (found and (found[0].pod, found[1].cause)) == (cause and ("b", cause))


def test_startup_is_counted_from_when_there_was_a_node():
    conditions = [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:10:00Z"}]
    pod = a_pod("b", "Pending", conditions=conditions, **waiting(reason="ContainerCreating"))
    assert stuck(read(found_job(), pod), 1, PATIENCE, BEGAN + 1199) is None
    assert stuck(read(found_job(), pod), 1, PATIENCE, BEGAN + 1201) is not None


def test_pods_that_are_not_made_are_the_jobs_trouble():
    events = [{"reason": "FailedCreate", "message": "exceeded quota: small"}]
    report = read(found_job(), a_pod("a"), events=events)
    assert stuck(report, 3, PATIENCE, BEGAN + 59) is None
    member, trouble = stuck(report, 3, PATIENCE, BEGAN + 61)
    assert member is None
    assert trouble.message == "there are 1 of 3 pods after 61 s: exceeded quota: small"


def test_what_ends_or_has_ended_is_not_stuck():
    assert stuck(JobReport(phase=PodPhase.FAILED), 3, PATIENCE, BEGAN) is None
    assert stuck(read(found_job("Failed"), a_pod("a", "Pending")), 3, PATIENCE, BEGAN + 9999) is None


def test_a_group_survives_the_way_to_the_job_and_old_images_read_requests_without():
    request = JobRequest(kind="train", job_id="j", output_uri="file:///x")
    assert "group" not in dump(request)
    assert parse_request(dump(request)) == request
    group = Group(world_size=3, rank=2, rendezvous="train-1-0.ranks-1:29500")
    many = JobRequest(kind="train", job_id="j", output_uri="file:///x", group=group)
    assert parse_request(dump(many)) == many


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"world_size": 0}, "Group.world_size: 0 is not accepted; expected at least 1 process"),
        ({"rank": 3}, "Group.rank: 3 is not accepted; expected a number from 0 to 2"),
        ({"rendezvous": "here"}, "Group.rendezvous: 'here' is not accepted; expected host:port"),
    ],
)
def test_a_group_that_cannot_be_is_refused(fields, message):
    with pytest.raises(SpecificationError, match=message):
        Group(**{"world_size": 3, "rendezvous": "h:1", **fields})
