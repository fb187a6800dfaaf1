"""Why a custom resource's attempt failed: from what its controller, its pods and its script say."""

from __future__ import annotations

import pytest

from airflow_mlops.adapters.pods.custom_attempts import TrainingObjects, explain_resource
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.directory import ExitStatus
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Action, Output, enter
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.kubeflow import TRAIN_JOB
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL, TASK_LABEL

JOB = "d/r/t/-1"
REQUEST = JobRequest(kind="train", job_id=JOB, output_uri="file:///x")


@pytest.fixture
def folder(tmp_path):
    folder = AttemptFolder(tmp_path)
    folder.prepare("01-a", REQUEST)
    return folder


def report(cause=None, phase=PodPhase.FAILED, exit_code=None):
    trouble = None if cause is None else Trouble(cause=cause, message=f"it is {cause.value[0]}")
    return PodReport(phase=phase, trouble=trouble, exit_code=exit_code)


def why(folder, found, **pods):
    return explain_resource(TRAIN_JOB, "ml/train-1", report=found, pods=pods, folder=folder, attempt="01-a")


@pytest.mark.parametrize("cause", Cause)
def test_what_the_controller_says_is_said_and_decides_where_nobody_says_more(folder, cause):
    error = why(folder, report(cause))
    assert type(error) is (TransientAdapterError if cause.retryable else PermanentAdapterError)
    assert str(error) == f"TrainJob ml/train-1: it is {cause.value[0]}"


def test_what_the_cluster_did_to_a_pod_decides_over_the_exit_code(folder):
    error = why(folder, report(Cause.EXIT_CODE), p0=report(Cause.EXIT_CODE), p1=report(Cause.EVICTED))
    assert isinstance(error, TransientAdapterError)
    assert str(error) == "TrainJob ml/train-1: it is exit code; pod p1: it is evicted"


def test_what_the_script_said_decides_where_the_cluster_did_nothing(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").finish(JobResult(job_id=JOB, status="failed", error="ValueError: no rows"))
    folder.directory("01-a").record_exit(ExitStatus(code=1, signal=None))
    error = why(folder, report(Cause.KILLED), p0=report(Cause.EXIT_CODE, exit_code=1))
    assert isinstance(error, PermanentAdapterError)
    assert "pod p0: it is exit code; the script failed: ValueError: no rows" in str(error)


def test_a_script_that_vanished_is_worth_another_try_though_its_replacement_gave_up(folder):
    """A node dies, the controller makes another pod, and the claim keeps it from training again."""
    folder.claim("01-a", "pod")
    error = why(folder, report(Cause.EXIT_CODE), p1=report(Cause.EXIT_CODE, exit_code=CLAIMED))
    assert isinstance(error, TransientAdapterError)
    assert "the job's processes are gone without a result or an exit status" in str(error)
    assert "p1" not in str(error)


def test_a_completion_without_a_trace_points_at_the_volumes(folder):
    error = why(folder, report(phase=PodPhase.SUCCEEDED))
    assert isinstance(error, ContractError)
    assert "must be a volume of its pods, mounted at the same path as on the worker" in str(error)


def test_a_completion_with_a_broken_contract_says_which(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").record_exit(ExitStatus(code=0, signal=None))
    error = why(folder, report(phase=PodPhase.SUCCEEDED))
    assert "the script ended with exit code 0 but left no result.json" in str(error)


class Namespace:
    """Resources and pods in memory, as both clients see them."""

    kind = TRAIN_JOB

    def __init__(self):
        self.objects, self.running, self.made = {}, {}, []

    def list(self, labels):
        found = [*self.running.values()] if JOB_LABEL in labels else [*self.objects.values()]
        return [one for one in found if labels.items() <= one["metadata"]["labels"].items()]

    def create(self, document):
        name = document["metadata"]["name"]
        if name in self.objects:
            return None
        self.made.append(name)
        self.objects[name] = document
        return document

    def delete(self, name):
        self.objects.pop(name, None)


def document(attempt, *, job="job", **status):
    labels = {TASK_LABEL: "task", JOB_LABEL: job, ATTEMPT_LABEL: attempt}
    return {"metadata": {"name": f"train-{attempt}", "labels": labels}, "spec": {}, "status": status}


@pytest.fixture
def namespace():
    return Namespace()


@pytest.fixture
def world(namespace, tmp_path):
    def make(attempt):
        return TrainingObjects(
            objects=namespace,
            pods=namespace,
            folder=AttemptFolder(tmp_path),
            labels={TASK_LABEL: "task", JOB_LABEL: "job"},
            request=lambda _: REQUEST,
            build=lambda: document(attempt),
            patience_seconds=0.0,
        )

    return make


FAILED = {"conditions": [{"type": "Failed", "status": "True", "reason": "FailedJobs", "message": "m"}]}


def test_a_try_follows_the_resource_of_an_earlier_one(namespace, world):
    for attempt in ("01-a", "01-a", "02-b"):
        decision = enter(world(attempt), attempt)
        assert (decision.action, decision.attempt) == (Action.FOLLOW, "01-a")
    assert namespace.made == ["train-01-a"]


def test_a_failed_resource_goes_when_the_next_try_makes_its_own(namespace, world):
    namespace.objects = {"train-01-a": document("01-a", **FAILED), "train-00": document("00", job="another request")}
    decision = enter(world("02-b"), "02-b")
    assert (decision.action, decision.attempt) == (Action.FOLLOW, "02-b")
    assert list(namespace.objects) == ["train-02-b"]


@pytest.mark.parametrize("objects", [{}, {"train-01-a": document("01-a", **FAILED)}], ids=["gone", "failed"])
def test_no_other_training_begins_while_a_pod_of_the_earlier_one_lives(namespace, world, objects):
    namespace.objects = dict(objects)
    namespace.running = {"p": {**document("01-a"), "status": {"phase": "Running"}}}
    with pytest.raises(TransientAdapterError, match="01-a: its TrainJob or a pod of it has been ending for 0 s"):
        enter(world("02-b"), "02-b")
    assert namespace.made == []


def test_a_success_with_pods_that_stay_is_over(namespace, world):
    """A Ray head outlives the job for a while."""
    namespace.objects = {"train-01-a": document("01-a", conditions=[{"type": "Complete", "status": "True"}])}
    namespace.running = {"head": {**document("01-a"), "status": {"phase": "Running"}}}
    (found,) = world("01-a").look()
    assert (found.pod, found.output) == (PodPhase.SUCCEEDED, Output.OPEN)


def test_what_the_definition_does_not_know_is_refused_and_nothing_stays(namespace, world, monkeypatch):
    monkeypatch.setattr(namespace, "create", lambda sent: {**sent, "spec": {}})
    lossy = world("01-a")
    lossy.build = lambda: {**document("01-a"), "spec": {"runtimePatches": []}}
    namespace.objects = {}
    with pytest.raises(PermanentAdapterError, match=r"does not know spec\.runtimePatches; install a newer Kubeflow Tr"):
        enter(lossy, "01-a")
    assert namespace.objects == {}
