"""What happens when nobody judges any more: traffic goes back when the lease ends.

A rollout's processes may all be gone, Airflow and its database too. Whoever keeps the gateway running calls this now
and then; it needs neither measurements nor Airflow.
"""

from __future__ import annotations

from airflow_mlops.clock import Clock
from airflow_mlops.exceptions import LeaseHeldError
from airflow_mlops.rollout.mirroring import end_mirror
from airflow_mlops.rollout.ports import RolloutStore, Router
from airflow_mlops.rollout.state import RolloutState, intended_weights, is_under_way
from airflow_mlops.rollout.step import abort

__all__ = ["HOLDER", "return_expired"]

HOLDER = "watchdog"
_LEASE_SECONDS = 30.0


def return_expired(route: str, *, router: Router, store: RolloutStore, clock: Clock) -> str | None:
    """Give a route's traffic back to its stable model if the rollout's lease has ended undecided.

    Copies of its requests to a candidate in the shadow end too.

    A promotion that was decided but not carried out is carried out.

    :return: what was done, one sentence; None when there was nothing to do
    """
    found = store.load(route)
    if found is None or not found.holder:
        return None
    # A watchdog that died half-way must not keep the next one waiting for the end of its own lease.
    if found.expires_at > clock.now() and found.holder != HOLDER:
        return None
    try:
        lease = store.acquire(route, HOLDER, lease_seconds=_LEASE_SECONDS)
    except LeaseHeldError:
        return None  # its holder came back at the last moment
    # A watchdog that died half-way finds its own state, any other finds what the late holder left.
    left = lease.state or lease.previous
    # What was decided before this holder came was carried out before it came.
    ours = is_under_way(left) or found.state is not None or found.holder == HOLDER
    said = None
    if left is not None and ours and left.phase == "promoted":
        store.save(route, left, token=lease.token, renew=True)
        said = _carry_out(route, left, lease.token, router)
    elif left is not None and ours:
        late = found.holder if found.holder != HOLDER else "the holder before"
        state = abort(left, clock.now(), f"{late} recorded no verdict until its lease ended")
        store.save(route, state, token=lease.token, renew=True)
        router.set_weights(route, intended_weights(state), fencing_token=lease.token, expected_generation=None)
        said = f"all traffic of {route} went back to {state.stable}: {state.reason}"
    if end_mirror(router, route, token=lease.token):
        said = f"the requests of {route} are copied no more: {found.holder} recorded nothing until its lease ended"
    store.release(route, token=lease.token)
    return said


def _carry_out(route: str, state: RolloutState, token: int, router: Router) -> str | None:
    """Promote as was decided; over another hand's change that is not done, and is an error."""
    view = router.observe(route)
    if dict(view.weights) == intended_weights(state):
        return None
    router.set_weights(route, intended_weights(state), fencing_token=token, expected_generation=view.generation)
    return f"all traffic of {route} went to {state.candidate}, as was decided: {state.reason}"
