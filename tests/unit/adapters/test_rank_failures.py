"""Which of several processes is to blame: from what each has left, and what the cluster says of its pod."""

from __future__ import annotations

import os

import pytest

from airflow_mlops.adapters.pods.ranks import examine_ranks, explain_ranks
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.container.directory import ExitStatus
from airflow_mlops.container.ranks import RankFolder
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Output
from airflow_mlops.training.contract import Group, JobRequest, JobResult
from airflow_mlops.training.indexed import read_job

JOB = {"metadata": {"name": "train-1"}, "status": {"conditions": [{"type": "Failed", "status": "True"}]}}
NOTHING = "it closed the connection"


class Attempt:
    """Three processes, each of which a test lets end."""

    def __init__(self, path):
        self.folder = RankFolder(AttemptFolder(path), "01-a")
        group = Group(world_size=3, rendezvous="h:1")
        request = JobRequest(kind="train", job_id="j", output_uri="file:///x", group=group)
        self.folder.prepare(request)
        self.folder.attempts.prepare("01-a", request)
        self.folder.attempts.claim("01-a", "p")
        self.pods, self.events = {}, {}
        for rank in range(3):
            self.folder.claim([rank], f"pod-{rank}")
            self.pod(rank, "Succeeded")

    def pod(self, rank, phase, **state):
        if phase is None:
            del self.pods[f"pod-{rank}"]
            return
        status = {"phase": phase, "containerStatuses": [{"name": "base", "state": {"terminated": state}}]}
        self.pods[f"pod-{rank}"] = {"metadata": {"name": f"pod-{rank}"}, "status": status}

    def says(self, rank, error=None, at=100.0, code=None, signal=None):
        """Let a process report a failure or, without one, success."""
        directory = self.folder.directory(rank)
        directory.path.mkdir(exist_ok=True)
        if signal is None and (error is not None or not code):
            status = "failed" if error else "succeeded"
            directory.finish(JobResult(job_id="j", status=status, error=error))
        directory.record_exit(ExitStatus(code=None if signal else code or 0, signal=signal))
        for name in ("result.json", "exit.json"):
            if (directory.path / name).exists():
                os.utime(directory.path / name, (at, at))

    def explained(self, job=JOB):
        report = read_job(job, list(self.pods.values()), container="base")
        return explain_ranks(
            report, self.folder, 3, "ml/train-1", container="base", events=lambda pod: self.events.get(pod, ())
        )


@pytest.fixture
def attempt(tmp_path):
    attempt = Attempt(tmp_path / "job")
    for rank in range(3):
        attempt.says(rank)
    return attempt


def test_all_that_succeed_make_a_result(attempt):
    assert examine_ranks(attempt.folder, 3).output is Output.VERIFIED


def test_the_rank_that_failed_is_named_before_those_that_missed_it(attempt):
    attempt.says(0, error=f"PeerLostError: rank 1 has left the group: {NOTHING}", at=99.0)
    attempt.says(1, error="ValueError: no rows", at=100.0)
    attempt.folder.directory(1).log.write_text("reading\n")
    for rank in (0, 1):
        attempt.pod(rank, "Failed", exitCode=1)
    failure = attempt.explained()
    text = str(failure.error)
    assert text.startswith(
        "job ml/train-1: rank 1 of 3 (pod pod-1): the script failed: ValueError: no rows; last lines"
    )
    assert "reading\nthereafter: rank 0 of 3 (pod pod-0): PeerLostError: rank 1 has left the group" in text
    assert isinstance(failure.error, PermanentAdapterError)
    assert failure.exit_code == 1


def test_of_two_scripts_that_failed_the_first_is_named(attempt):
    attempt.says(0, error="ValueError: second", at=101.0)
    attempt.says(2, error="ValueError: first", at=100.0)
    for rank in (0, 2):
        attempt.pod(rank, "Failed", exitCode=1)
    assert "rank 2 of 3 (pod pod-2): the script failed: ValueError: first" in str(attempt.explained().error)


def test_what_the_cluster_did_comes_before_what_scripts_say(attempt):
    attempt.says(0, error="ConnectionResetError: peer", at=99.0)
    attempt.pod(0, "Failed", exitCode=1)
    attempt.says(2, signal=9)
    attempt.pod(2, "Failed", exitCode=137, reason="OOMKilled")
    error = attempt.explained().error
    assert str(error).startswith("job ml/train-1: rank 2 of 3 (pod pod-2): container 'base' ran out of memory")
    assert isinstance(error, PermanentAdapterError)


