"""What a person does to a rollout from outside: look at it, approve a step, abort it; or start another in its place.

All of it works while a task holds the route and when nobody does. What is stored wins: a task that holds the route
finds the decision at its next look and ends with it. A write that races with a look is decided again from what the
look has stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NoReturn

from airflow_mlops.exceptions import (
    AdapterError,
    ContractError,
    LeaseHeldError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.mirroring import end_mirror
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.state import RolloutState, approve, awaits_approval, intended_weights
from airflow_mlops.rollout.step import abort
from airflow_mlops.verdict import Verdict, combine

__all__ = ["Standing", "abort_by_hand", "approve_by_hand", "standing", "take_over"]

# Looks are seconds apart, so a write loses against one, hardly ever against two.
_ATTEMPTS = 5
_LEASE_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a route's rollout is.

    :param route: the route, which is the model's name
    :param phase: ``progressing``, ``promoted``, ``rolled_back``, ``starting`` before the first step is stored, or
        ``none`` after a rollout that never began
    :param candidate: target that shall take over, None while it is not known
    :param stable: target that it is compared with
    :param step: position of the present step, from 1
    :param steps: how many there are
    :param weights: target to percent as the route says it now
    :param intended: target to percent as the rollout wants it
    :param verdict: of the last judgement
    :param reason: of the last decision, one sentence
    :param awaits_approval: whether the step goes on as soon as a person approves it
    :param requests_missing: about how many requests at the candidate would decide the step; None if no number would,
        or it is not known
    :param holder: who moves the traffic, empty if nobody does
    :param seconds_left: until the holder's lease ends, below 0 since it has; None without a holder
    :param problem: what could not be read
    """

    route: str
    phase: str
    candidate: str | None = None
    stable: str | None = None
    step: int = 0
    steps: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    intended: Mapping[str, int] = field(default_factory=dict)
    verdict: Verdict | None = None
    reason: str = ""
    awaits_approval: bool = False
    requests_missing: int | None = None
    holder: str = ""
    seconds_left: float | None = None
    problem: str = ""


def standing(gateway: Gateway, route: str) -> Standing:
    """Say where a route's rollout is; changes nothing.

    :raises SpecificationError: when the route never had one
    """
    lease = gateway.store.load(route)
    if lease is None:
        _unknown(gateway, route)
    weights: Mapping[str, int] = {}
    problem, mirror = "", None
    try:
        view = gateway.router.observe(route)
        weights, problem, mirror = dict(view.weights), "; ".join(view.foreign_edits), view.mirror
    except (AdapterError, ContractError) as error:
        problem = str(error)
    state = lease.state
    held = Standing(
        route=route,
        phase="starting",
        weights=weights,
        holder=lease.holder,
        seconds_left=lease.expires_at - gateway.clock.now() if lease.holder else None,
        problem=problem,
    )
    if mirror is not None:
        reason = f"{mirror.percent} % of the requests are copied to {mirror.target}, whose answers reach nobody"
        return replace(held, phase="shadow", candidate=mirror.target, reason=reason)
    if state is None:
        return held if lease.holder else replace(held, phase="none")
    verdict = combine(state.checks) if state.checks else None
    return replace(
        held,
        phase=state.phase,
        candidate=state.candidate,
        stable=state.stable,
        step=state.step_index + 1,
        steps=len(state.spec.steps),
        intended=intended_weights(state),
        verdict=verdict if verdict is not None and not state.finished else state.history[-1].verdict,
        reason=state.reason,
        awaits_approval=awaits_approval(state),
        requests_missing=_missing(state),
    )


def approve_by_hand(gateway: Gateway, route: str, *, by: str, token: int | None = None) -> RolloutState:
    """Approve the step that waits for it.

    :param by: who does
    :param token: approve only under this lease; None under any
    :raises SpecificationError: when no rollout is under way, or its step waits for no approval
    :raises StaleWriteError: when the lease is another than ``token``
    """
    for _ in range(_ATTEMPTS):
        lease = _load(gateway, route)
        _must_be(lease, route, token)
        if lease.state is None or lease.state.finished or not lease.holder:
            _ended(route, lease)
        state = approve(lease.state, by=by, now=gateway.clock.now())
        try:
            # A person judges the step, not the traffic: the lease lives on what is seen of the traffic.
            gateway.store.save(route, state, token=lease.token, renew=False)
        except StaleWriteError:
            continue
        return state
    raise TransientAdapterError(f"route {route!r}: others keep changing the rollout; approve it again")


