"""A rollout in numbers for those who run many: how long users met an unproven candidate, and why one went back."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise

from airflow_mlops.rollout.state import RolloutState, intended_weights
from airflow_mlops.verdict import Verdict

__all__ = ["CAUSES", "candidate_weight", "cause_of_end", "exposure_seconds"]

#: Why a rollout ended. ``harm`` names the check after a colon, such as ``harm:error_rate``.
CAUSES = ("proven", "no_comparison", "harm", "unknown", "not_proven", "not_approved", "aborted")
# How the step begins the sentence of a rollout about which nothing was known for too long.
_UNKNOWN = "nothing was known about"


def candidate_weight(state: RolloutState) -> int:
    """Return the candidate's share of the traffic as the state wants it, in percent."""
    return intended_weights(state).get(state.candidate, 0)


def exposure_seconds(state: RolloutState, now: float) -> float:
    """Return for how long the candidate has had traffic before it was proven.

    :param now: seconds since the epoch; until then, if the rollout is under way
    """
    if state.stable in (None, state.candidate):
        return 0.0
    moments = [(entry.at, entry.weights) for entry in state.history]
    if not state.finished:
        moments.append((max(now, moments[-1][0]) if moments else now, {}))
    return sum(later - at for (at, weights), (later, _) in pairwise(moments) if _has_traffic(state, weights))


def cause_of_end(state: RolloutState) -> str:
    """Return which of :data:`CAUSES` ended the rollout; empty while it is under way."""
    if not state.finished:
        return ""
    if state.phase == "promoted":
        return "no_comparison" if state.stable in (None, state.candidate) else "proven"
    verdict = state.history[-1].verdict if state.history else Verdict.ERROR
    if verdict is Verdict.FAIL:
        harmed = [check.name for check in state.checks if check.verdict is Verdict.FAIL]
        return f"harm:{harmed[0].removesuffix('.harm')}" if harmed else "harm"
    if state.reason.startswith(_UNKNOWN):
        return "unknown"
    if verdict is Verdict.ERROR:
        return "aborted"
    return "not_approved" if state.proven and not state.approved_by else "not_proven"


def _has_traffic(state: RolloutState, weights: Mapping[str, int]) -> bool:
    return weights.get(state.candidate, 0) > 0
