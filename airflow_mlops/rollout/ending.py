"""Whether a route's rollout is over, and how it ended."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.state import Phase, RolloutState, intended_weights

__all__ = ["Ending", "ending"]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a rollout ended.

    :param outcome: ``promoted`` or ``rolled_back``
    :param candidate: target that should take over
    :param stable: target that had the traffic before
    :param weights: target to percent since then
    :param reason: of the last decision, one sentence
    :param ended_at: of the last decision, seconds since the epoch
    """

    outcome: Phase
    candidate: str
    stable: str | None
    weights: Mapping[str, int]
    reason: str
    ended_at: float


def ending(lease: Lease | None, *, now: float, candidate: str | None = None) -> Ending | None:
    """Return how a route's rollout ended; None while it is under way, or there is none.

    It is over when its outcome is decided and nobody moves traffic for it any more: whoever decided gives the lease
    back at last, or let it end.

    :param lease: what the store has
    :param now: seconds since the epoch
    :param candidate: the rollout of this target, the newest one or the one before; None for the newest of any
    """
    if lease is None:
        return None
    if lease.state is not None and candidate in (None, lease.state.candidate):
        held = lease.holder and lease.expires_at > now
        return None if held or not lease.state.finished else _ending(lease.state)
    before = lease.previous
    if candidate is None or before is None or before.candidate != candidate or not before.finished:
        return None
    # Somebody who begins a rollout of the same target has stored no state yet.
    return None if lease.state is None and lease.holder and lease.expires_at > now else _ending(before)


def _ending(state: RolloutState) -> Ending:
    return Ending(
        outcome=state.phase,
        candidate=state.candidate,
        stable=state.stable,
        weights=intended_weights(state),
        reason=state.reason,
        ended_at=state.history[-1].at if state.history else state.started_at,
    )
