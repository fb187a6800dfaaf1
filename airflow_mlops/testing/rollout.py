"""A gateway in memory: router, store, counters and clock, for tests of rollouts without a proxy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from airflow_mlops.exceptions import (
    LeaseHeldError,
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
    TransientAdapterError,
)
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import ArmCounters, RouteView, Tally
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.routing import Match, Mirror
from airflow_mlops.rollout.state import RolloutState, is_under_way

__all__ = ["ManualClock", "MemoryMetrics", "MemoryRolloutStore", "MemoryRouter", "memory_gateway"]


@dataclass
class ManualClock:
    """A clock that stands still until it is moved."""

    time: float = 1_000_000.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self.time

    def advance(self, seconds: float) -> None:
        """Move on."""
        self.time += seconds


@dataclass
class MemoryRouter:
    """Routes in memory; ``edits`` stands for changes by another hand."""

    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "mirror", "match", "verify"})

    views: dict[str, RouteView] = field(default_factory=dict)
    tokens: dict[str, int] = field(default_factory=dict)
    edits: list[str] = field(default_factory=list)
    writes: list[dict[str, int]] = field(default_factory=list)

    def observe(self, route: str) -> RouteView:
        """Tell how the route is."""
        return replace(self.views.get(route, RouteView(route=route)), foreign_edits=tuple(self.edits))

    def ensure_targets(self, route: str, targets: Mapping[str, int], *, fencing_token: int) -> RouteView:
        """Make targets known."""
        view = self._writable(route, fencing_token)
        return self._write(view, replace(view, targets={**view.targets, **targets}), fencing_token)

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights."""
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
            raise SpecificationError("weights", dict(weights), "percentages of 0 or more that sum to 100")
        if expected_generation is None:
            self.edits.clear()
        view = self._writable(route, fencing_token)
        wanted = {name: weight for name, weight in weights.items() if weight > 0}
        unknown = sorted(set(wanted) - set(view.targets))
        if unknown:
            raise PermanentAdapterError(f"route {route!r}: no such target {', '.join(unknown)}")
        repeated = dict(view.weights) == wanted and self.tokens.get(route) == fencing_token
        if expected_generation not in (None, view.generation) and not repeated:
            raise StaleWriteError(f"route {route!r}: generation is {view.generation}, not {expected_generation}")
        self.writes.append(wanted)
        return self._write(view, replace(view, weights=wanted, mirror=None, match=None), fencing_token)

    def set_mirror(
        self, route: str, target: str | None, percent: int, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Copy requests to a target, or to none."""
        if expected_generation is None:
            self.edits.clear()
        view = self._writable(route, fencing_token)
        mirror = None if target is None else Mirror(target=target, percent=percent)
        if target is not None and (target not in view.targets or view.weights.get(target)):
            raise PermanentAdapterError(f"route {route!r}: {target} is no target without weight")
        repeated = view.mirror == mirror and self.tokens.get(route) == fencing_token
        if expected_generation not in (None, view.generation) and not repeated:
            raise StaleWriteError(f"route {route!r}: generation is {view.generation}, not {expected_generation}")
        return self._write(view, replace(view, mirror=mirror), fencing_token)

    def set_match(
        self, route: str, match: Match | None, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Send requests with certain headers to a target, or none."""
        if expected_generation is None:
            self.edits.clear()
        view = self._writable(route, fencing_token)
        if match is not None and match.target not in view.targets:
            raise PermanentAdapterError(f"route {route!r}: no such target {match.target}")
        repeated = view.match == match and self.tokens.get(route) == fencing_token
        if expected_generation not in (None, view.generation) and not repeated:
            raise StaleWriteError(f"route {route!r}: generation is {view.generation}, not {expected_generation}")
        return self._write(view, replace(view, match=match), fencing_token)

    def verify(self, route: str) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether the weights are in effect: in memory they always are."""
        return "ok" if route in self.views else "pending"

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target."""
        view = self.observe(route)
        if view.weights.get(name):
            raise PermanentAdapterError(f"route {route!r}: {name!r} still gets {view.weights[name]} %")
        if view.mirror is not None and view.mirror.target == name:
            raise PermanentAdapterError(f"route {route!r}: {name!r} still gets copies of the requests")
        if view.match is not None and view.match.target == name:
            raise PermanentAdapterError(f"route {route!r}: {name!r} still gets the requests with certain headers")
        targets = {key: port for key, port in view.targets.items() if key != name}
        return self._write(view, replace(view, targets=targets), self.tokens.get(route, 0))

    def _writable(self, route: str, token: int) -> RouteView:
        newest = self.tokens.get(route, 0)
        if token < newest:
            raise StaleWriteError(f"route {route!r}: token {token} is older than {newest}")
        view = self.observe(route)
        if view.foreign_edits:
            raise StaleWriteError(f"route {route!r}: somebody else changed it: {'; '.join(view.foreign_edits)}")
        return view

    def _write(self, before: RouteView, after: RouteView, token: int) -> RouteView:
        changed = replace(before, foreign_edits=()) != replace(after, foreign_edits=())
        self.views[after.route] = replace(after, generation=before.generation + changed, foreign_edits=())
        self.tokens[after.route] = token
        return self.observe(after.route)


@dataclass
class _Entry:
    lease: Lease
    seconds: float


@dataclass
class MemoryRolloutStore:
    """Rollouts in memory."""

    clock: ManualClock
    entries: dict[str, _Entry] = field(default_factory=dict)

    def acquire(self, route: str, holder: str, *, lease_seconds: float) -> Lease:
        """Take the lease, or take it up again."""
        if not holder:
            raise SpecificationError("holder", holder, "a name that says who moves the traffic")
        entry, expires_at = self.entries.get(route), self.clock.now() + lease_seconds
        if entry is None:
            lease = Lease(token=1, holder=holder, expires_at=expires_at)
        elif entry.lease.holder == holder:
            lease = entry.lease if is_under_way(entry.lease.state) else replace(entry.lease, expires_at=expires_at)
        elif entry.lease.holder and entry.lease.expires_at > self.clock.now():
            raise LeaseHeldError(route, entry.lease.holder)
        else:
            before = entry.lease
            lease = Lease(
                token=before.token + 1,
                holder=holder,
                expires_at=expires_at,
                previous=before.state or before.previous,
            )
        self.entries[route] = _Entry(lease, lease_seconds)
        return lease

    def load(self, route: str) -> Lease | None:
        """Return what is stored."""
        entry = self.entries.get(route)
        return None if entry is None else entry.lease

    def save(self, route: str, state: RolloutState, *, token: int, renew: bool) -> None:
        """Store the state if the lease is still held."""
        entry = self.entries.get(route)
        if entry is None or entry.lease.token != token or not entry.lease.holder:
            raise StaleWriteError(f"route {route!r}: the lease with token {token} was lost")
        stored = entry.lease.state
        if stored is not None and stored.sequence >= state.sequence and stored != state:
            raise StaleWriteError(f"route {route!r}: change {state.sequence} comes too late")
        expires_at = self.clock.now() + entry.seconds if renew else entry.lease.expires_at
        entry.lease = replace(entry.lease, state=state, expires_at=expires_at)

    def release(self, route: str, *, token: int) -> None:
        """Give the lease back."""
        entry = self.entries.get(route)
        if entry is None or entry.lease.token != token:
            raise StaleWriteError(f"route {route!r}: the lease with token {token} has passed on")
        entry.lease = replace(entry.lease, holder="", expires_at=0.0)

    def routes(self) -> list[str]:
        """Return the names of all routes that have or had a rollout, sorted."""
        return sorted(self.entries)


@dataclass
class MemoryMetrics:
    """Counters that a test sets; unreachable while ``broken`` says why."""

    counters: dict[str, ArmCounters] = field(default_factory=dict)
    broken: str = ""

    def read(
        self, targets: Sequence[str], *, slow_ms: int | None, tallies: Sequence[str] = ()
    ) -> Mapping[str, ArmCounters]:
        """Return the counters of the targets that are known, and of their tallies those that are wanted."""
        if self.broken:
            raise TransientAdapterError(self.broken)
        found = {
            name: replace(counters, tallies={key: tally for key, tally in counters.tallies.items() if key in tallies})
            for name, counters in self.counters.items()
            if name in targets
        }
        return found if slow_ms is not None else {name: replace(c, timed=0, slow=0) for name, c in found.items()}

    def count(
        self, name: str, *, requests: int, errors: int = 0, slow: int = 0, tallies: Mapping[str, Tally] | None = None
    ) -> None:
        """Let a target answer requests; tallies add up, too."""
        before = self.counters.get(name, ArmCounters(requests=0, errors=0))
        together = dict(before.tallies)
        for key, more in (tallies or {}).items():
            so_far = together.get(key, Tally())
            together[key] = Tally(so_far.total + more.total, so_far.hits + more.hits)
        self.counters[name] = ArmCounters(
            requests=before.requests + requests,
            errors=before.errors + errors,
            timed=before.timed + requests,
            slow=before.slow + slow,
            tallies=together,
        )

    def restart(self) -> None:
        """Forget everything, as a proxy does that was started again."""
        self.counters = {name: ArmCounters(requests=0, errors=0) for name in self.counters}


def memory_gateway() -> tuple[Gateway, MemoryRouter, MemoryRolloutStore, MemoryMetrics, ManualClock]:
    """Return a gateway in memory, and its parts for the test to move."""
    clock = ManualClock()
    router, store, metrics = MemoryRouter(), MemoryRolloutStore(clock), MemoryMetrics()
    return Gateway(router=router, store=store, metrics=metrics, clock=clock), router, store, metrics, clock
