"""Kayenta's way of seeing harm: once, after a fixed number of looks."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, MannWhitneyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

OLD, NEW = "m-v1", "m-v2"


def rollout(**changes: Any) -> RolloutState:
    values: dict[str, Any] = {
        "steps": (CanaryStep(weight_percent=50, min_seconds=4, min_requests=100),),
        "error_rate": ErrorRateCheck(max_increase=0.03),
        "fixed_horizon": MannWhitneyCheck(looks=20),
        **changes,
    }
    return begin(spec=RolloutSpec(**values), model_name="m", candidate=NEW, stable=OLD, now=0.0)


def run(errors: Any, *, looks: int, requests: int = 100, **changes: Any) -> tuple[RolloutState, Plan, int]:
    """Look until the end; ``errors`` gives those of candidate and stable model at a look."""
    state, totals = rollout(**changes), {NEW: 0, OLD: 0}
    for number in range(looks + 1):
        if number:
            for name, more in zip((NEW, OLD), errors(number), strict=True):
                totals[name] += more
        counters = {
            name: ArmCounters(requests=requests * number, errors=total, timed=requests * number)
            for name, total in totals.items()
        }
        seen = Observation(route=RouteView(route="m", weights=intended_weights(state)), counters=counters)
        state, plan = step(state, seen, 2.0 * (number + 1))
        if state.finished:
            break
    return state, plan, number


def test_nothing_is_decided_before_the_horizon() -> None:
    state, plan, _ = run(lambda n: (9 + n % 3, 2 + n % 2), looks=19)
    assert plan.action == "hold"
    assert state.checks[0].reason.endswith("19 of 20 looks were seen; ranks are compared then")
    assert decode(RolloutState, encode(state)) == state


def test_a_worse_candidate_goes_back_at_the_horizon() -> None:
    state, plan, number = run(lambda n: (9 + n % 3, 2 + n % 2), looks=30)
    assert (plan.action, number) == ("roll_back", 20)
    assert "over 20 looks its rate lies +8.000% from the other" in state.reason
    assert len(state.points["error_rate"]) == 20


def test_an_equal_candidate_still_has_to_be_proven() -> None:
    state, plan, number = run(lambda n: (1, 1), looks=30)
    assert (plan.action, number) == ("promote", 20)
    state, plan, _ = run(lambda n: (1, 1), looks=30, error_rate=ErrorRateCheck(max_increase=0.0001))
    assert plan.action == "hold"
    assert len(state.points["error_rate"]) == 20  # no more are kept than are compared


def test_a_ratio_below_the_critical_one_is_no_harm() -> None:
    _, plan, _ = run(
        lambda n: (9 + n % 3, 2 + n % 2), looks=22, fixed_horizon=MannWhitneyCheck(looks=20, critical_ratio=10.0)
    )
    assert plan.action == "hold"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_samples": 1000}, "nothing beside max_samples"),
        ({"step_timeout_seconds": 42.0}, "more than the looks of fixed_horizon take, which is 42"),
        ({"steps": ()}, "at least one step"),
    ],
)
def test_what_does_not_fit_together_is_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(SpecificationError, match=words):
        rollout(**{"step_timeout_seconds": 300.0, "steps": (CanaryStep(weight_percent=50, min_seconds=4),), **changes})


def test_a_horizon_that_shows_nothing_is_refused() -> None:
    with pytest.raises(SpecificationError, match="10 to 300 looks"):
        MannWhitneyCheck(looks=3)
