"""Which training is followed, and what is made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from airflow_mlops.training.attempts import Action, Attempt, Output
from airflow_mlops.training.phase import PodPhase
from airflow_mlops.training.pods import DIRECTORY_ANNOTATION
from airflow_mlops.training.sightings import Seen, conclude, newest


def pod(name: str, directory: str | None, minute: int, phase: str = "Running") -> dict[str, Any]:
    annotations = {DIRECTORY_ANNOTATION: directory} if directory else {}
    created = f"2026-01-01T00:{minute:02d}:00Z"
    return {
        "metadata": {"name": name, "annotations": annotations, "creationTimestamp": created},
        "status": {"phase": phase},
    }


def test_nothing_is_seen_where_no_pod_is_a_trainings() -> None:
    assert newest([], container="base") is None
    assert newest([pod("web", None, 1)], container="base") is None


def test_the_training_with_the_newest_pod_is_followed_with_all_its_pods() -> None:
    pods = [
        pod("old", "/store/jobs/one/attempts/a9", 1),
        pod("first", "/store/jobs/two/attempts/a1", 0, "Failed"),
        pod("rank-1", "/store/jobs/two/attempts/a2", 2, "Succeeded"),
        pod("rank-0", "/store/jobs/two/attempts/a2", 2),
    ]
    sighting = newest(pods, container="base")
    assert sighting is not None
    assert sighting.seen == Seen(folder="/store/jobs/two", attempt="a2")
    assert set(sighting.reports) == {"a1", "a2"}
    assert sighting.is_live
    assert sighting.report("a2")[0] == "rank-0"
    assert sighting.report("a1")[1].phase is PodPhase.FAILED
    assert sighting.report("a3")[1].phase is PodPhase.ABSENT


def test_earlier_pods_do_not_count() -> None:
    pods = [pod("old", "/store/jobs/one/attempts/a1", 1)]
    assert newest(pods, container="base", created_after=datetime(2026, 1, 1, 0, 2, tzinfo=UTC)) is None
    # The API server keeps whole seconds, the caller's clock does not.
    assert newest(pods, container="base", created_after=datetime(2026, 1, 1, 0, 1, 0, 5, tzinfo=UTC)) is not None


SEEN = Seen(folder="/f", attempt="a1")
VERIFIED, UNUSABLE = Output.VERIFIED, Output.UNUSABLE


@pytest.mark.parametrize(
    ("attempts", "action", "attempt"),
    [
        ([Attempt(name="a1", pod=PodPhase.RUNNING)], Action.WAIT, "a1"),
        ([Attempt(name="a1", pod=PodPhase.PENDING, ending=True)], Action.WAIT, "a1"),
        ([Attempt(name="a1", claimed=True, output=VERIFIED)], Action.FINISH, "a1"),
        ([Attempt(name="a1", claimed=True, output=VERIFIED, pod=PodPhase.FAILED)], Action.FINISH, "a1"),
        ([Attempt(name="a1", claimed=True, output=UNUSABLE)], Action.FAIL, "a1"),
        ([Attempt(name="a1")], Action.FAIL, "a1"),
        ([], Action.FAIL, "a1"),
        # A later try is about to be made, is at work, has succeeded, has failed.
        ([Attempt(name="a1", claimed=True, output=UNUSABLE), Attempt(name="a2")], Action.WAIT, "a2"),
        (
            [Attempt(name="a1", claimed=True, output=UNUSABLE), Attempt(name="a2", pod=PodPhase.RUNNING)],
            Action.WAIT,
            "a2",
        ),
        (
            [Attempt(name="a1", output=UNUSABLE), Attempt(name="a2", claimed=True, output=VERIFIED)],
            Action.FINISH,
            "a2",
        ),
        (
            [Attempt(name="a1", output=UNUSABLE), Attempt(name="a2", claimed=True, output=UNUSABLE)],
            Action.FAIL,
            "a2",
        ),
        # An earlier try had succeeded before its worker noticed.
        ([Attempt(name="a0", claimed=True, output=VERIFIED), Attempt(name="a1")], Action.FINISH, "a0"),
    ],
)
def test_what_a_watcher_does(attempts: list[Attempt], action: Action, attempt: str) -> None:
    decision = conclude(attempts, SEEN)
    assert (decision.action, decision.attempt) == (action, attempt)
