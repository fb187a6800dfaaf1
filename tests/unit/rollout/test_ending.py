"""When a rollout is over."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.rollout.ending import ending
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin
from airflow_mlops.rollout.step import abort

SPEC = RolloutSpec(steps=(CanaryStep(weight_percent=10),))


def under_way(candidate: str = "m-v2") -> RolloutState:
    return begin(spec=SPEC, model_name="m", candidate=candidate, stable="m-v1", now=5.0)


def back(candidate: str = "m-v2") -> RolloutState:
    return abort(under_way(candidate), 9.0, "worse")


def lease(holder: str = "", state: RolloutState | None = None, previous: RolloutState | None = None) -> Lease:
    return Lease(token=1, holder=holder, expires_at=100.0 if holder else 0.0, state=state, previous=previous)


def test_how_it_ended() -> None:
    found = ending(lease(state=back()), now=50)
    assert found is not None
    assert (found.outcome, found.candidate, found.stable) == ("rolled_back", "m-v2", "m-v1")
    assert (found.weights, found.reason, found.ended_at) == ({"m-v1": 100}, "worse", 9.0)
    promoted = ending(lease(state=replace(under_way(), phase="promoted")), now=50)
    assert promoted is not None
    assert promoted.weights == {"m-v2": 100}


@pytest.mark.parametrize(
    "found",
    [None, lease("a"), lease("a", under_way()), lease("", under_way()), lease("a", back()), lease("a", None, back())],
    ids=["never", "begins", "goes on", "left", "decided, not carried out", "the next one begins"],
)
@pytest.mark.parametrize("candidate", [None, "m-v2"])
def test_what_is_not_over(found: Any, candidate: str | None) -> None:
    assert ending(found, now=50, candidate=candidate) is None


def test_a_lease_that_ended_holds_nothing_up() -> None:
    assert ending(lease("a", back()), now=101) is not None


def test_a_certain_candidates() -> None:
    assert ending(lease(state=back("m-v3")), now=50, candidate="m-v2") is None
    # The next rollout is under way already.
    found = ending(lease("a", under_way("m-v3"), back()), now=50, candidate="m-v2")
    assert found is not None
    assert found.candidate == "m-v2"
    assert ending(lease("a", under_way("m-v3"), back()), now=50) is None
