"""Keeping a route's callers at one model, decided by a person between two rollouts."""

from __future__ import annotations

from airflow_mlops.exceptions import SpecificationError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import StickyRouter
from airflow_mlops.rollout.routing import Sticky
from airflow_mlops.rollout.state import is_under_way

__all__ = ["keep_callers"]

_LEASE_SECONDS = 30.0


def keep_callers(gateway: Gateway, route: str, sticky: Sticky | None, *, by: str) -> RouteView:
    """Keep callers of a route at one target by a key of theirs, or no longer; once or again.

    Not while a rollout is under way: its users would change places, and its counts mix them up.

    :param sticky: where the key stands; None lets every request go by chance
    :param by: who decides
    :raises SpecificationError: when this router cannot, or the route has no targets
    :raises LeaseHeldError: when a rollout is under way
    :raises TransientAdapterError: when one was left half-way, until the watchdog has ended it
    """
    router = gateway.router
    if not isinstance(router, StickyRouter) or "sticky" not in router.capabilities:
        raise SpecificationError("route", route, f"one that keeps callers; {type(router).__name__} cannot")
    if not router.observe(route).targets:
        raise SpecificationError("route", route, "one with model servers; it has none")
    lease = gateway.store.acquire(route, f"stickiness by {by}", lease_seconds=_LEASE_SECONDS)
    if is_under_way(lease.previous) or is_under_way(lease.state):
        # Not given back: a released lease would keep the watchdog from ending that rollout.
        raise TransientAdapterError(f"route {route!r}: a rollout was left half-way; the watchdog ends it first")
    try:
        generation = router.observe(route).generation
        return router.set_sticky(route, sticky, fencing_token=lease.token, expected_generation=generation)
    finally:
        gateway.store.release(route, token=lease.token)
