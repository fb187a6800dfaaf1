"""How often whole rollouts end rightly and wrongly, simulated under the flights' own rules."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from airflow_mlops.codec import decode
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

RULES = Path(__file__).parents[3] / "dags" / "flights" / "rollout.yaml"
REQUESTS_PER_SECOND = 80


def simulate(*, candidate: float, stable: float, runs: int) -> list[tuple[RolloutState, float]]:
    """Run rollouts in which each request fails with a fixed chance; return how and when they ended."""
    import numpy as np

    spec = decode(RolloutSpec, yaml.safe_load(RULES.read_text()))
    random = np.random.default_rng(20130101)
    ends = []
    for _ in range(runs):
        state = begin(spec=spec, model_name="m", candidate="new", stable="old", now=0.0)
        now, counts = 0.0, {"new": [0, 0], "old": [0, 0]}
        while not state.finished:
            now += spec.look_seconds
            weights = intended_weights(state)
            total = random.poisson(REQUESTS_PER_SECOND * spec.look_seconds)
            canary = random.binomial(total, weights["new"] / 100)
            for name, requests, rate in (("new", canary, candidate), ("old", total - canary, stable)):
                counts[name][0] += int(requests)
                counts[name][1] += int(random.binomial(requests, rate))
            counters = {name: ArmCounters(requests=n, errors=e, timed=n) for name, (n, e) in counts.items()}
            state, _ = step(state, Observation(route=RouteView(route="m", weights=weights), counters=counters), now)
        ends.append((state, now))
    return ends


@pytest.mark.parametrize("rate", [0.0, 0.01, 0.05])
def test_an_equal_candidate_is_promoted(rate: float) -> None:
    ends = simulate(candidate=rate, stable=rate, runs=100)
    assert sum(state.phase == "promoted" for state, _ in ends) >= 95
    assert sorted(now for _, now in ends)[50] <= 60


def test_an_increase_at_the_margin_is_not_promoted() -> None:
    ends = simulate(candidate=0.06, stable=0.0, runs=60)
    assert sum(state.phase == "promoted" for state, _ in ends) <= 3


def test_a_candidate_that_fails_every_fifth_time_is_gone_in_seconds() -> None:
    ends = simulate(candidate=0.2, stable=0.02, runs=100)
    assert {state.phase for state, _ in ends} == {"rolled_back"}
    assert all(state.step_index == 0 for state, _ in ends)
    assert sorted(now for _, now in ends)[95] <= 20
