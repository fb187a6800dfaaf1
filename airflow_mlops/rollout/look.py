"""One look at a rollout, and what follows from it: the shell around the pure step, the same for every process."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.clock import Clock
from airflow_mlops.exceptions import AdapterError, ContractError, StaleWriteError
from airflow_mlops.rollout.observation import ArmCounters, Observation
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.ports import Lease, RolloutStore, Router, TrafficMetrics
from airflow_mlops.rollout.state import RolloutState, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.verdict import Verdict

__all__ = ["Gateway"]


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The ports that a rollout works with, taken together.

    :param router: splits the traffic
    :param store: keeps the state
    :param metrics: counts
    :param clock: tells the time
    """

    router: Router
    store: RolloutStore
    metrics: TrafficMetrics
    clock: Clock

    def look(self, route: str, *, token: int) -> tuple[RolloutState, Plan]:
        """Observe, judge and store; nothing is done to the traffic.

        :param token: of the lease under which the rollout began
        :return: the state as stored, and what somebody now has to do
        :raises StaleWriteError: when the lease was lost
        """
        state = self.held(route, token=token)
        after, plan = step(state, self.observe(state), self.clock.now())
        if after == state:
            return state, plan
        # The lease lives on verdicts: while nothing is known, it runs out.
        renew = after.unknown_since is None
        try:
            self.store.save(route, after, token=token, renew=renew)
        except StaleWriteError:
            # Another process judged meanwhile, which happens when triggers move; its look counts. A lost lease raises.
            state = self.held(route, token=token)
            weights, reason = intended_weights(state), "another process recorded a look meanwhile"
            return state, Plan(action="hold", weights=weights, verdict=Verdict.INCONCLUSIVE, reason=reason)
        return after, plan

    def held(self, route: str, *, token: int) -> RolloutState:
        """Return the rollout that the lease protects.

        :raises StaleWriteError: when the lease was lost or given back
        """
        lease = self.store.load(route)
        if lease is None or lease.token != token or not lease.holder or lease.state is None:
            raise StaleWriteError(
                f"route {route!r}: the lease was lost{_to(lease)}; this rollout moves no more traffic"
            )
        return lease.state

    def observe(self, state: RolloutState) -> Observation:
        """Look at route and counters; what cannot be read becomes a problem that the step weighs."""
        try:
            view = self.router.observe(state.model_name)
        except (AdapterError, ContractError) as error:
            return Observation(problem=str(error))
        counters: dict[str, ArmCounters] | None = None
        problem = ""
        arms = [name for name in (state.candidate, state.stable) if name is not None]
        slow_ms = None if state.spec.latency is None else state.spec.latency.slow_ms
        try:
            counters = dict(self.metrics.read(arms, slow_ms=slow_ms, tallies=state.spec.wanted_tallies()))
        except (AdapterError, ContractError) as error:
            problem = str(error)
        return Observation(route=view, counters=counters, problem=problem)

    def apply(self, state: RolloutState, *, token: int) -> None:
        """Make the route say what the state says; safe to repeat.

        Traffic goes back to the stable model whatever else was done to the route; it goes forward only over a route
        that is as it was left, and only while the state is the stored one: a person may abort at any moment.

        :raises StaleWriteError: when a newer token wrote, or, going forward, the lease was lost, the rollout was
            decided otherwise meanwhile, or somebody else changed the route
        """
        route, weights = state.model_name, intended_weights(state)
        if state.phase == "rolled_back":
            self.router.set_weights(route, weights, fencing_token=token, expected_generation=None)
            return
        generation = self.router.observe(route).generation
        stored = self.held(route, token=token)
        if intended_weights(stored) != weights:
            raise StaleWriteError(f"route {route!r}: the rollout went on meanwhile: {stored.reason}")
        self.router.set_weights(route, weights, fencing_token=token, expected_generation=generation)
        after = self.store.load(route)
        if (
            after is not None
            and after.token == token
            and after.state is not None
            and after.state.phase == "rolled_back"
        ):
            # Aborted between the last two calls; whoever did may have written the route before we did.
            self.apply(after.state, token=token)

    def abort(self, route: str, *, token: int, reason: str) -> RolloutState:
        """Give all traffic back to the stable model, for good.

        :raises StaleWriteError: when the lease was lost
        """
        state = abort(self.held(route, token=token), self.clock.now(), reason)
        self.store.save(route, state, token=token, renew=True)
        self.apply(state, token=token)
        return state

    def give_back(self, route: str, *, token: int, reason: str) -> bool:
        """End this holder's rollout: traffic goes back unless it is decided already, and the lease is released.

        :return: whether traffic was moved; False also when the lease belongs to somebody else
        """
        lease = self.store.load(route)
        if lease is None or lease.token != token or not lease.holder:
            return False
        moved = lease.state is not None and not lease.state.finished
        if moved:
            self.abort(route, token=token, reason=reason)
        elif lease.state is not None:
            # Decided, but perhaps not done; a lease that was given back is watched by nobody.
            self.apply(lease.state, token=token)
        self.store.release(route, token=token)
        return moved


def _to(lease: Lease | None) -> str:
    return f" to {lease.holder!r}" if lease is not None and lease.holder else ""
