"""Steps that wait for somebody."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, approve, awaits_approval, begin, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.verdict import Verdict

OLD, NEW = "m-v1", "m-v2"


def spec(**changes: Any) -> RolloutSpec:
    values: dict[str, Any] = {
        "steps": (
            CanaryStep(weight_percent=10, min_seconds=10, min_requests=100, approval=True, timeout_seconds=500),
            CanaryStep(weight_percent=50, min_seconds=10, min_requests=100),
        ),
        "max_unknown_seconds": 30,
        **changes,
    }
    return RolloutSpec(**values)


def look(state: RolloutState, now: float, *, new: tuple[int, int], old: tuple[int, int]) -> RolloutState:
    counters = {name: ArmCounters(requests=count[0], errors=count[1]) for name, count in ((NEW, new), (OLD, old))}
    route = RouteView(route="m", weights=intended_weights(state))
    return step(state, Observation(route=route, counters=counters), now)[0]


def waiting(**changes: Any) -> RolloutState:
    state = begin(spec=spec(**changes), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    assert not awaits_approval(state)
    state = look(state, 1.0, new=(0, 0), old=(0, 0))
    state = look(state, 20.0, new=(400, 0), old=(3600, 0))
    assert awaits_approval(state)
    return state


def test_a_proven_step_holds_until_it_is_approved() -> None:
    state = waiting()
    assert intended_weights(state) == {NEW: 10, OLD: 90}
    assert state.reason.startswith("proven at 10 %, waits for approval: share of requests that failed")
    state = look(state, 30.0, new=(500, 0), old=(4500, 0))
    assert intended_weights(state) == {NEW: 10, OLD: 90}
    state = approve(state, by="ada", now=31.0)
    assert not awaits_approval(state)
    assert intended_weights(state) == {NEW: 10, OLD: 90}
    state = look(state, 32.0, new=(520, 0), old=(4700, 0))
    assert intended_weights(state) == {NEW: 50, OLD: 50}
    assert [entry.reason for entry in state.history][2] == "ada approved 10 %"
    assert state.reason.endswith("; approved by ada")


def test_the_proof_stays_in_the_evidence_while_it_waits() -> None:
    state = look(waiting(), 30.0, new=(500, 0), old=(4500, 0))
    proof = next(check for check in state.checks if check.name == "error_rate.proof")
    assert proof.verdict is Verdict.PASS
    assert decode(RolloutState, encode(state)) == state


def test_harm_is_looked_for_while_it_waits() -> None:
    state = look(waiting(), 30.0, new=(500, 60), old=(4500, 0))
    assert state.phase == "rolled_back"
    assert not awaits_approval(state)


def test_harm_after_the_approval_still_goes_back() -> None:
    state = approve(waiting(), by="ada", now=25.0)
    assert look(state, 30.0, new=(500, 60), old=(4500, 0)).phase == "rolled_back"


def test_an_unanswered_approval_ends_with_the_step() -> None:
    state = waiting()
    state = look(state, 500.0, new=(800, 0), old=(7200, 0))
    assert not state.finished
    state = look(state, 501.0, new=(900, 0), old=(8000, 0))
    assert state.phase == "rolled_back"
    assert state.reason.startswith("nobody approved 10 % in 500 s; proven: share of requests that failed")


def test_a_rejection_is_an_abort_with_its_reason() -> None:
    state = abort(waiting(), 30.0, "ada rejected 10 %: too many complaints")
    assert intended_weights(state) == {OLD: 100}
    assert state.reason == "ada rejected 10 %: too many complaints"
    with pytest.raises(SpecificationError, match="is rolled back"):
        approve(state, by="ada", now=31.0)


def test_missing_data_while_it_waits_goes_back() -> None:
    state, blind = waiting(), Observation(route=RouteView(route="m", weights={NEW: 10, OLD: 90}))
    state = step(state, blind, 25.0)[0]
    assert awaits_approval(state)
    assert step(state, blind, 55.0)[0].phase == "rolled_back"


def test_an_approval_while_nothing_is_known_waits_for_a_look_that_sees() -> None:
    state, blind = waiting(), Observation(route=RouteView(route="m", weights={NEW: 10, OLD: 90}))
    state = step(approve(state, by="ada", now=24.0), blind, 25.0)[0]
    assert intended_weights(state) == {NEW: 10, OLD: 90}
    assert intended_weights(look(state, 26.0, new=(500, 0), old=(4500, 0))) == {NEW: 50, OLD: 50}


def test_the_largest_sample_ends_the_wait() -> None:
    state = look(waiting(max_samples=600), 30.0, new=(700, 0), old=(6300, 0))
    assert state.phase == "rolled_back"
    assert "nobody approved 10 % with 600 requests" in state.reason


def test_approving_what_does_not_wait_is_refused() -> None:
    state = begin(spec=spec(), model_name="m", candidate=NEW, stable=OLD, now=0.0)
    with pytest.raises(SpecificationError, match=r"a rollout that waits for approval; this one of m judges 10 %"):
        approve(state, by="ada", now=1.0)
    with pytest.raises(SpecificationError, match=r"was approved at 10 % by ada"):
        approve(approve(waiting(), by="ada", now=30.0), by="bob", now=31.0)
    with pytest.raises(SpecificationError, match=r"by: .* the name of who approves"):
        approve(waiting(), by=" ", now=30.0)
