"""What a try does when it finds an earlier attempt in some state."""

from __future__ import annotations

import pytest

from airflow_mlops.training.attempts import Action, Attempt, Output, decide, settle
from airflow_mlops.training.phase import PodPhase


def attempt(number=1, **changes):
    return Attempt(**{"name": f"{number}-a", **changes})


DONE = {"claimed": True, "output": Output.VERIFIED}
BROKEN = {"claimed": True, "output": Output.UNUSABLE}

CASES = {
    "nothing is there": (attempt(), [], Action.SUBMIT, "1-a"),
    "own pod waits": (attempt(pod=PodPhase.PENDING), [], Action.FOLLOW, "1-a"),
    "own pod runs": (attempt(pod=PodPhase.RUNNING, claimed=True), [], Action.FOLLOW, "1-a"),
    "own pod is deleted": (attempt(pod=PodPhase.RUNNING, ending=True), [], Action.WAIT, "1-a"),
    "own pod is done": (attempt(pod=PodPhase.SUCCEEDED, **DONE), [], Action.FINISH, "1-a"),
    "own pod is done and gone": (attempt(**DONE), [], Action.FINISH, "1-a"),
    "own pod succeeded without a result": (attempt(pod=PodPhase.SUCCEEDED, **BROKEN), [], Action.FAIL, "1-a"),
    "own pod failed before its script": (attempt(pod=PodPhase.FAILED), [], Action.FAIL, "1-a"),
    "own pod is gone in the middle": (attempt(**BROKEN), [], Action.FAIL, "1-a"),
    "earlier pod runs": (attempt(2), [attempt(pod=PodPhase.RUNNING, claimed=True)], Action.FOLLOW, "1-a"),
    "earlier pod ends": (attempt(2), [attempt(pod=PodPhase.RUNNING, ending=True)], Action.WAIT, "1-a"),
    "earlier attempt is done": (attempt(2), [attempt(pod=PodPhase.SUCCEEDED, **DONE)], Action.FINISH, "1-a"),
    "earlier attempt is done but own pod runs": (
        attempt(2, pod=PodPhase.RUNNING),
        [attempt(**DONE)],
        Action.FOLLOW,
        "2-a",
    ),
    "earlier attempt failed": (attempt(2), [attempt(pod=PodPhase.FAILED, **BROKEN)], Action.SUBMIT, "2-a"),
    "the newest of several results": (attempt(3), [attempt(1, **DONE), attempt(2, **DONE)], Action.FINISH, "2-a"),
}


@pytest.mark.parametrize("name", CASES)
def test_each_situation_has_one_answer(name):
    current, others, action, which = CASES[name]
    decision = decide(current, others)
    assert (decision.action, decision.attempt) == (action, which)
    assert decision.reason.startswith(f"attempt {which}: ")


@pytest.mark.parametrize(
    ("found", "action"),
    [
        (attempt(pod=PodPhase.RUNNING, output=Output.VERIFIED), Action.WAIT),
        (attempt(pod=PodPhase.SUCCEEDED, **DONE), Action.FINISH),
        (attempt(pod=PodPhase.FAILED, **DONE), Action.FINISH),
        (attempt(**DONE), Action.FINISH),
        (attempt(pod=PodPhase.SUCCEEDED), Action.FAIL),
        (attempt(pod=PodPhase.SUCCEEDED, **BROKEN), Action.FAIL),
    ],
)
def test_only_a_verified_result_of_a_pod_that_has_ended_counts(found, action):
    assert settle(found) is action
