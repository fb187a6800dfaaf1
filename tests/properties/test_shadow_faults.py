"""A shadow whose every call goes wrong once, in every way: no request is lost to the candidate, no copy outlives it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from airflow_mlops.exceptions import MLOpsError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.mirroring import Shadowing
from airflow_mlops.rollout.observation import ArmCounters
from airflow_mlops.rollout.pairing import Answer, Arm, Pairing
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.shadow import ShadowState
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.port_faults import Boundary, Killed, What, When, faulty
from airflow_mlops.testing.rollout import memory_gateway

SPEC = ShadowSpec(min_pairs=250, min_seconds=5, look_seconds=5, max_unknown_seconds=20, timeout_seconds=300)


class Fleet:
    """The candidate runs."""

    def status(self, name: str) -> ServerStatus:
        return ServerStatus(name=name, phase="ready", port=2)


@dataclass
class Log:
    """Both models have answered every request so far."""

    world: World
    given: int = 0

    def answers(self) -> Iterable[tuple[Arm, Answer]]:
        for number in range(self.given, self.world.requests):
            yield "stable", Answer(id=str(number), time=1.0, prediction=0.5)
            yield "candidate", Answer(id=str(number), time=1.0, prediction=0.5)
        self.given = self.world.requests

    def labels(self) -> Mapping[str, int]:
        return {}


class World:
    """A gateway in memory under traffic, and the tries of a task over it."""

    def __init__(self, boundary: Boundary) -> None:
        self.gateway, self.router, self.store, self.metrics, self.clock = memory_gateway()
        self.router.ensure_targets("m", {"m-v1": 1}, fencing_token=0)
        self.router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=None)
        self.requests = 0
        boundary.after_call = lambda _: self.check()
        ports = {name: faulty(getattr(self.gateway, name), boundary) for name in ("router", "store", "metrics")}
        # What a try keeps of the one before lies in the artefact store, which is no port.
        self.kept: ShadowState | None = None
        faulted: Any = replace(self.gateway, **ports)
        self.shadowing = Shadowing(gateway=faulted, route="m", holder="dag/run/shadow/-1")
        self.boundary = boundary

    def check(self) -> None:
        """At no moment does the candidate get a request."""
        assert dict(self.router.observe("m").weights) == {"m-v1": 100}

    def try_once(self) -> ShadowState:
        """What the operator does: take up or begin, look until it is decided, end the copies, release."""
        token = 0
        try:
            lease = self.shadowing.acquire(SPEC)
            token = lease.token
            state = self.kept if self.kept is not None and self.kept.token == token else None
            if state is None:
                state = self.shadowing.begin(Fleet(), lease, candidate="m-v2", spec=SPEC)  # type: ignore[arg-type]
                self.kept = state
            pairing, log = Pairing(SPEC), Log(self)
            while True:
                self.shadowing.held(state)
                self.shadowing.apply(state)
                if state.finished:
                    self.kept = state
                    self.shadowing.gateway.store.release("m", token=token)
                    return state
                state = self.look_until_something_is_due(state, pairing, log)
        except TransientAdapterError:
            raise
        except MLOpsError:
            if token:
                self.shadowing.give_back(token)
            raise

    def look_until_something_is_due(self, state: ShadowState, pairing: Pairing, log: Log) -> ShadowState:
        while True:
            self.pass_time(5)
            state, plan = self.shadowing.look(state, pairing, log)
            if plan.action != "hold":
                return state

    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.requests += int(20 * seconds)
        for name in ("m-v1", "m-v2"):
            self.metrics.counters[name] = ArmCounters(requests=self.requests, errors=0)
        self.watch(self.gateway)

    def watch(self, gateway: Gateway) -> None:
        return_expired("m", router=gateway.router, store=gateway.store, clock=gateway.clock)

    def run(self) -> str:
        """Three tries; then, if need be, time passes."""
        ended = "gave up"
        for _ in range(3):
            try:
                ended = self.try_once().phase
                break
            except Killed:
                ended = "killed"
                break
            except TransientAdapterError:
                continue
            except MLOpsError:
                break
        for _ in range(60):
            self.pass_time(5)
        return ended


def faults(when: When, what: What) -> Iterable[tuple[int, World, str]]:
    for number in range(1000):
        boundary = Boundary(at=number, when=when, what=what)
        world = World(boundary)
        ended = world.run()
        yield number, world, ended
        if len(boundary.calls) <= number:
            return
    raise AssertionError("a shadow never makes so many calls")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["kill", "timeout", "conflict"])
def test_whatever_goes_wrong_no_copy_stays_and_the_route_is_free(when: When, what: What) -> None:
    seen: dict[str, int] = {}
    for number, world, ended in faults(when, what):
        view, lease = world.router.observe("m"), world.store.load("m")
        where = f"call {number}: {world.boundary.calls[number : number + 1]}, {ended}"
        assert view.mirror is None, where
        assert dict(view.weights) == {"m-v1": 100}, where
        assert lease is None or not lease.holder, where
        seen[ended] = seen.get(ended, 0) + 1
    print(what, when, seen)
    assert seen.get("passed", 0) >= 1
    if what == "timeout":
        # Another try mends it.
        assert set(seen) == {"passed"}


def test_a_try_after_a_kill_ends_the_same_shadow() -> None:
    for number in range(1000):
        boundary = Boundary(at=number, what="kill")
        world = World(boundary)
        try:
            world.try_once()
            break
        except Killed:
            begun = world.kept
        state = world.try_once()
        assert state.phase == "passed"
        assert begun is None or state.started_at == begun.started_at
        assert world.router.observe("m").mirror is None
    assert number > 20
