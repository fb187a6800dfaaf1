"""Letting testers reach a model under its route before it gets traffic, decided by a person between two rollouts."""

from __future__ import annotations

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.rollout.between import between_rollouts
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import MatchRouter, ServerFleet
from airflow_mlops.rollout.routing import Match

__all__ = ["send_testers"]


def send_testers(gateway: Gateway, fleet: ServerFleet, route: str, match: Match | None, *, by: str) -> RouteView:
    """Send the requests that carry certain headers to one target, or end that; once or again.

    Not while a rollout is under way, whose first change of the weights ends it.

    :param fleet: knows the port of a target that the route does not know yet
    :param match: which requests, and to whom; None ends it
    :param by: who decides
    :raises SpecificationError: when this router cannot
    :raises PermanentAdapterError: when nobody knows the target
    :raises LeaseHeldError: when a rollout is under way
    :raises TransientAdapterError: when the target is not ready, or a rollout was left half-way
    """
    router = gateway.router
    if not isinstance(router, MatchRouter) or "match" not in router.capabilities:
        raise SpecificationError("route", route, f"one that sends by headers; {type(router).__name__} cannot")
    port = None
    if match is not None and match.target not in router.observe(route).targets:
        port = _port(fleet, match.target)
    with between_rollouts(gateway, route, f"testers by {by}") as token:
        view = router.observe(route)
        if match is not None and port is not None:
            view = router.ensure_targets(route, {match.target: port}, fencing_token=token)
        return router.set_match(route, match, fencing_token=token, expected_generation=view.generation)


def _port(fleet: ServerFleet, target: str) -> int:
    status = fleet.status(target)
    if status is None:
        raise PermanentAdapterError(f"model server {target!r} is not known; start it before its testers come")
    if status.phase != "ready" or status.port is None:
        raise TransientAdapterError(f"model server {target!r} is {status.phase}, not ready: {status.message}")
    return status.port
