"""What a rollout has published since its last decision, in a model's overview."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_mlops.governance.overview import ModelOverview, OpenApproval, RolloutUnderWay
from airflow_mlops.ui.sources import live_rollout_of

if TYPE_CHECKING:
    from airflow_mlops.rollout.live import LiveRollout

__all__ = ["followed"]


def followed(known: ModelOverview, *, now: float) -> ModelOverview:
    """Return the overview with what the rollout under way has published.

    :param now: seconds since the epoch
    """
    under_way = known.rollout
    live = None if under_way is None else live_rollout_of(under_way.origin)
    if under_way is None or live is None or not _same(live, under_way, known.name):
        return known
    if live.ended:
        # It is decided; the document that says why comes next.
        return replace(known, rollout=None, serving=live.weights, since=live.history[-1].at)
    at = replace(
        under_way,
        weights=live.weights,
        looked_at=live.looked_at,
        is_stale=live.is_stale(now),
        standing=live.standing,
    )
    asked = (*known.open_approvals, _question(live, at)) if _waits(live) else known.open_approvals
    return replace(known, rollout=at, serving=live.weights, open_approvals=asked)


def _same(live: LiveRollout, under_way: RolloutUnderWay, name: str) -> bool:
    """Whether this was published by the same rollout: a task that was cleared begins another one."""
    began = abs(live.started_at - under_way.began_at) < 1
    return began and (live.model_name, live.candidate) == (name, under_way.candidate) and bool(live.history)


def _waits(live: LiveRollout) -> bool:
    return any(step.place == "waits" for step in live.steps)


def _question(live: LiveRollout, under_way: RolloutUnderWay) -> OpenApproval:
    return OpenApproval(
        number=under_way.number,
        what=f"Rollout: {live.standing}",
        asked_at=live.looked_at,
        until="",
        origin=under_way.origin,
    )
