"""A rollout whose every call goes wrong once, in every way: the promises hold, and it ends as it should."""

from __future__ import annotations

import contextlib
import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.adapters.traffic import envoy_files, file_store
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.clock import Clock
from airflow_mlops.exceptions import MLOpsError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.ports import ServerFleet
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.invariants import Bounds, violations
from airflow_mlops.testing.port_faults import Boundary, Killed, What, When, faulty
from airflow_mlops.testing.rollout import memory_gateway
from airflow_mlops.testing.rollout_process import drive
from airflow_mlops.testing.traffic_trace import Sample, TraceLog

STABLE, CANDIDATE = "m-v1", "m-v2"
SPEC = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=10, min_seconds=2, min_requests=40),
        CanaryStep(weight_percent=40, min_seconds=2, min_requests=40),
    ),
    error_rate=ErrorRateCheck(max_increase=0.1),
    step_timeout_seconds=60,
    max_unknown_seconds=10,
)
BOUNDS = Bounds(lease_seconds=20, watchdog_seconds=5)
ENDS = {0: "promoted", 30: "rolled_back"}  # percent of the candidate's answers that are errors: how it ends


class Fleet:
    """Two servers that run."""

    def status(self, name: str) -> ServerStatus:
        return ServerStatus(name=name, phase="ready", port={STABLE: 8201, CANDIDATE: 8202}[name])


