"""Why an attempt failed, from what the cluster says and what the script left."""

from __future__ import annotations

import pytest

from airflow_mlops.adapters.pods.attempts import explain
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.directory import ExitStatus
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble

JOB = "d/r/t/-1"


@pytest.fixture
def folder(tmp_path):
    folder = AttemptFolder(tmp_path)
    folder.prepare("01-a", JobRequest(kind="train", job_id=JOB, output_uri="file:///x"))
    return folder


def report(phase=PodPhase.FAILED, cause=None, **changes):
    trouble = None if cause is None else Trouble(cause=cause, message=f"it is {cause.value[0]}")
    return PodReport(phase=phase, trouble=trouble, **changes)


def why(folder, found, problem=None):
    return explain(found, folder, "01-a", "ml/train-1", problem)


@pytest.mark.parametrize("cause", [cause for cause in Cause if cause.is_outside])
def test_what_the_cluster_did_is_said_and_decides_about_another_try(folder, cause):
    error = why(folder, report(cause=cause, last_lines="epoch 3"))
    assert type(error) is (TransientAdapterError if cause.retryable else PermanentAdapterError)
    assert str(error) == f"pod ml/train-1: it is {cause.value[0]}; last lines of its log:\nepoch 3"


def test_the_log_in_the_store_goes_before_what_the_kubelet_kept(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").log.write_text("epoch 1\nepoch 2\n")
    error = why(folder, report(cause=Cause.OUT_OF_MEMORY, last_lines="epoch"))
    assert str(error).endswith("last lines of its log:\nepoch 1\nepoch 2")


def test_what_the_script_said_goes_before_its_exit_code(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").finish(JobResult(job_id=JOB, status="failed", error="ValueError: no rows"))
    folder.directory("01-a").record_exit(ExitStatus(code=1, signal=None))
    error = why(folder, report(cause=Cause.EXIT_CODE, exit_code=1))
    assert isinstance(error, PermanentAdapterError)
    assert "the script failed: ValueError: no rows" in str(error)


def test_a_script_that_broke_the_contract_is_named(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").record_exit(ExitStatus(code=0, signal=None))
    error = why(folder, report(PodPhase.SUCCEEDED, exit_code=0))
    assert isinstance(error, ContractError)
    assert "the script ended with exit code 0 but left no result.json; it must call job.finish()" in str(error)


def test_a_container_that_never_reached_the_launcher_shows_its_last_lines(folder):
    error = why(folder, report(cause=Cause.EXIT_CODE, exit_code=1, last_lines="No module named airflow_mlops"))
    assert str(error) == "pod ml/train-1: it is exit code; last lines of its log:\nNo module named airflow_mlops"


def test_a_pod_that_wrote_elsewhere_points_at_its_volumes(folder):
    error = why(folder, report(PodPhase.SUCCEEDED, exit_code=0))
    assert isinstance(error, ContractError)
    assert "must be a volume of the pod, mounted at the same path as on the worker" in str(error)


def test_an_attempt_that_was_started_before_is_worth_another_try(folder):
    error = why(folder, report(cause=Cause.EXIT_CODE, exit_code=CLAIMED))
    assert isinstance(error, TransientAdapterError)
    assert "attempt 01-a was started before, or a newer one takes its place" in str(error)


def test_a_pod_that_is_gone_is_worth_another_try(folder):
    folder.claim("01-a", "pod")
    error = why(folder, report(PodPhase.ABSENT, cause=Cause.GONE))
    assert isinstance(error, TransientAdapterError)
    assert "pod ml/train-1: it is gone" in str(error)


def test_a_pod_that_is_gone_is_worth_another_try_whatever_its_script_said_at_the_end(folder):
    folder.claim("01-a", "pod")
    folder.directory("01-a").log.write_text("saved a checkpoint, bye")
    folder.directory("01-a").finish(JobResult(job_id=JOB, status="failed", error="SystemExit: 1"))
    error = why(folder, report(PodPhase.ABSENT, cause=Cause.GONE))
    assert isinstance(error, TransientAdapterError)
    assert str(error) == "pod ml/train-1: it is gone; last lines of its log:\nsaved a checkpoint, bye"


def test_a_pod_that_is_being_deleted_is_worth_another_try(folder):
    error = why(folder, report(PodPhase.RUNNING, ending=True))
    assert str(error) == "pod ml/train-1 is being deleted"


def test_a_pod_that_does_not_start_says_why_or_that_it_took_too_long(folder):
    assert "it is unschedulable" in str(why(folder, report(PodPhase.PENDING, cause=Cause.UNSCHEDULABLE)))
    slow = why(folder, report(PodPhase.PENDING), RuntimeError("More than 900s."))
    assert str(slow) == "pod ml/train-1: the pod did not start in time: More than 900s."


def test_a_pod_that_still_runs_is_no_success(folder):
    error = why(folder, report(PodPhase.RUNNING))
    assert isinstance(error, TransientAdapterError)
    assert "pod ml/train-1 is still running: the trigger came back too early" in str(error)
