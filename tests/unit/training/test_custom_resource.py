"""What all custom resources that train have in common."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.training.custom_resource import age_seconds, lost_fields, merged, resource_name
from airflow_mlops.training.kinds import KINDS
from airflow_mlops.training.phase import Cause, PodPhase
from airflow_mlops.training.ray import RAY_JOB

# RFC 1035, which Trainer asks for, and KubeRay's length.
NAME = re.compile(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?")


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_resource_that_is_not_there_is_gone(kind) -> None:
    report = kind.report(None)
    assert report.phase is PodPhase.ABSENT
    assert report.trouble is not None
    assert report.trouble.cause is Cause.GONE


def test_a_resource_that_is_being_deleted_is_ending() -> None:
    assert not RAY_JOB.report({"metadata": {}}).ending
    report = RAY_JOB.report({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert (report.phase, report.ending) == (PodPhase.PENDING, True)


@given(st.text(max_size=80), st.text(), st.text())
def test_every_name_is_one_for_every_controller(task_id: str, one: str, other: str) -> None:
    name = resource_name(task_id, one)
    assert NAME.fullmatch(name)
    assert resource_name(task_id, one) == name
    assert (resource_name(task_id, other) == name) == (one == other)


def test_a_name_is_for_people_too() -> None:
    assert resource_name("Train the flights", "x").startswith("train-the-flights-")
    assert resource_name("2nd_try", "x").startswith("t-2nd-try-")


def test_age_is_counted_from_the_api_servers_clock() -> None:
    now = datetime(2026, 1, 1, 0, 1, tzinfo=UTC)
    assert age_seconds({"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}}, now) == 60
    assert age_seconds({"metadata": {}}, now) == 0


def test_mappings_are_merged_and_everything_else_is_replaced() -> None:
    document = {"spec": {"a": {"b": 1, "c": 2}, "d": [1, 2]}}
    assert merged(document, {"spec": {"a": {"b": 3}, "d": [4], "e": {}}}) == {
        "spec": {"a": {"b": 3, "c": 2}, "d": [4], "e": {}}
    }
    assert document == {"spec": {"a": {"b": 1, "c": 2}, "d": [1, 2]}}


@pytest.mark.parametrize(
    ("sent", "stored", "lost"),
    [
        ({"a": 1}, {"a": 1, "default": 2}, []),
        ({"a": 1}, {"a": 2}, []),  # an admission webhook may change a value
        ({"a": {"b": 1}}, {"a": {}}, ["spec.a.b"]),
        ({"a": {"b": 1}}, {}, ["spec.a"]),
        ({"a": [{"b": 1}, {"b": 2}]}, {"a": [{"b": 1}, {}]}, ["spec.a[1].b"]),
        ({"a": [{"b": 1}]}, {"a": []}, ["spec.a[0].b"]),
        ({"a": ["x", "y"]}, {"a": ["x", "y", "z"]}, []),
        ({"a": "text"}, {"a": "text"}, []),
    ],
)
def test_what_the_api_server_dropped_is_found(sent, stored, lost) -> None:
    assert lost_fields(sent, stored) == lost
