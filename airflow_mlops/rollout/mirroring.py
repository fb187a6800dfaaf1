"""The shell around a shadow: begins, looks, keeps the lease and ends the copies; the same for every process.

A shadow holds the same lease as a canary, so only one of them is on a route at a time. The lease is prolonged by looks
that found something new; when it ends, the watchdog ends the copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_mlops.exceptions import (
    AdapterError,
    ContractError,
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.pairing import AnswerLog, Pairing
from airflow_mlops.rollout.ports import Lease, MirrorRouter, Router, ServerFleet
from airflow_mlops.rollout.shadow import ShadowObservation, ShadowPlan, ShadowState, intended_mirror, step
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.rollout.state import intended_weights
from airflow_mlops.rollout.step import abort

__all__ = ["Shadowing", "abort_shadow", "end_mirror", "mirror_router", "stable_of"]

# A lease outlives the longest time without news that the spec allows, and a worker's restart.
_LEASE_RESERVE_SECONDS = 120.0


def mirror_router(router: Router) -> MirrorRouter:
    """Return the router as one that copies requests.

    :raises SpecificationError: when it cannot
    """
    if isinstance(router, MirrorRouter) and "mirror" in router.capabilities:
        return router
    raise SpecificationError(
        "mode", "mirror", f"'replay': {type(router).__name__} cannot copy requests, logged ones can be sent again"
    )


def end_mirror(router: Router, route: str, *, token: int) -> bool:
    """End the copies of a route's requests, whatever else was done to it; once or again.

    :return: whether there were any
    """
    mirror = router.observe(route).mirror
    if mirror is None or not isinstance(router, MirrorRouter):
        return False
    router.set_mirror(route, None, 0, fencing_token=token, expected_generation=None)
    return True


def abort_shadow(gateway: Gateway, route: str) -> str | None:
    """End a shadow from outside of its task, which finds its lease gone and fails.

    :return: the target that got the copies; None when there were none
    """
    mirror, lease = gateway.router.observe(route).mirror, gateway.store.load(route)
    if mirror is None or lease is None:
        return None
    end_mirror(gateway.router, route, token=lease.token)
    gateway.store.release(route, token=lease.token)
    return mirror.target


def stable_of(router: Router, route: str, candidate: str) -> str:
    """Return the target that has the traffic.

    :raises SpecificationError: when none has, or the candidate has some
    """
    weights = {name: weight for name, weight in router.observe(route).weights.items() if weight > 0}
    if candidate in weights:
        raise SpecificationError("candidate", candidate, f"a target without traffic; it has {weights[candidate]} %")
    if not weights:
        raise SpecificationError("model_name", route, "a route with traffic: there is nothing to compare with")
    return max(sorted(weights), key=lambda name: weights[name])


@dataclass(frozen=True, kw_only=True)
class Shadowing:
    """What a shadow works with.

    :param gateway: the ports of rollouts; its router has to be a ``MirrorRouter``
    :param route: the route, which is the model's name
    :param holder: who holds the lease, the same after a crash
    """

    gateway: Gateway
    route: str
    holder: str

    def acquire(self, spec: ShadowSpec) -> Lease:
        """Take the lease, or take it up again.

        :raises LeaseHeldError: when a canary or another shadow is on the route
        """
        return self.gateway.store.acquire(
            self.route, self.holder, lease_seconds=spec.max_unknown_seconds + _LEASE_RESERVE_SECONDS
        )

    def begin(self, fleet: ServerFleet, lease: Lease, *, candidate: str, spec: ShadowSpec) -> ShadowState:
        """Return a new shadow; nothing is copied yet.

        A rollout whose processes all died is ended first, as the watchdog would have done.

        :raises PermanentAdapterError: when nobody knows the candidate
        :raises TransientAdapterError: when it is not ready
        :raises SpecificationError: when nothing has the traffic, or the candidate has some
        """
        router, now = mirror_router(self.gateway.router), self.gateway.clock.now()
        left = lease.state or lease.previous
        if left is not None and not left.finished:
            ended = abort(left, now, f"{left.candidate} was left half-way, and {self.holder} took the route")
            self.gateway.store.save(self.route, ended, token=lease.token, renew=True)
            router.set_weights(self.route, intended_weights(ended), fencing_token=lease.token, expected_generation=None)
        status = fleet.status(candidate)
        if status is None:
            raise PermanentAdapterError(f"model server {candidate!r} is not known; start it before its shadow")
        if status.phase != "ready" or status.port is None:
            raise TransientAdapterError(f"model server {candidate!r} is {status.phase}, not ready: {status.message}")
        stable = stable_of(router, self.route, candidate)
        router.ensure_targets(self.route, {candidate: status.port}, fencing_token=lease.token)
        return ShadowState(
            model_name=self.route, candidate=candidate, stable=stable, spec=spec, token=lease.token, started_at=now
        )

    def apply(self, state: ShadowState) -> None:
        """Make the route copy what the state says; safe to repeat.

        :raises StaleWriteError: when a newer token wrote, or, while copying, somebody else changed the route
        """
        router, mirror = mirror_router(self.gateway.router), intended_mirror(state)
        if mirror is None:
            end_mirror(router, self.route, token=state.token)
            return
        view = router.observe(self.route)
        if view.mirror != mirror or not view.applied:
            router.set_mirror(
                self.route,
                mirror.target,
                mirror.percent,
                fencing_token=state.token,
                expected_generation=view.generation,
            )

    def look(self, state: ShadowState, pairing: Pairing, log: AnswerLog) -> tuple[ShadowState, ShadowPlan]:
        """Observe and judge, and keep the lease if something new was seen; nothing is done to the route.

        :raises StaleWriteError: when the lease was lost
        """
        self.held(state)
        state, plan = step(state, self._observe(state, pairing, log), self.gateway.clock.now())
        news = state.unknown_since is None and not state.finished
        # Taking it up again prolongs a lease, and that of somebody else is refused.
        if news and self.acquire(state.spec).token != state.token:
            raise StaleWriteError(f"route {self.route!r}: the lease was lost while it was prolonged")
        return state, plan

    def held(self, state: ShadowState) -> None:
        """Check that this shadow still has the route.

        :raises StaleWriteError: when the lease was lost or given back
        """
        lease = self.gateway.store.load(self.route)
        if lease is None or lease.token != state.token or lease.holder != self.holder:
            to = f" to {lease.holder!r}" if lease is not None and lease.holder else ""
            raise StaleWriteError(f"route {self.route!r}: the lease was lost{to}; this shadow copies no more requests")

    def give_back(self, token: int) -> bool:
        """End the copies and release the lease, unless it belongs to somebody else.

        :return: whether copies were ended
        """
        lease = self.gateway.store.load(self.route)
        if lease is None or lease.token != token or lease.holder != self.holder:
            return False
        ended = end_mirror(self.gateway.router, self.route, token=token)
        self.gateway.store.release(self.route, token=token)
        return ended

    def _observe(self, state: ShadowState, pairing: Pairing, log: AnswerLog) -> ShadowObservation:
        seen = ShadowObservation()
        try:
            seen = replace(seen, route=self.gateway.router.observe(self.route))
            counters = self.gateway.metrics.read((state.candidate, state.stable), slow_ms=None)
            return replace(seen, counters=dict(counters), pairs=pairing.read(log))
        except (AdapterError, ContractError, OSError) as error:
            return replace(seen, problem=str(error))