@dataclass
class World:
    """A gateway in memory under traffic, a watchdog, and processes that come and go."""

    errors_percent: int = 0
    folder: Path | None = None  # where routes and states are files; else they are in memory
    log: TraceLog = field(default_factory=TraceLog)
    boundaries: list[Boundary] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.gateway, router, store, self.metrics, self.clock = memory_gateway()
        self.router: Any = EnvoyFilesRouter(self.folder) if self.folder else router
        self.store: Any = FileRolloutStore(self.folder, clock=self.clock) if self.folder else store
        self.router.ensure_targets("m", {STABLE: 8201}, fencing_token=0)
        self.router.set_weights("m", {STABLE: 100}, fencing_token=0, expected_generation=None)
        for name in (STABLE, CANDIDATE):
            self.metrics.count(name, requests=0)
        self.begun = self.clock.now()
        self.watched = self.begun
        self.record()

    def record(self) -> None:
        self.log.add(
            Sample(
                at=self.clock.now(),
                view=self.router.observe("m"),
                lease=self.store.load("m"),
                token=self.token(),
            )
        )

    def token(self) -> int:
        """Highest token that wrote the route."""
        if self.folder is None:
            return int(self.router.tokens.get("m", 0))
        return int(json.loads((self.folder / "routes" / "m.json").read_text())["token"])

    def pause(self, seconds: float) -> None:
        """Let time pass: requests are answered, the watchdog looks."""
        weight = self.router.observe("m").weights.get(CANDIDATE, 0)
        self.clock.advance(seconds)
        requests = round(200 * seconds)
        canary = requests * weight // 100
        self.metrics.count(CANDIDATE, requests=canary, errors=canary * self.errors_percent // 100)
        self.metrics.count(STABLE, requests=requests - canary)
        if self.clock.now() - self.watched >= BOUNDS.watchdog_seconds:
            self.watched = self.clock.now()
            return_expired("m", router=self.router, store=self.store, clock=cast("Clock", self.clock))
        self.record()

    def process(self, boundary: Boundary, *, holder: str = "dag/run/task/-1") -> str:
        """Drive the rollout as one process does; return how that ended."""
        boundary.after_call = lambda name: None if name.endswith(("observe", "load", "read")) else self.record()
        self.boundaries.append(boundary)
        ports = {name: faulty(getattr(self, name), boundary) for name in ("router", "store", "metrics")}
        try:
            state = drive(
                Gateway(**ports, clock=self.gateway.clock),
                cast("ServerFleet", Fleet()),
                route="m",
                candidate=CANDIDATE,
                spec=SPEC,
                holder=holder,
                lease_seconds=BOUNDS.lease_seconds,
                pause=self.pause,
            )
        except Killed:
            return "killed"
        except TransientAdapterError:
            return "try again"
        except MLOpsError as error:
            return f"failed: {error}"
        return state.phase

    def tries(self, *boundaries: Boundary) -> str:
        """Let process follow process, as Airflow's retries do; after the given ones nothing goes wrong."""
        for boundary in (*boundaries, Boundary()):
            ended = self.process(boundary)
            if ended not in {"killed", "try again"}:
                return ended
            self.pause(3.0)
        raise AssertionError(ended)

    def wait(self, seconds: float = 40.0) -> None:
        """Let time pass without any process: only the watchdog is left."""
        for _ in range(round(seconds)):
            self.pause(1.0)

    def broken(self) -> list[str]:
        trace = self.log.trace(until=self.clock.now())
        return [f"{v.invariant} at {v.at - self.begun:.1f} s: {v.what}" for v in violations(trace, BOUNDS)]


def calls(errors_percent: int) -> list[str]:
    """All calls of a rollout in which nothing goes wrong."""
    world = World(errors_percent)
    assert world.tries(Boundary()) == ENDS[errors_percent]
    assert world.broken() == []
    return world.boundaries[0].calls


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("what", ["kill", "timeout"])
@pytest.mark.parametrize("errors_percent", ENDS)
def test_a_process_that_fails_at_any_call_is_followed_by_one_that_ends_well(
    errors_percent: int, what: What, when: When
) -> None:
    for number, name in enumerate(calls(errors_percent)):
        world = World(errors_percent)
        ended = world.tries(Boundary(at=number, when=when, what=what))
        assert ended == ENDS[errors_percent], (number, name)
        assert world.broken() == [], (number, name)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("errors_percent", ENDS)
def test_a_process_that_dies_for_good_at_any_call_leaves_all_traffic_at_one_target(
    errors_percent: int, when: When
) -> None:
    for number, name in enumerate(calls(errors_percent)):
        world = World(errors_percent)
        world.process(Boundary(at=number, when=when))
        world.wait()
        assert world.broken() == [] or world.store.load("m") is None, (number, name)
        (weight,) = world.router.observe("m").weights.values()
        assert weight == 100, (number, name)


@pytest.mark.parametrize("errors_percent", ENDS)
def test_another_writer_at_any_call_never_leaves_a_canary_that_nobody_judges(errors_percent: int) -> None:
    for number, name in enumerate(calls(errors_percent)):
        world = World(errors_percent)
        world.tries(Boundary(at=number, what="conflict"))
        world.wait()
        assert world.broken() == [], (number, name)


@pytest.mark.parametrize("errors_percent", ENDS)
def test_a_process_that_wakes_up_after_its_successor_changes_nothing(errors_percent: int) -> None:
    """Paused at any call while another process, with the same holder and token, takes the rollout to its end."""
    for number, name in enumerate(calls(errors_percent)):
        world = World(errors_percent)
        asleep, wake = threading.Event(), threading.Event()

        def sleep(asleep: threading.Event = asleep, wake: threading.Event = wake) -> None:
            asleep.set()
            wake.wait(10)

        boundary = Boundary(at=number, what="pause", on_pause=sleep)
        zombie = threading.Thread(target=world.process, args=(boundary,))
        zombie.start()
        assert asleep.wait(10), (number, name)
        ended = world.process(Boundary())
        before = dict(world.router.observe("m").weights)
        wake.set()
        zombie.join(10)
        world.wait()
        assert ended == ENDS[errors_percent], (number, name)
        assert world.broken() == [], (number, name)
        assert dict(world.router.observe("m").weights) == before, (number, name)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("decided", [False, True])
def test_a_watchdog_that_dies_at_any_call_is_followed_by_one_that_finishes(decided: bool, when: When) -> None:
    names = calls(0)
    last = max(number for number, name in enumerate(names) if name.endswith("set_weights"))
    for number in range(8):
        world = World()
        world.process(Boundary(at=last if decided else last - 4))
        world.clock.advance(BOUNDS.lease_seconds + 1)
        boundary = Boundary(at=number, when=when, after_call=lambda _, world=world: world.record())  # type: ignore[misc]
        with contextlib.suppress(Killed):
            return_expired(
                "m",
                router=faulty(world.router, boundary),
                store=faulty(world.store, boundary),
                clock=cast("Clock", world.clock),
            )
        world.wait()
        assert world.broken() == [], (number, boundary.calls)
        assert world.router.observe("m").weights == {CANDIDATE if decided else STABLE: 100}, (number, boundary.calls)


def test_processes_that_die_before_they_judge_keep_no_canary_alive() -> None:
    world = World()
    names = calls(0)
    first_look = names.index("MemoryRouter.set_weights") + 1
    world.process(Boundary(at=first_look))
    for _ in range(12):  # a minute, in which each takes the rollout up and dies
        world.pause(5.0)
        world.process(Boundary(at=1))
    world.wait()
    assert world.broken() == []
    assert world.router.observe("m").weights == {STABLE: 100}


@pytest.mark.parametrize(("errors_percent", "when"), [(0, "after"), (30, "before")])
def test_a_process_that_dies_between_any_two_files_is_followed_by_one_that_ends_well(
    errors_percent: int, when: When, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write to a route is three files; the lock of the dead is free."""
    at: Boundary = Boundary()

    def write_through(write: Any) -> Any:
        return lambda path, content: at.pass_through(path.name, write, path, content)

    for module, names in (
        (envoy_files, ("atomic_write_json", "atomic_write_text")),
        (file_store, ("atomic_write_json",)),
    ):
        for name in names:
            monkeypatch.setattr(module, name, write_through(getattr(module, name)))
    number = 0
    while number <= len(at.calls):
        at = Boundary()
        world = World(errors_percent, tmp_path / str(number))
        at = Boundary(at=number, when=when)
        assert world.tries(Boundary()) == ENDS[errors_percent], (number, at.calls)
        assert world.broken() == [], (number, at.calls)
        number += 1
    assert number > 10


FAULTS = st.tuples(
    st.integers(0, 40), st.sampled_from(["before", "after"]), st.sampled_from(["kill", "timeout", "conflict"])
)


@settings(max_examples=60, deadline=None)
@given(st.lists(FAULTS, min_size=2, max_size=5), st.sampled_from(sorted(ENDS)))
def test_any_faults_one_after_another_break_no_promise(faults: list[Any], errors_percent: int) -> None:
    world = World(errors_percent)
    ended = world.tries(*(Boundary(at=at, when=when, what=what) for at, when, what in faults))
    world.wait()
    assert world.broken() == []
    if errors_percent:
        assert ended != "promoted"
