"""The report of a rollout shows every decision, and nothing that a name smuggles in."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.rollout.html import render_html
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, LatencyCheck, MannWhitneyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

SPEC = RolloutSpec(steps=(CanaryStep(weight_percent=10),), latency=LatencyCheck(slow_ms=250))


def look(state: RolloutState, new: tuple[int, int], old: tuple[int, int], now: float) -> RolloutState:
    counters = {
        "m-v2": ArmCounters(requests=new[0], errors=new[1], timed=new[0]),
        "m-v1": ArmCounters(requests=old[0], errors=old[1], timed=old[0]),
    }
    route = RouteView(route="m", weights=intended_weights(state))
    return step(state, Observation(route=route, counters=counters), now)[0]


def test_a_rollback_shows_weights_reasons_and_checks() -> None:
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)
    state = look(state, (0, 0), (0, 0), 2.0)
    page = render_html(look(state, (100, 30), (900, 0), 4.0), evidence_uri="file:///evidence/1.json")
    assert "All traffic went back to the stable model." in page
    assert "m-v2 10 %, m-v1 90 %" in page
    assert "m-v1 100 %" in page
    assert "30 of 100 requests failed at m-v2, 0 of 900 at m-v1" in page
    assert "latency.harm" in page
    assert "slower than 250 ms" in page
    assert "file:///evidence/1.json" in page
    assert "<script" not in page


def test_a_rollout_under_way_and_a_first_release_have_a_page_too() -> None:
    assert "under way" in render_html(
        begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=0.0), evidence_uri=""
    )
    assert "no stable model to compare with" in render_html(
        begin(spec=SPEC, model_name="m", candidate="m-v2", stable=None, now=0.0), evidence_uri=""
    )


def test_only_a_rollout_with_steps_has_some() -> None:
    under_way = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=0.0)
    assert "<b>— now</b>" in render_html(under_way, evidence_uri="")
    assert "<b>— waits for approval</b>" in render_html(replace(under_way, proven="shown"), evidence_uri="")
    first = begin(spec=SPEC, model_name="m", candidate="m-v2", stable=None, now=0.0)
    assert "<h2>Steps</h2>" not in render_html(first, evidence_uri="")


def test_names_are_escaped() -> None:
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable=None, now=0.0)
    assert "<b>m" not in render_html(replace(state, model_name="<b>m"), evidence_uri="")


def test_the_rules_are_those_of_the_spec() -> None:
    page = render_html(
        begin(spec=replace(SPEC, max_samples=5000), model_name="m", candidate="m-v2", stable="m-v1", now=0.0),
        evidence_uri="",
    )
    assert "5,000 requests at the candidate" in page
    assert "chance of at most 5.0%" in page
    ranks = replace(SPEC, fixed_horizon=MannWhitneyCheck(looks=50))
    page = render_html(begin(spec=ranks, model_name="m", candidate="m-v2", stable="m-v1", now=0.0), evidence_uri="")
    assert "by ranks, once per step after 50 looks" in page
    assert "chance of at most" not in page
