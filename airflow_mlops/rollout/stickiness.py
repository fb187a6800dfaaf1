"""Keeping a route's callers at one model, decided by a person between two rollouts."""

from __future__ import annotations

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.between import between_rollouts
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import StickyRouter
from airflow_mlops.rollout.routing import Sticky

__all__ = ["keep_callers"]


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
    with between_rollouts(gateway, route, f"stickiness by {by}") as token:
        generation = router.observe(route).generation
        return router.set_sticky(route, sticky, fencing_token=token, expected_generation=generation)
