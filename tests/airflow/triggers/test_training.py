"""Triggers that wait for trainings survive the way through Airflow's database."""

from __future__ import annotations

import asyncio
import json

import pytest
from airflow.sdk.module_loading import import_string

from airflow_mlops.codec import encode
from airflow_mlops.hooks.cluster import ClusterAccess
from airflow_mlops.training.sightings import Seen
from airflow_mlops.triggers.events import from_payload, to_payload
from airflow_mlops.triggers.training import CustomResourceTrigger, TrainingEvent, TrainingPodsTrigger

pytest.importorskip("airflow.providers.cncf.kubernetes")

ACCESS = encode(ClusterAccess(config_file="/k"))
RESOURCE = {
    "kind": "RayJob",
    "namespace": "ml",
    "name": "train-1",
    "access": ACCESS,
    "poll_seconds": 0.05,
    "start_deadline": 1.0,
    "deadline": None,
    "task": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1},
    "carried": {"attempt": "a1"},
}
PODS = {
    "namespace": "ml",
    "selector": "team=flights",
    "container": "base",
    "created_after": None,
    "seen": encode(Seen(folder="/f", attempt="a1")),
    "access": ACCESS,
    "poll_seconds": 0.05,
    "deadline": 1.0,
    "carried": {"deadline": 1.0},
}


@pytest.mark.parametrize(("trigger", "given"), [(CustomResourceTrigger, RESOURCE), (TrainingPodsTrigger, PODS)])
def test_a_trigger_round_trips_through_json(trigger, given):
    path, arguments = trigger(**given).serialize()
    again = import_string(path)(**json.loads(json.dumps(arguments)))
    assert type(again) is trigger
    assert again.serialize() == (path, given)


def test_an_event_round_trips_through_json():
    event = TrainingEvent(name="ml/train-1", carried={"attempt": "a1"})
    assert from_payload(TrainingEvent, json.loads(json.dumps(to_payload(event)))) == event


@pytest.mark.parametrize(
    ("trigger", "given"),
    [(CustomResourceTrigger, {**RESOURCE, "deadline": 1.0}), (TrainingPodsTrigger, PODS)],
)
def test_a_cluster_that_does_not_answer_is_waited_for_no_longer_than_the_task_may(trigger, given, silent_cluster):
    access = encode(ClusterAccess(conn_id=None, config_file=silent_cluster))
    made = trigger(**{**given, "access": access})

    async def events():
        return [from_payload(TrainingEvent, event.payload) async for event in made.run()]

    (event,) = asyncio.run(events())
    assert event.carried == given["carried"]
