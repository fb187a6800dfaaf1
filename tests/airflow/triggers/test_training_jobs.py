"""What the trigger of a training in several pods tells its task."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from airflow_mlops.codec import encode
from airflow_mlops.training.indexed import JobReport, MemberReport, Patience
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.triggers.events import from_payload, to_payload
from airflow_mlops.triggers.training_jobs import FollowedJob, TrainingJobEvent, TrainingJobTrigger, _decide, _unseen

FOLLOWED = FollowedJob(
    namespace="ml",
    name="train-1",
    labels={"airflow-mlops/job": "j"},
    container="base",
    parallelism=1,
    patience=Patience(schedule_seconds=60, startup_seconds=60),
    attempt="01-a",
    folder="/store/j",
    deadline=2000.0,
)


def report(phase, trouble=None):
    member = MemberReport(pod="p", rank=0, report=PodReport(phase=phase, trouble=trouble), since=0.0)
    return JobReport(phase=phase, members=(member,))


@pytest.mark.parametrize(
    ("found", "now", "kind"),
    [
        (report(PodPhase.RUNNING), 10, None),
        (report(PodPhase.RUNNING), 100, "log"),
        (report(PodPhase.RUNNING), 2000, "late"),
        (report(PodPhase.FAILED), 2000, "ended"),
        (JobReport(phase=PodPhase.ABSENT, present=False), 10, "ended"),
        (report(PodPhase.PENDING), 10, None),
        (report(PodPhase.PENDING, Trouble(cause=Cause.UNSCHEDULABLE, message="no node")), 61, "stuck"),
    ],
)
def test_the_task_is_woken_when_there_is_something_to_do(found, now, kind):
    event = _decide(found, FOLLOWED, now, 100)
    assert (event and event.kind) == kind
    if event is not None:
        assert event.job == FOLLOWED
        assert from_payload(TrainingJobEvent, to_payload(event)) == event


def test_without_a_time_for_the_log_the_task_sleeps_on():
    assert _decide(report(PodPhase.RUNNING), replace(FOLLOWED, deadline=None), 10**9, None) is None


def test_a_cluster_that_stays_away_wakes_the_task():
    assert _unseen(9, OSError("no route"), FOLLOWED) is None
    assert _unseen(10, OSError("no route"), FOLLOWED).kind == "unknown"


def test_the_trigger_comes_back_as_it_was():
    trigger = TrainingJobTrigger(job=encode(FOLLOWED), cluster={"conn_id": "k"}, poll_seconds=1, logging_seconds=5)
    path, arguments = trigger.serialize()
    assert path == "airflow_mlops.triggers.training_jobs.TrainingJobTrigger"
    assert TrainingJobTrigger(**arguments).serialize() == (path, arguments)


def test_a_cluster_that_cannot_be_reached_is_an_event_and_no_crash(free_port, caplog):
    server = {"cluster": {"server": f"http://127.0.0.1:{free_port}"}, "name": "c"}
    config = {
        "clusters": [server],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    cluster = {"conn_id": None, "config_dict": config, "in_cluster": None}
    trigger = TrainingJobTrigger(job=encode(FOLLOWED), cluster=cluster, poll_seconds=0.0)

    async def first():
        return await anext(aiter(trigger.run()))

    event = from_payload(TrainingJobEvent, asyncio.run(first()).payload)
    assert (event.kind, event.job) == ("unknown", FOLLOWED)
