"""The transition, look by look."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, since
from airflow_mlops.rollout.plan import Plan, describe
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights, stable_target
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.verdict import Verdict

OLD, NEW = "m-v1", "m-v2"


def spec(**changes: Any) -> RolloutSpec:
    values: dict[str, Any] = {
        "steps": (
            CanaryStep(weight_percent=10, min_seconds=10, min_requests=100),
            CanaryStep(weight_percent=50, min_seconds=10, min_requests=100),
        ),
        "error_rate": ErrorRateCheck(max_increase=0.05),
        "step_timeout_seconds": 100,
        "max_unknown_seconds": 30,
        **changes,
    }
    return RolloutSpec(**values)


def start(**changes: Any) -> RolloutState:
    return begin(spec=spec(**changes), model_name="m", candidate=NEW, stable=OLD, now=0.0)


def seen(
    state: RolloutState, *, new: tuple[int, int] | tuple[int, int, int], old: tuple[int, int] | tuple[int, int, int]
) -> Observation:
    """Cumulative (requests, errors, slow) of both arms, over a route as the state wants it."""
    counters = {
        name: ArmCounters(requests=c[0], errors=c[1], timed=c[0], slow=c[2] if len(c) == 3 else 0)
        for name, c in ((NEW, new), (OLD, old))
    }
    return Observation(route=RouteView(route="m", generation=3, weights=intended_weights(state)), counters=counters)


def counting(**changes: Any) -> RolloutState:
    """A rollout whose first look was taken at 1 s, with all counters at zero."""
    state, plan = step(start(**changes), seen(start(**changes), new=(0, 0), old=(0, 0)), 1.0)
    assert plan.action == "hold"
    return state


def test_a_rollout_begins_with_the_share_of_its_first_step() -> None:
    assert intended_weights(start()) == {NEW: 10, OLD: 90}


def test_without_a_stable_model_the_candidate_takes_all_at_once_and_says_so() -> None:
    state = begin(spec=spec(), model_name="m", candidate=NEW, stable=None, now=0.0)
    assert state.phase == "promoted"
    assert intended_weights(state) == {NEW: 100}
    assert "no stable model to compare with" in state.reason


def test_weights_that_are_not_in_effect_are_written_before_anything_is_counted() -> None:
    state = start()
    observation = replace(
        seen(state, new=(0, 0), old=(50, 0)), route=RouteView(route="m", generation=7, weights={OLD: 100})
    )
    after, plan = step(state, observation, 1.0)
    assert (plan.action, plan.weights, plan.expected_generation) == ("set_weights", {NEW: 10, OLD: 90}, 7)
    assert after.step_since is None


def test_counts_before_the_step_do_not_count() -> None:
    state, _ = step(start(), seen(start(), new=(500, 400), old=(5000, 0)), 1.0)
    state, plan = step(state, seen(state, new=(550, 400), old=(5450, 0)), 20.0)
    assert (state.canary.requests, state.canary.errors) == (50, 0)
    assert plan.action == "hold"


def test_a_proven_step_leads_to_the_next_and_the_last_to_all_traffic() -> None:
    state = counting()
    state, plan = step(state, seen(state, new=(120, 0), old=(1080, 0)), 12.0)
    assert (plan.action, plan.weights, plan.verdict) == ("set_weights", {NEW: 50, OLD: 50}, Verdict.PASS)
    state, _ = step(state, seen(state, new=(120, 0), old=(1080, 0)), 13.0)
    state, plan = step(state, seen(state, new=(620, 0), old=(1580, 0)), 24.0)
    assert (plan.action, plan.weights) == ("promote", {NEW: 100})
    assert state.phase == "promoted"
    assert [check.verdict for check in state.checks] == [Verdict.PASS] * 3
    assert all(check.sample_size for check in state.checks)


def test_min_seconds_and_min_requests_both_have_to_be_reached() -> None:
    early, plan = step(counting(), seen(start(), new=(1200, 0), old=(10800, 0)), 5.0)
    assert (plan.action, early.step_index) == ("hold", 0)
    few, plan = step(counting(), seen(start(), new=(99, 0), old=(901, 0)), 50.0)
    assert (plan.action, few.step_index) == ("hold", 0)
    assert "99 requests at m-v2 and 901 at m-v1 of 100" in plan.reason


def test_harm_rolls_back_before_min_requests_are_reached() -> None:
    state, plan = step(counting(), seen(start(), new=(40, 8), old=(360, 0)), 3.0)
    assert (plan.action, plan.weights, plan.verdict) == ("roll_back", {OLD: 100}, Verdict.FAIL)
    assert "8 of 40 requests failed at m-v2, 0 of 360 at m-v1: m-v2 is worse beyond chance" in state.reason


def test_harm_is_seen_over_several_looks_and_steps() -> None:
    state, now = counting(), 1.0
    errors = 0
    for look in range(1, 200):
        now += 1
        errors = look * 40 * 12 // 100
        state, _ = step(state, seen(state, new=(look * 40, errors), old=(look * 360, 0)), now)
        if state.finished:
            break
    assert state.phase == "rolled_back"
    assert errors < 20


def test_an_increase_within_what_is_tolerated_is_no_harm() -> None:
    state, plan = step(counting(), seen(start(), new=(10_000, 200), old=(90_000, 0)), 12.0)
    assert plan.action == "set_weights"
    assert state.step_index == 1


def test_slow_answers_roll_back() -> None:
    latency = LatencyCheck(slow_ms=250, max_increase=0.05)
    state = counting(latency=latency)
    state, plan = step(state, seen(state, new=(50, 0, 30), old=(450, 0, 3)), 3.0)
    assert plan.action == "roll_back"
    assert "30 of 50 requests took longer than 250 ms at m-v2" in state.reason


def test_a_restarted_proxy_counts_from_zero() -> None:
    state = counting()
    state, _ = step(state, seen(state, new=(80, 1), old=(720, 0)), 5.0)
    state, _ = step(state, seen(state, new=(30, 0), old=(270, 0)), 8.0)
    assert (state.canary.requests, state.canary.errors, state.baseline.requests) == (110, 1, 990)


def test_one_falling_counter_resets_the_arm() -> None:
    before = ArmCounters(requests=10, errors=5, timed=10, slow=0)
    assert since(before, ArmCounters(requests=40, errors=0, timed=40, slow=2)).requests == 40


def test_more_failures_than_requests_are_as_many_requests() -> None:
    """Counters that began again between two looks and grew past their old requests, but not past their old errors."""
    state, plan = step(counting(), seen(start(), new=(100, 0), old=(900, 0)), 5.0)
    state, plan = step(state, seen(state, new=(100, 30), old=(1800, 0)), 8.0)
    assert plan.action == "roll_back"
    assert "30 of 100 requests failed at m-v2" in plan.reason


def test_a_group_sequential_test_survives_more_failures_than_requests() -> None:
    state, _ = step(counting(max_samples=200), seen(start(), new=(7, 0), old=(27, 0)), 5.0)
    state, _ = step(state, seen(state, new=(7, 7), old=(27, 9)), 6.0)
    state, plan = step(state, seen(state, new=(12, 7), old=(27, 40)), 8.0)
    assert plan.verdict is not Verdict.PASS


def test_too_little_proof_rolls_back_with_how_much_more_is_needed() -> None:
    state = counting(error_rate=ErrorRateCheck(max_increase=0.005))
    now = 1.0
    for look in range(1, 80):
        now += 2
        state, plan = step(state, seen(state, new=(look * 10, 0), old=(look * 90, 0)), now)
        if state.finished:
            break
    assert (plan.action, plan.verdict) == ("roll_back", Verdict.INCONCLUSIVE)
    assert "not proven in 100 s at 10 %" in state.reason
    assert "more requests at m-v2 would decide" in state.reason


def test_rates_that_can_never_prove_it_say_so() -> None:
    # The harm is far from proven, but the increase is above what is tolerated.
    state = counting(error_rate=ErrorRateCheck(max_increase=0.001))
    now = 1.0
    for look in range(1, 60):
        now += 2
        state, plan = step(state, seen(state, new=(look * 3, look // 20), old=(look * 27, look * 27 // 100)), now)
        if state.finished:
            break
    assert plan.action == "roll_back"
    assert "more requests at these rates would not show that it is tolerable" in state.reason


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"route": None, "problem": "lock stayed taken"}, "the route cannot be read: lock stayed taken"),
        ({"counters": None, "problem": "timed out"}, "no measurements: timed out"),
        ({"counters": {OLD: ArmCounters(requests=1, errors=0)}}, "no measurements of m-v2"),
        (
            {"route": RouteView(route="m", weights={NEW: 10, OLD: 90}, foreign_edits=("rds.yaml was edited",))},
            "somebody else changed the route: rds.yaml was edited",
        ),
    ],
)
def test_while_nothing_is_known_the_weights_hold_and_then_go_back(change: dict[str, Any], words: str) -> None:
    state = counting()
    blind = replace(seen(state, new=(500, 0), old=(4500, 0)), **change)
    state, plan = step(state, blind, 20.0)
    assert (plan.action, plan.verdict) == ("hold", Verdict.ERROR)
    assert plan.reason == words
    state, plan = step(state, blind, 49.0)
    assert plan.action == "hold"
    state, plan = step(state, blind, 50.0)
    assert plan.action == "roll_back"
    assert f"nothing was known about m-v2 for 30 s; at last: {words}" == state.reason


def test_one_look_with_data_stops_the_budget() -> None:
    state = counting()
    for now in (10.0, 25.0):
        state, _ = step(state, replace(seen(state, new=(0, 0), old=(0, 0)), counters=None), now)
    state, _ = step(state, seen(state, new=(20, 0), old=(180, 0)), 30.0)
    assert state.unknown_since is None


def test_no_new_requests_are_no_evidence() -> None:
    state = counting()
    state, _ = step(state, seen(state, new=(90, 0), old=(810, 0)), 12.0)
    quiet = seen(state, new=(90, 0), old=(830, 0))
    state, plan = step(state, quiet, 14.0)
    assert plan.reason == "no new requests at m-v2"
    state, plan = step(state, quiet, 44.0)
    assert plan.action == "roll_back"


def test_a_share_that_contradicts_the_weight_proves_nothing() -> None:
    state = counting()
    state, plan = step(state, seen(state, new=(900, 0), old=(900, 0)), 12.0)
    assert (plan.action, plan.verdict) == ("hold", Verdict.ERROR)
    assert "900 of 1800 requests (50.0%) came to m-v2; its weight is 10%" in plan.reason


def test_an_end_is_repeated_until_the_route_says_it() -> None:
    state, _ = step(counting(), seen(start(), new=(40, 20), old=(360, 0)), 3.0)
    still_split = Observation(route=RouteView(route="m", weights={NEW: 10, OLD: 90}))
    for _ in range(3):
        same, plan = step(state, still_split, 4.0)
        assert same == state
        assert (plan.action, plan.expected_generation) == ("roll_back", None)
    done = Observation(route=RouteView(route="m", weights={OLD: 100}))
    assert step(state, done, 5.0)[1].action == "finish"


def test_the_plan_reads_as_a_line() -> None:
    plan = Plan(action="roll_back", weights={OLD: 100}, verdict=Verdict.FAIL, reason="8 of 40 failed")
    assert describe(plan) == "roll back [m-v1 100 %] — fail: 8 of 40 failed"


def test_a_state_without_a_stable_model_cannot_be_under_way() -> None:
    with pytest.raises(SpecificationError, match="only a first release has no stable model"):
        RolloutState(model_name="m", candidate=NEW, stable=None, spec=spec(), started_at=0.0)


@pytest.mark.parametrize(
    ("weights", "previous", "expected"),
    [
        ({}, None, None),
        ({NEW: 100}, None, NEW),
        ({OLD: 100}, None, OLD),
        ({OLD: 60, "m-v0": 40}, None, OLD),
        ({"m-v1b": 50, "m-v1a": 50}, None, "m-v1a"),
        # The rollout before died half-way with most of the traffic at its candidate.
        ({OLD: 10, "m-v1b": 90}, begin(spec=spec(), model_name="m", candidate="m-v1b", stable=OLD, now=0.0), OLD),
    ],
)
def test_the_stable_model_is_the_one_that_serves(
    weights: dict[str, int], previous: RolloutState | None, expected: str | None
) -> None:
    assert stable_target(weights, previous, NEW) == expected


def test_a_decision_that_was_never_written_holds() -> None:
    back = abort(counting(steps=(CanaryStep(weight_percent=80),)), 5.0, "asked for")
    assert stable_target({NEW: 80, OLD: 20}, back, "m-v3") == OLD
    # But who set other weights by hand since knows better.
    assert stable_target({NEW: 90, OLD: 10}, back, "m-v3") == NEW


def test_going_back_to_the_stable_model_of_a_rollout_under_way_is_no_rollout() -> None:
    assert stable_target({NEW: 10, OLD: 90}, counting(), OLD) == OLD
    state = begin(spec=spec(), model_name="m", candidate=OLD, stable=OLD, now=0.0)
    assert intended_weights(state) == {OLD: 100}
    assert state.reason == "m-v1 is the stable model already"
