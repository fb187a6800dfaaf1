"""Where a step stands, in one sentence."""

from __future__ import annotations

from airflow_mlops.rollout.counting import arms
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.verdict import CheckResult

__all__ = ["progress", "proofs_of", "waiting"]


def proofs_of(state: RolloutState) -> list[CheckResult]:
    """Return how the proofs of the present step stood at the last look."""
    return [check for check in state.checks if check.name.endswith(".proof")]


def waiting(state: RolloutState) -> str:
    """Return what a step waits for that is proven and not approved."""
    return f"waits for approval at {state.rules.weight_percent} %; proven: {state.proven}"


def progress(state: RolloutState, elapsed: float) -> str:
    """Return how far a step is that still judges, and about how much more would decide it."""
    missing: dict[str, list[int | None]] = {}
    for check in proofs_of(state):
        missing.setdefault(check.details["unit"], []).append(check.details["requests_missing"])
    stuck = [unit for unit, counts in missing.items() if None in counts]
    most = {unit: max(count or 0 for count in counts) for unit, counts in missing.items()}
    more = [f"{count} more {unit}" for unit, count in most.items() if count] or ["0 more requests"]
    ahead = (
        f"more {' and '.join(stuck)} at these rates would not prove anything"
        if stuck
        else f"about {' and '.join(more)} at {arms(state)[0]} would decide"
    )
    windows = {state.candidate: state.canary, state.stable: state.baseline}
    seen = " and ".join(
        f"{windows[name].requests}{'' if position else ' requests'} at {name}"
        for position, name in enumerate(arms(state))
    )
    return f"{elapsed:.0f} of {state.rules.min_seconds:g} s, {seen} of {state.rules.min_requests}; {ahead}"