def abort_by_hand(gateway: Gateway, route: str, *, reason: str, by: str, token: int | None = None) -> RolloutState:
    """Give all traffic back to the stable model, for good; repeating it does no harm.

    A living holder keeps its lease: its task finds the decision and ends with it. Where the holder is gone, the lease
    is taken and released.

    :param reason: why, one sentence that names who wants it
    :param by: who does
    :param token: abort only under this lease; None under any
    :raises SpecificationError: when there is nothing to abort
    :raises StaleWriteError: when the lease is another than ``token``
    """
    for _ in range(_ATTEMPTS):
        lease = _load(gateway, route)
        _must_be(lease, route, token)
        if not lease.holder:
            _ended(route, lease)
        alive = lease.expires_at > gateway.clock.now()
        if alive and lease.state is None:
            raise TransientAdapterError(f"route {route!r}: the rollout of {lease.holder!r} only begins; abort it again")
        try:
            return _abort_held(gateway, route, lease, reason) if alive else _abort_left(gateway, route, by, reason)
        except (StaleWriteError, LeaseHeldError):
            continue  # a look, or another holder, came in between
    raise TransientAdapterError(f"route {route!r}: others keep changing the rollout; abort it again")


def take_over(gateway: Gateway, route: str, *, holder: str, lease_seconds: float, request: str = "") -> Lease:
    """Take the lease, from another rollout if need be: that one is aborted before, so there are never two writers.

    :param holder: who takes it
    :param lease_seconds: how long the lease lives after every verdict
    :param request: says who asks for the rollout; one whose rollout was superseded itself takes nothing back
    :raises LeaseHeldError: when the holder took the route over from this very request
    :raises TransientAdapterError: when others keep taking it
    """
    for _ in range(_ATTEMPTS):
        try:
            return gateway.store.acquire(route, holder, lease_seconds=lease_seconds)
        except LeaseHeldError:
            lease = gateway.store.load(route)
        if lease is None or not lease.holder:
            continue
        if request and lease.previous is not None and lease.previous.request == request:
            raise LeaseHeldError(route, lease.holder)
        try:
            if lease.state is not None and not lease.state.finished:
                _abort_held(gateway, route, lease, f"superseded by {holder}")
            # What is superseded may be a shadow, which has no state here.
            end_mirror(gateway.router, route, token=lease.token)
            gateway.store.release(route, token=lease.token)
        except StaleWriteError:
            continue
    raise TransientAdapterError(f"route {route!r}: others keep taking the route")


def _abort_held(gateway: Gateway, route: str, lease: Lease, reason: str) -> RolloutState:
    """Abort under the holder's own lease."""
    if lease.state is None or lease.state.phase == "promoted":
        _ended(route, lease)
    state = abort(lease.state, gateway.clock.now(), reason)
    if state != lease.state:
        gateway.store.save(route, state, token=lease.token, renew=False)
    gateway.apply(state, token=lease.token)
    return state


def _abort_left(gateway: Gateway, route: str, by: str, reason: str) -> RolloutState:
    """Abort what a holder left that recorded no verdict until its lease ended."""
    lease = gateway.store.acquire(route, f"abort by {by}", lease_seconds=_LEASE_SECONDS)
    left = lease.state or lease.previous
    try:
        if left is None or left.phase == "promoted":
            _ended(route, lease)
        state = abort(left, gateway.clock.now(), reason)
        gateway.store.save(route, state, token=lease.token, renew=True)
        gateway.apply(state, token=lease.token)
    finally:
        gateway.store.release(route, token=lease.token)
    return state


def _load(gateway: Gateway, route: str) -> Lease:
    lease = gateway.store.load(route)
    if lease is None:
        _unknown(gateway, route)
    return lease


def _must_be(lease: Lease, route: str, token: int | None) -> None:
    if token is not None and (lease.token != token or not lease.holder):
        raise StaleWriteError(f"route {route!r}: the lease with token {token} has passed on")


def _unknown(gateway: Gateway, route: str) -> NoReturn:
    known = ", ".join(gateway.store.routes()) or "none has one"
    raise SpecificationError("route", route, f"a route with a rollout: {known}")


def _ended(route: str, lease: Lease) -> NoReturn:
    last = lease.state or lease.previous
    if last is None:
        accepted = "a route with a rollout under way; none ever was"
    else:
        accepted = f"a route with a rollout under way; that of {last.candidate} is {last.phase}: {last.reason}"
    raise SpecificationError("route", route, accepted)


def _missing(state: RolloutState) -> int | None:
    """How many requests would decide, as the last look expected it."""
    found = [check.details.get("requests_missing") for check in state.checks if check.name.endswith(".proof")]
    if state.finished or not found or None in found:
        return None
    return max(int(number) for number in found if number is not None)
