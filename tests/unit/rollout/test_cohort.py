"""Many rollouts in columns end as each of them does by the transition, on any traffic."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_mlops.rollout.cohort import CAUSES, Cohort
from airflow_mlops.rollout.cohort_harm import COLUMNS
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, MannWhitneyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import step

STEPS = (
    CanaryStep(weight_percent=10, min_seconds=6, min_requests=30),
    CanaryStep(weight_percent=30, min_seconds=0, min_requests=60),
    CanaryStep(weight_percent=60, min_seconds=4, min_requests=50),
)
SPECS = {
    "errors": {"error_rate": ErrorRateCheck(max_increase=0.05)},
    "errors and latency": {
        "error_rate": ErrorRateCheck(max_increase=0.05, harm_ratio=1.5),
        "latency": LatencyCheck(slow_ms=250, max_increase=0.1),
    },
    "group-sequential": {"error_rate": ErrorRateCheck(max_increase=0.02), "max_samples": 900, "alpha": 0.2},
    "group-sequential, both": {
        "error_rate": ErrorRateCheck(max_increase=0.05),
        "latency": LatencyCheck(slow_ms=250, max_increase=0.1, harm_ratio=1.2),
        "max_samples": 1500,
    },
    "ranks": {"error_rate": ErrorRateCheck(max_increase=0.04), "fixed_horizon": MannWhitneyCheck(looks=12)},
    "own timeouts": {
        "steps": (
            CanaryStep(weight_percent=10, min_seconds=4, min_requests=100, timeout_seconds=12),
            CanaryStep(weight_percent=30, min_seconds=0, min_requests=300, timeout_seconds=200),
        )
    },
    "strict": {"error_rate": ErrorRateCheck(max_increase=0.001), "alpha": 0.2},
}


def windows(random: Any, weights: Any) -> dict[str, Any]:
    """What both arms did; sometimes nothing, sometimes with a split that is not the weight's, sometimes very badly."""
    import numpy as np

    runs = len(weights)
    total = random.poisson(random.choice([0, 3, 40, 150], runs, p=[0.03, 0.07, 0.3, 0.6]))
    crooked = random.random(runs) < 0.02
    canary = random.binomial(total, np.where(crooked, 0.9, weights))
    made = {}
    for arm, requests in (("canary", canary), ("baseline", total - canary)):
        errors = random.binomial(requests, random.choice([0.0, 0.01, 0.05, 0.12], runs, p=[0.4, 0.4, 0.17, 0.03]))
        slow = random.binomial(requests, random.choice([0.0, 0.05], runs))
        made[arm] = np.stack([requests, errors, requests, slow], axis=1)
    return made


class Single:
    """One rollout by the transition, fed with one row of the cohort's windows."""

    def __init__(self, spec: RolloutSpec) -> None:
        self.state = begin(spec=spec, model_name="m", candidate="new", stable="old", now=0.0)
        self._totals = {"new": [0] * 4, "old": [0] * 4}

    def look(self, window: dict[str, Any], row: int, now: float) -> None:
        for name, arm in (("new", "canary"), ("old", "baseline")):
            self._totals[name] = [a + int(b) for a, b in zip(self._totals[name], window[arm][row], strict=True)]
        counters = {
            name: ArmCounters(**dict(zip(COLUMNS, total, strict=True)), at=now) for name, total in self._totals.items()
        }
        route = RouteView(route="m", weights=intended_weights(self.state))
        self.state, _ = step(self.state, Observation(route=route, counters=counters), now)


def cause_of(state: RolloutState) -> str:
    if state.phase != "rolled_back":
        return state.phase
    if state.reason.startswith("nothing was known"):
        return "unknown"
    return "unproven" if state.reason.startswith("not proven") else "harm"


@pytest.mark.parametrize("name", SPECS)
def test_a_cohort_is_many_transitions(name: str) -> None:
    import numpy as np

    rules: dict[str, Any] = {"steps": STEPS, **SPECS[name]}
    spec = RolloutSpec(look_seconds=2, step_timeout_seconds=40, max_unknown_seconds=5, **rules)
    runs, random = 60, np.random.default_rng(20130101)
    cohort, singles = Cohort(spec, runs), [Single(spec) for _ in range(runs)]
    for look in range(1, 80):
        now = look * spec.look_seconds
        window = windows(random, cohort.weight)
        cohort.look(window, now)
        for row, single in enumerate(singles):
            if not single.state.finished:
                single.look(window, row, now)
            state = single.state
            assert CAUSES[cohort.cause[row]] == cause_of(state)
            if not state.finished:
                assert cohort.step_index[row] == state.step_index
                assert cohort.proof_looks[row] == state.proof_looks
                assert cohort.canary[row].tolist() == [getattr(state.canary, column) for column in COLUMNS]
                assert cohort.baseline[row].tolist() == [getattr(state.baseline, column) for column in COLUMNS]
                since = cohort.unknown_since[row]
                assert state.unknown_since == (None if np.isnan(since) else since)
    ends = {cause_of(single.state) for single in singles}
    assert len(ends - {"progressing"}) >= 3  # the traffic was wild enough to mean something
