"""What is added to a rollout's counts at a look."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.rollout.checks import LABELLED, LABELS
from airflow_mlops.rollout.fixed_horizon import add_points
from airflow_mlops.rollout.group import look_at_group
from airflow_mlops.rollout.harm import accumulate_harm, compare_with_before
from airflow_mlops.rollout.metric import EARLIER_LABELS
from airflow_mlops.rollout.observation import ArmCounters, Counts, Observation, began_again, since
from airflow_mlops.rollout.state import RolloutState, intended_weights

__all__ = ["arms", "count", "restarted", "skip", "start_counting"]


def arms(state: RolloutState) -> tuple[str, ...]:
    """Return the targets that have traffic in this step; what others count means nothing."""
    weights = intended_weights(state)
    return tuple(name for name in (state.candidate, state.stable) if name is not None and name in weights)


def _counters(state: RolloutState, observation: Observation) -> dict[str, ArmCounters]:
    """Return the counters of the arms; and of the stable model after all traffic left it, where it is still known."""
    counters = observation.counters or {}
    found = {name: counters[name] for name in arms(state)}
    if state.stable is not None and state.rules.weight_percent == 100 and state.stable in counters:
        found[state.stable] = counters[state.stable]
    return found


def start_counting(state: RolloutState, observation: Observation, now: float) -> RolloutState:
    """Return the state from which the step's counts begin."""
    labels = state.spec.labels
    return replace(
        state,
        step_since=now,
        last=_counters(state, observation),
        labels_open=labels is not None and labels.age_seconds == 0,
        unknown_since=None,
        sequence=state.sequence + 1,
    )


def restarted(state: RolloutState, observation: Observation) -> str | None:
    """Return the one of two targets whose counters began again: the other's count has nothing to stand beside."""
    if len(arms(state)) == 1:
        return None
    last = _counters(state, observation)
    names = [name for name, counters in last.items() if began_again(state.last[name], counters)]
    return names[0] if len(names) == 1 else None


def skip(state: RolloutState, observation: Observation) -> RolloutState:
    """Leave out what came since the last look; tallies of another source go on."""
    last = {
        name: replace(counters, tallies=state.last[name].tallies)
        for name, counters in _counters(state, observation).items()
    }
    return replace(state, last=last, sequence=state.sequence + 1)


def count(state: RolloutState, observation: Observation, now: float) -> tuple[RolloutState, Counts, Counts]:
    """Add what happened since the last look to the counts and to the evidence of harm.

    :return: the state, and what the candidate and the stable model did since the last look
    """
    last = _counters(state, observation)
    windows = [
        since(state.last[name], last[name]) if name in last and name in state.last else Counts()
        for name in (state.candidate, state.stable)
    ]
    together = len(arms(state)) == 2
    canary, baseline = (_comparable(state, window, windows if together else [window]) for window in windows)
    age = 0.0 if state.spec.labels is None else state.spec.labels.age_seconds
    state = replace(
        state,
        last=last,
        sequence=state.sequence + 1,
        canary=state.canary + canary,
        baseline=state.baseline + baseline,
        # From the next look on: a window that began before then holds labels of the steps before.
        labels_open=state.step_since is not None and now - state.step_since >= age,
    )
    if state.spec.strategy == "blue_green":
        return (compare_with_before(state) if state.rules.weight_percent else state), canary, baseline
    state = replace(
        state,
        harm=accumulate_harm(state, canary, baseline),
        group=look_at_group(state.spec, state.group, state.canary, state.baseline),
        points=add_points(state.spec, state.points, canary, baseline),
    )
    return state, canary, baseline


def _comparable(state: RolloutState, window: Counts, windows: list[Counts]) -> Counts:
    """Leave out tallies that only one arm has, and tell labels of this step from those of the steps before."""
    tallies = {name: tally for name, tally in window.tallies.items() if all(name in one.tallies for one in windows)}
    if not state.labels_open and LABELS in tallies:
        tallies[EARLIER_LABELS] = tallies.pop(LABELS)
    if not state.labels_open:
        tallies.pop(LABELLED, None)
    return replace(window, tallies=tallies)