def test_a_preempted_pod_is_named_by_its_events(attempt):
    for rank in range(3):
        attempt.says(rank, signal=15, at=100.0 + rank)
        attempt.pod(rank, None)
        (attempt.folder.directory(rank).path / "result.json").unlink()
    attempt.events["pod-1"] = [{"reason": "Preempted", "message": "by urgent"}]
    error = attempt.explained().error
    assert "rank 1 of 3 (pod pod-1): the pod was preempted by a more important one (Preempted): by urgent" in str(error)
    assert isinstance(error, TransientAdapterError)


def test_of_pods_that_are_gone_the_first_is_named_and_the_one_made_again_is_not(attempt):
    for rank, at in ((0, 103.0), (1, 103.1), (2, 100.0)):
        attempt.says(rank, signal=15, at=at)
        attempt.pod(rank, None)
        (attempt.folder.directory(rank).path / "result.json").unlink()
    attempt.pods["again"] = {
        "metadata": {"name": "again"},
        "status": {
            "phase": "Failed",
            "containerStatuses": [{"name": "base", "state": {"terminated": {"exitCode": 76, "message": "claimed"}}}],
        },
    }
    error = attempt.explained().error
    assert str(error).startswith("job ml/train-1: rank 2 of 3 (pod pod-2): the pod is gone: it was deleted before it")
    assert isinstance(error, TransientAdapterError)


def test_a_lost_connection_is_to_blame_where_all_else_is_what_the_cluster_did_then(attempt):
    attempt.says(0, error=f"PeerLostError: rank 1 has left the group: {NOTHING}", at=100.0)
    attempt.pod(0, "Failed", exitCode=1)
    for rank in (1, 2):
        attempt.says(rank, signal=15, at=103.0)
        attempt.pod(rank, None)
        (attempt.folder.directory(rank).path / "result.json").unlink()
    error = attempt.explained().error
    assert "rank 0 of 3 (pod pod-0): the script failed: PeerLostError" in str(error).splitlines()[0]
    assert isinstance(error, TransientAdapterError)


def test_a_failure_is_told_even_when_all_pods_are_gone(attempt):
    attempt.says(1, error="ValueError: no rows")
    for rank in range(3):
        attempt.pod(rank, None)
    assert "rank 1 of 3 (pod pod-1): the script failed: ValueError: no rows" in str(attempt.explained(None).error)


def test_a_pod_that_fails_before_it_has_a_rank_is_named(tmp_path):
    attempt = Attempt(tmp_path / "job")
    for rank in range(3):
        (attempt.folder.path / f"rank-{rank}.claim").unlink()
        attempt.pod(rank, "Failed", exitCode=1, message="No module named airflow_mlops")
    error = attempt.explained().error
    assert (
        "pod pod-0, which has no rank: container 'base' ended with exit code 1; last lines of its log:\nNo mod"
        in str(error)
    )


def test_a_job_that_was_deleted_and_one_that_made_no_pods_say_so(tmp_path):
    attempt = Attempt(tmp_path / "job")
    for rank in range(3):
        (attempt.folder.path / f"rank-{rank}.claim").unlink()
        attempt.pod(rank, None)
    assert "job ml/train-1 is gone: it was deleted before" in str(attempt.explained(None).error)
    failed = {"type": "Failed", "status": "True", "reason": "Forbidden", "message": "quota"}
    refused = {"metadata": {"name": "train-1"}, "status": {"conditions": [failed]}}
    assert "job ml/train-1 failed: Forbidden: quota" in str(attempt.explained(refused).error)


def test_pods_that_end_well_but_write_elsewhere_are_no_success(tmp_path):
    attempt = Attempt(tmp_path / "job")
    for rank in range(3):
        (attempt.folder.path / f"rank-{rank}.claim").unlink()
    (attempt.folder.attempts.path / "attempts" / "01-a.claim").unlink()
    done = {"metadata": {"name": "train-1"}, "status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    error = attempt.explained(done).error
    assert isinstance(error, ContractError)
    assert "must be a volume of the pods" in str(error)
