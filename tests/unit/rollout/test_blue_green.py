"""All traffic at once, judged against what the stable model did before."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import ArmCounters, Counts, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, approve, awaits_approval, begin, intended_weights, stable_target
from airflow_mlops.rollout.step import step

OLD, NEW = "m-v1", "m-v2"
STEPS = (
    CanaryStep(weight_percent=0, min_seconds=10, min_requests=500),
    CanaryStep(weight_percent=100, min_seconds=30, min_requests=500),
)


def spec(**changes: Any) -> RolloutSpec:
    return RolloutSpec(**{"strategy": "blue_green", "steps": STEPS, "max_unknown_seconds": 20, **changes})


def look(state: RolloutState, now: float, **counts: tuple[int, int]) -> RolloutState:
    """Look at counters that only the model with the traffic has to have."""
    names = {"new": NEW, "old": OLD}
    counters = {names[key]: ArmCounters(requests=n, errors=e, timed=n) for key, (n, e) in counts.items()}
    route = RouteView(route="m", weights=intended_weights(state))
    state, _ = step(state, Observation(route=route, counters=counters), now)
    return decode(RolloutState, encode(state))


def switched(**changes: Any) -> RolloutState:
    state = begin(spec=spec(**changes), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    assert intended_weights(state) == {OLD: 100}
    state = look(state, 1.0, old=(1000, 7))
    state = look(state, 12.0, old=(2000, 17))
    assert intended_weights(state) == {NEW: 100}
    return look(state, 13.0, new=(0, 0))


def test_the_stable_model_is_measured_then_all_traffic_moves() -> None:
    state = switched()
    assert (state.before.requests, state.before.errors) == (1000, 10)
    assert "1000 requests at m-v1 before the switch, 500 are needed" in state.reason


def test_a_candidate_that_is_as_good_stays() -> None:
    state = switched()
    for number in range(1, 12):
        state = look(state, 13.0 + 5 * number, new=(400 * number, 4 * number))
    assert state.phase == "promoted"
    assert intended_weights(state) == {NEW: 100}


def test_harm_takes_all_traffic_back_at_once() -> None:
    state = look(switched(), 15.0, new=(60, 12))
    assert intended_weights(state) == {OLD: 100}
    assert "12 of 60 requests failed at m-v2, 10 of 1000 at m-v1: m-v2 is worse beyond chance" in state.reason


def test_a_silent_candidate_goes_back() -> None:
    state = switched()
    state = look(state, 15.0, new=(0, 0))
    assert look(state, 35.0, new=(0, 0)).phase == "rolled_back"


def test_a_switch_that_only_half_happened_proves_nothing() -> None:
    state = look(switched(), 14.0, new=(0, 0), old=(2000, 17))
    state = look(state, 15.0, new=(300, 0), old=(2001, 17))  # what it had begun
    assert state.unknown_since is None
    state = look(state, 17.0, new=(600, 0), old=(2300, 17))
    assert state.unknown_since == 17.0
    assert "600 of 900 requests (66.7%) came to m-v2; its weight is 100%" in state.checks[1].reason


def test_slow_answers_are_compared_with_those_before() -> None:
    state = switched(latency=LatencyCheck(slow_ms=250))
    route = RouteView(route="m", weights=intended_weights(state))
    counters = {NEW: ArmCounters(requests=100, errors=0, timed=100, slow=50)}
    state, plan = step(state, Observation(route=route, counters=counters), 15.0)
    assert plan.action == "roll_back"
    assert "50 of 100 requests took longer than 250 ms at m-v2, 0 of 1000 at m-v1" in state.reason


def test_the_switch_can_wait_for_approval() -> None:
    steps = (CanaryStep(weight_percent=0, min_seconds=10, min_requests=500, approval=True), STEPS[1])
    state = begin(spec=spec(steps=steps), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    state = look(state, 1.0, old=(0, 0))
    state = look(state, 12.0, old=(1000, 10))
    assert awaits_approval(state)
    state = look(approve(state, by="ada", now=13.0), 14.0, old=(1100, 10))
    assert intended_weights(state) == {NEW: 100}


def test_too_few_requests_before_the_switch_never_switch() -> None:
    state = begin(spec=spec(), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    state = look(state, 1.0, old=(0, 0))
    for second in range(2, 320):
        state = look(state, float(second), old=(second, 0))
        assert intended_weights(state) == {OLD: 100}
    assert state.phase == "rolled_back"
    assert "before the switch, 500 are needed" in state.reason


def test_counters_that_begin_again_after_the_switch_count_on() -> None:
    state = look(switched(), 15.0, new=(300, 3))
    state = look(state, 17.0, new=(100, 1))
    assert state.canary == Counts(requests=400, errors=4, timed=400)
    assert state.unknown_since is None


def test_a_switch_that_died_leaves_its_stable_model_the_stable_one() -> None:
    assert stable_target({NEW: 100}, switched(), "m-v3") == OLD
    assert stable_target({"m-v0": 100}, switched(), "m-v3") == "m-v0"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"steps": [{"weight_percent": 10}]}, r"steps: \[10\] .* two steps with blue_green: 0 %"),
        ({"steps": [{"weight_percent": 0}]}, r"steps: \[0\] .* then 100 %"),
        ({"strategy": "canary"}, r"steps\[0\]\.weight_percent: 0 .* 0 and 100 belong to the strategy blue_green"),
        ({"max_samples": 5000}, r"max_samples: 5000 .* nothing with blue_green"),
        ({"labels": {"age_seconds": 60}}, r"labels: .* arrive after it; use a holdback"),
        ({"fixed_horizon": {}}, r"fixed_horizon: .* answer at the same time"),
        ({"strategy": "red_black"}, r"spec\.strategy: 'red_black' .*canary.*blue_green"),
    ],
)
def test_steps_that_contradict_the_strategy_are_refused(changes: dict[str, Any], message: str) -> None:
    values = {"strategy": "blue_green", "steps": [{"weight_percent": 0}, {"weight_percent": 100}], **changes}
    with pytest.raises(SpecificationError, match=message):
        decode(RolloutSpec, values, where="spec")


@pytest.mark.parametrize("before", [500, 5000])
def test_equal_candidates_go_back_as_seldom_as_alpha_says(before: int) -> None:
    """What was counted before the switch is one draw: it stays as lucky as it was, at every look."""
    import numpy as np

    alpha, rate = 0.2, 0.03
    rules = spec(
        alpha=alpha,
        error_rate=ErrorRateCheck(max_increase=1e-9),
        steps=(STEPS[0], CanaryStep(weight_percent=100, min_seconds=1e6, min_requests=100, timeout_seconds=1e7)),
    )
    random, back = np.random.default_rng(20130101), 0
    for _ in range(150):
        state = begin(spec=rules, model_name="m", candidate=NEW, stable=OLD, now=0.0)
        state = step(state, observed(OLD, 0, 0), 1.0)[0]
        state = step(state, observed(OLD, before, int(random.binomial(before, rate))), 100.0)[0]
        state = step(state, observed(NEW, 0, 0), 101.0)[0]
        errors = 0
        for number in range(1, 61):
            errors += int(random.binomial(200, rate))
            state = step(state, observed(NEW, 200 * number, errors), 101.0 + number)[0]
            if state.finished:
                back += 1
                break
    assert back <= alpha * 150


def observed(name: str, requests: int, errors: int) -> Observation:
    counters = {name: ArmCounters(requests=requests, errors=errors, timed=requests)}
    return Observation(route=RouteView(route="m", weights={name: 100}), counters=counters)
