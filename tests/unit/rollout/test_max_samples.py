"""Rollouts that say how many requests they will see at most; and what every look says about what is missing."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.group import FRACTIONS
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

OLD, NEW = "m-v1", "m-v2"


def counting(**changes: Any) -> RolloutState:
    values: dict[str, Any] = {
        "steps": (
            CanaryStep(weight_percent=20, min_seconds=4, min_requests=100),
            CanaryStep(weight_percent=50, min_seconds=4, min_requests=100),
        ),
        "error_rate": ErrorRateCheck(max_increase=0.03),
        "step_timeout_seconds": 1000,
        **changes,
    }
    state = begin(spec=RolloutSpec(**values), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    return look(state, 2.0, (0, 0), (0, 0))[0]


def look(
    state: RolloutState, now: float, new: tuple[int, int], old: tuple[int, int], **lives: str
) -> tuple[RolloutState, Plan]:
    counters = {
        name: ArmCounters(requests=count[0], errors=count[1], timed=count[0], life=lives.get(key, ""))
        for name, key, count in ((NEW, "new_life", new), (OLD, "old_life", old))
    }
    return step(state, Observation(route=RouteView(route="m", weights=intended_weights(state)), counters=counters), now)


def detail(state: RolloutState, name: str, key: str) -> Any:
    return next(check for check in state.checks if check.name == name).details[key]


def test_a_broken_candidate_goes_back_at_the_first_test() -> None:
    state, plan = look(counting(max_samples=4000), 4.0, (50, 10), (200, 1))
    assert plan.action == "roll_back"
    assert "worse beyond chance (a test of harm at 1.2% of 4000 requests)" in plan.reason
    assert decode(RolloutState, encode(state)) == state


def test_windows_stay_few_however_often_one_looks() -> None:
    state, now = counting(max_samples=4000, error_rate=ErrorRateCheck(max_increase=0.0001)), 2.0
    for number in range(1, 1000):
        now += 0.5
        state, _ = look(state, now, (number * 2, number // 100), (number * 8, number // 25))
    assert not state.finished
    windows = state.group.tests["error_rate"].windows
    assert len(windows) <= len(FRACTIONS)
    assert sum(window.canary_trials for window in windows) == state.group.canary.requests
    assert detail(state, "error_rate.harm", "requests_to_next_test") == 2000 - 1998


def test_a_rollout_that_has_seen_all_that_it_may_goes_back_unless_it_is_proven() -> None:
    strict = ErrorRateCheck(max_increase=0.005)
    state, plan = look(counting(max_samples=300, error_rate=strict), 10.0, (300, 2), (1200, 8))
    assert plan.action == "roll_back"
    assert "not proven with 300 requests at 20 %" in plan.reason
    state, plan = look(counting(max_samples=300), 10.0, (300, 0), (1200, 0))
    assert plan.action == "set_weights"
    assert state.group.requests == 300


def test_the_steps_share_the_largest_sample() -> None:
    state, _ = look(counting(max_samples=1000), 10.0, (400, 0), (1600, 0))
    assert state.step_index == 1
    state, _ = look(state, 12.0, (450, 0), (1650, 0))
    state, _ = look(state, 13.0, (500, 0), (1700, 0))
    assert [window.fraction for window in state.group.tests["error_rate"].windows] == [0.4, 0.45]
    assert state.group.canary.requests == 50


def test_a_largest_sample_below_what_the_steps_need_is_refused() -> None:
    with pytest.raises(SpecificationError, match=r"max_samples: 150 .* at least .* 200"):
        counting(max_samples=150)


def test_every_look_says_how_many_requests_are_missing() -> None:
    state, plan = look(counting(), 3.0, (60, 0), (240, 1))
    assert "60 requests at m-v2 and 240 at m-v1 of 100; about " in plan.reason
    missing = detail(state, "error_rate.proof", "requests_missing")
    assert missing >= 40
    low, high = detail(state, "error_rate.harm", "increase_low"), detail(state, "error_rate.harm", "increase_high")
    assert low < -1 / 240 < high
    # What it says comes true: so many more requests at the same rates prove it.
    later = 60 + missing
    state, plan = look(state, 9.0, (later, 0), (later * 4, round(later * 4 / 240)))
    assert plan.action == "set_weights"


def test_suspected_harm_says_how_many_requests_would_prove_it() -> None:
    state, plan = look(counting(), 3.0, (40, 3), (160, 3))
    assert plan.action == "hold"
    missing = detail(state, "error_rate.harm", "requests_missing")
    more = 40 + missing
    state, plan = look(state, 4.0, (more, round(more * 3 / 40)), (more * 4, round(more * 4 * 3 / 160)))
    assert plan.action == "roll_back"


def test_an_equal_candidate_is_not_told_to_wait_for_harm() -> None:
    state, _ = look(counting(), 3.0, (40, 1), (160, 4))
    assert detail(state, "error_rate.harm", "requests_missing") is None


def test_when_one_arm_begins_again_the_window_is_not_counted() -> None:
    state, _ = look(counting(), 3.0, (40, 0), (160, 0))
    before = state.canary
    state, plan = look(state, 5.0, (5, 5), (320, 0))
    assert (plan.action, state.canary) == ("hold", before)
    assert plan.reason == "the counters of m-v2 began again; what came since the last look is not counted"
    state, _ = look(state, 7.0, (45, 5), (480, 0))
    assert (state.canary.requests, state.canary.errors) == (80, 0)
    assert state.unknown_since is None


def test_a_life_of_its_own_shows_a_restart_that_no_counter_shows() -> None:
    state, _ = look(counting(), 3.0, (40, 0), (160, 0), new_life="a", old_life="a")
    state, _ = look(state, 5.0, (45, 0), (180, 0), new_life="b", old_life="b")
    assert (state.canary.requests, state.baseline.requests) == (85, 340)


def test_an_arm_that_begins_again_at_every_look_is_unknown_and_goes_back() -> None:
    state, now = counting(max_unknown_seconds=10), 2.0
    for number in range(1, 20):
        now += 2
        state, plan = look(state, now, (3, 0), (160 * number, 0), new_life=str(number))
        if state.finished:
            break
    assert plan.action == "roll_back"
    assert "nothing was known about m-v2 for 10 s" in plan.reason
