"""One rollout after the other, whatever became of each: what is compared with was always decided to stay."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights, stable_target
from airflow_mlops.rollout.step import abort, step

SPECS = (
    RolloutSpec(steps=tuple(CanaryStep(weight_percent=weight, min_seconds=0, min_requests=10) for weight in (20, 80))),
    RolloutSpec(
        strategy="blue_green",
        steps=tuple(CanaryStep(weight_percent=weight, min_seconds=0, min_requests=10) for weight in (0, 100)),
    ),
)
ENDS = ("promoted", "promoted, not written", "aborted", "aborted, not written", "died")


class Route:
    """A route whose rollouts follow each other; a test decides which writes happen."""

    def __init__(self) -> None:
        self.weights = {"m-v0": 100}
        self.stable = "m-v0"
        self.previous: RolloutState | None = None
        self.now = 0.0

    def roll_out(self, candidate: str, spec: RolloutSpec, passed: int, end: str) -> None:
        """Roll out as far as ``passed`` steps, and end so."""
        stable = stable_target(self.weights, self.previous, candidate)
        assert stable == self.stable
        state = begin(spec=spec, model_name="m", candidate=candidate, stable=stable, now=self.now)
        if state.finished:  # it is the stable model already
            self.weights = intended_weights(state)
            self.previous = state
            return
        self.weights = intended_weights(state)
        steps = len(spec.steps) if end.startswith("promoted") else min(passed, len(spec.steps) - 1)
        for _ in range(steps):
            before = state
            state = self._pass(state)
            if state.phase == "promoted":
                self.stable = candidate
                self.weights = intended_weights(before if "not written" in end else state)
            else:
                self.weights = intended_weights(state)
        if end.startswith("aborted"):
            state = abort(state, self.now, "asked for")
            if "not written" not in end:
                self.weights = intended_weights(state)
        self.previous = state

    def _pass(self, state: RolloutState) -> RolloutState:
        for total in (0, 100_000):
            self.now += 10
            counters = {
                name: ArmCounters(requests=total * weight // 100, errors=0)
                for name, weight in intended_weights(state).items()
            }
            route = RouteView(route="m", weights=intended_weights(state))
            state, _ = step(state, Observation(route=route, counters=counters), self.now)
        return state


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(SPECS), st.integers(0, 1), st.sampled_from(ENDS)), max_size=6)
)
def test_only_what_was_promoted_is_ever_compared_with(script: list[tuple[int, RolloutSpec, int, str]]) -> None:
    route = Route()
    for version, spec, passed, end in script:
        route.roll_out(f"m-v{version}", spec, passed, end)
    assert set(route.weights) <= {"m-v0", "m-v1", "m-v2", "m-v3"}
    assert sum(route.weights.values()) == 100
