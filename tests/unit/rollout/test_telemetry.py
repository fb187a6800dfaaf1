"""A rollout in numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.rollout.observation import ArmCounters, Observation
from airflow_mlops.rollout.ports import RouteView
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.rollout.telemetry import CAUSES, candidate_weight, cause_of_end, exposure_seconds
from airflow_mlops.verdict import CheckResult, Verdict

SPEC = RolloutSpec(steps=(CanaryStep(weight_percent=10), CanaryStep(weight_percent=50)))


def rollout(**changes):
    state = begin(spec=SPEC, model_name="flights", candidate="v2", stable="v1", now=100.0)
    return replace(state, **changes)


def test_exposure_lasts_from_the_first_share_to_the_end():
    state = rollout()
    assert candidate_weight(state) == 10
    assert exposure_seconds(state, 130.0) == 30.0
    ended = abort(state, 145.0, "enough")
    assert candidate_weight(ended) == 0
    assert exposure_seconds(ended, 9999.0) == 45.0


def test_a_first_model_exposes_nobody_to_something_unproven():
    first = begin(spec=SPEC, model_name="flights", candidate="v1", stable=None, now=100.0)
    assert exposure_seconds(first, 200.0) == 0.0
    assert cause_of_end(first) == "no_comparison"


def test_one_that_is_under_way_has_no_cause():
    assert cause_of_end(rollout()) == ""


def test_a_rollback_by_hand_is_an_abortion():
    assert cause_of_end(abort(rollout(), 110.0, "enough")) == "aborted"


def test_nothing_known_for_too_long_is_unknown():
    state = rollout(unknown_since=100.0)
    after, _ = step(state, Observation(problem="the gateway is silent"), 100.0 + SPEC.max_unknown_seconds + 1)
    assert after.phase == "rolled_back"
    assert cause_of_end(after) == "unknown"


def test_time_that_runs_out_without_a_proof():
    counters = {name: ArmCounters(requests=0, errors=0) for name in ("v1", "v2")}
    state = rollout(step_since=100.0, last=counters)
    route = RouteView(
        route="flights",
        weights=intended_weights(state),
        generation=1,
        applied=True,
        targets=("v1", "v2"),
        foreign_edits=(),
    )
    late = 100.0 + SPEC.timeout_of(state.rules) + 1
    after, _ = step(replace(state, unknown_since=late - 1), Observation(route=route, counters=counters), late)
    assert after.phase == "rolled_back"
    assert cause_of_end(after) == "not_proven"
    assert cause_of_end(replace(after, proven="shown")) == "not_approved"


def test_harm_names_the_check():
    check = CheckResult(name="error_rate.harm", verdict=Verdict.FAIL, reason="more errors")
    state = abort(rollout(), 110.0, "more errors")
    last = replace(state.history[-1], verdict=Verdict.FAIL)
    harmed = replace(state, checks=(check,), history=(*state.history[:-1], last))
    assert cause_of_end(harmed) == "harm:error_rate"


@pytest.mark.parametrize("phase", ["promoted"])
def test_a_proof_promotes(phase):
    assert cause_of_end(rollout(phase=phase)) == "proven"
    assert "proven" in CAUSES
