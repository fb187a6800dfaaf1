"""How a rollout begins, and how a process takes up one that is under way."""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.exceptions import (
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.ports import AgedMetrics, CoarseRouter, Lease, Router, ServerFleet, TrafficMetrics
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights, stable_target

__all__ = ["require_one_age", "start"]


def start(
    gateway: Gateway,
    fleet: ServerFleet,
    lease: Lease,
    *,
    route: str,
    candidate: str,
    spec: RolloutSpec,
    request: str = "",
) -> RolloutState:
    """Return the rollout to drive, stored before any traffic moves.

    A rollout under way ends by the rules that it began with, whatever ``spec`` says now.

    :param lease: the right to move the route's traffic; it holds the rollout that is under way, if any
    :param candidate: name of the model server that shall take over
    :param request: says who asks for the rollout; the same request again, after its rollout went back, changes nothing
    :raises PermanentAdapterError: when nobody knows the candidate
    :raises TransientAdapterError: when the candidate is not ready
    :raises SpecificationError: when the rollout under way is of another candidate, the router cannot make the
        weights of a step, or labels are judged at another age than the spec says
    """
    if lease.state is not None:
        return _take_up(gateway, fleet, lease, lease.state, candidate)
    left = lease.previous
    if request and left is not None and left.phase == "rolled_back" and left.request == request:
        # A process that died after it had given the lease back: an abort is for good until somebody asks anew.
        gateway.store.save(route, left, token=lease.token, renew=True)
        return left
    port = _port(fleet, candidate)
    stable = stable_target(gateway.router.observe(route).weights, lease.previous, candidate)
    state = begin(spec=spec, model_name=route, candidate=candidate, stable=stable, now=gateway.clock.now())
    state = replace(state, request=request)
    _require_possible(gateway.router, state)
    require_one_age(gateway.metrics, spec)
    view = gateway.router.ensure_targets(route, {candidate: port}, fencing_token=lease.token)
    if stable is not None and stable != candidate and not view.weights.get(stable):
        # A switch from blue to green died before this. Its stable model serves first: should this rollout die too, the
        # next one finds it in the route.
        _require_unchanged(gateway, lease, route)
        gateway.router.set_weights(route, {stable: 100}, fencing_token=lease.token, expected_generation=view.generation)
    gateway.store.save(route, state, token=lease.token, renew=True)
    return state


def _take_up(gateway: Gateway, fleet: ServerFleet, lease: Lease, state: RolloutState, candidate: str) -> RolloutState:
    if state.candidate != candidate:
        raise SpecificationError("candidate", candidate, f"{state.candidate!r}, whose rollout is under way")
    if state.phase == "rolled_back":
        # It goes back over whatever was done to the route, which a target would not be made known over.
        return state
    status = fleet.status(candidate)
    # A server that was started again may listen elsewhere; one that is down now is the judge's business.
    if status is not None and status.phase == "ready" and status.port is not None:
        gateway.router.ensure_targets(state.model_name, {candidate: status.port}, fencing_token=lease.token)
    return state


def _require_unchanged(gateway: Gateway, lease: Lease, route: str) -> None:
    """Stop a process that was held up for long, while another one of its holder took the rollout to its end."""
    found = gateway.store.load(route)
    if found is None or (found.token, found.holder, found.state) != (lease.token, lease.holder, None):
        raise StaleWriteError(f"route {route!r}: the rollout went on meanwhile; nothing was written")


def _require_possible(router: Router, state: RolloutState) -> None:
    """Refuse a rollout at its beginning which would end at a step that the router cannot make."""
    if isinstance(router, CoarseRouter):
        for position in range(len(state.spec.steps)):
            router.check_weights(intended_weights(replace(state, step_index=position)))


def require_one_age(metrics: TrafficMetrics, spec: RolloutSpec) -> None:
    """Refuse a spec whose labels are judged at another age than their source counts them at.

    :raises SpecificationError: naming the source's
    """
    age = metrics.label_age_seconds if isinstance(metrics, AgedMetrics) else None
    if spec.labels is not None and age not in (None, spec.labels.age_seconds):
        raise SpecificationError(
            "labels.age_seconds", spec.labels.age_seconds, f"{age:g}, at which the connection's source of labels counts"
        )


def _port(fleet: ServerFleet, name: str) -> int:
    status = fleet.status(name)
    if status is None:
        raise PermanentAdapterError(f"model server {name!r} is not known; start it before its rollout")
    if status.phase != "ready" or status.port is None:
        raise TransientAdapterError(f"model server {name!r} is {status.phase}, not ready: {status.message}")
    return status.port
