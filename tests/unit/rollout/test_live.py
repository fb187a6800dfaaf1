"""What a rollout publishes about itself, whatever it is judged by."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.rollout.live import LiveRollout, live_rollout
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, Tally
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, approve, begin, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.verdict import Verdict

STEPS = [{"weight_percent": 20, "min_requests": 100, "min_seconds": 10}, {"weight_percent": 50, "min_requests": 100}]
SPECS: dict[str, dict[str, Any]] = {
    "errors": {},
    "everything": {
        "latency": {"slow_ms": 250},
        "labels": {"age_seconds": 0},
        "predictions": {"edges": [0.5]},
    },
    "users": {"unit": "users"},
    "group": {"max_samples": 2000},
    "ranks": {"fixed_horizon": {"looks": 10}},
    "blue_green": {"strategy": "blue_green", "steps": [{"weight_percent": 0}, {"weight_percent": 100}]},
    "approval": {"steps": [{"weight_percent": 50, "min_requests": 20, "min_seconds": 1, "approval": True}]},
}


def _begun(**fields: Any) -> RolloutState:
    spec = decode(RolloutSpec, {"steps": STEPS, "look_seconds": 10.0} | fields)
    return begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)


def _looked(state: RolloutState, looks: int, *, errors: float = 0.0) -> RolloutState:
    """Look again and again, with 20 requests a second, of which a share fails at the candidate."""
    counted = {"m-v1": 0, "m-v2": 0}
    for look in range(1, looks + 1):
        weights = intended_weights(state)
        view = RouteView(route="m", generation=look, weights=weights)
        counted = {name: count + 2 * weights.get(name, 0) for name, count in counted.items()}
        counters = {
            name: ArmCounters(
                requests=count,
                errors=int(count * errors) if name == "m-v2" else 0,
                timed=count,
                tallies={tally: Tally(count, count // 10) for tally in state.spec.wanted_tallies()},
            )
            for name, count in counted.items()
        }
        state, _ = step(state, Observation(route=view, counters=counters), 10.0 * look)
    return state


@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("looks", [0, 1, 2, 5, 30])
def test_every_rollout_can_be_published_and_read_at_any_time(kind, looks):
    state = _looked(_begun(**SPECS[kind]), looks)
    live = live_rollout(state, now=10.0 * looks)
    assert decode(LiveRollout, json.loads(json.dumps(encode(live), allow_nan=False))) == live
    assert live.weights == intended_weights(state)
    assert live.ended is state.finished
    assert [step.place for step in live.steps].count("now") <= 1
    assert len(live.history) == len(state.history)


def test_the_figures_are_those_of_the_last_look():
    live = live_rollout(_looked(_begun(), 2), now=20.0)
    assert [(arm.role, arm.weight_percent, arm.requests) for arm in live.arms] == [
        ("candidate", 20, 40),
        ("stable", 80, 160),
    ]
    assert sum(arm.share or 0 for arm in live.arms) == pytest.approx(1)
    assert live.share_verdict is Verdict.PASS
    (errors,) = live.metrics
    assert (errors.failures, errors.trials, errors.stable_trials) == (0, 40, 160)
    assert (errors.harm_kind, errors.harm_verdict) == ("e_value", Verdict.PASS)
    assert errors.harm_value is not None
    assert errors.harm_threshold is not None
    assert errors.harm_value < errors.harm_threshold
    assert errors.proof_missing is not None
    assert errors.proof_missing > 0
    assert "would decide" in live.standing


@pytest.mark.parametrize(("kind", "evidence"), [("errors", "e_value"), ("group", "failures"), ("ranks", "shift")])
def test_harm_is_told_by_the_evidence_that_decides(kind, evidence):
    live = live_rollout(_looked(_begun(**SPECS[kind]), 2), now=20.0)
    assert {metric.harm_kind for metric in live.metrics} == {evidence}


def test_a_rollout_that_went_back_says_so_and_waits_for_nothing():
    state = _looked(_begun(), 12, errors=0.5)
    live = live_rollout(state, now=120.0)
    assert (live.phase, live.ended, live.standing) == ("rolled_back", True, "")
    assert live.weights == {"m-v1": 100}
    assert live.metrics[0].harm_verdict is Verdict.FAIL
    assert sum(arm.requests for arm in live.arms) > 0
    assert "now" not in [step.place for step in live.steps]


def test_a_step_that_waits_for_a_person_is_marked_until_somebody_approves():
    state = _looked(_begun(**SPECS["approval"]), 30)
    live = live_rollout(state, now=300.0)
    assert [step.place for step in live.steps] == ["waits"]
    assert live.standing.startswith("waits for approval at 50 %")
    assert live_rollout(approve(state, by="ann", now=301.0), now=301.0).steps[0].place == "now"


def test_a_document_that_nobody_renews_grows_stale_unless_it_is_the_last():
    state = _looked(_begun(), 2)
    live = live_rollout(state, now=20.0)
    assert not live.is_stale(60.0)
    assert live.is_stale(100.0)
    seldom = replace(state.spec, look_seconds=60.0, max_unknown_seconds=300.0)
    assert not live_rollout(replace(state, spec=seldom), now=20.0).is_stale(200.0)
    assert not live_rollout(abort(state, 30.0, "by hand"), now=30.0).is_stale(1e6)
