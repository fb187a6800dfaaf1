"""A simulated machine in which anything may happen, driven by the supervisor's real decisions."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.local import plan
from airflow_mlops.local.plan import Observed, Wanted, decide

NAMES = ("database", "scheduler", "mlflow")
EVENTS = ("nothing", "exit-0", "exit-1", "sigkill", "healthy", "unhealthy", "want", "unwant", "change")


@dataclass
class Machine:
    """Processes of a simulated machine; every process starts at once and ends only by an event or a signal."""

    now: float = 1000.0
    desired: dict[str, Wanted] = field(default_factory=dict)
    observed: dict[str, Observed] = field(default_factory=dict)
    running: dict[str, int] = field(default_factory=dict)
    starts: list[tuple[str, float]] = field(default_factory=list)
    obedient: bool = True
    _pids: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def want(self, name: str, revision: str = "r1") -> None:
        after = ("database",) if name == "scheduler" else ()
        self.desired[name] = Wanted(name=name, revision=revision, after=after, once=name == "database")

    def end(self, name: str, code: int) -> None:
        if self.running.pop(name, None) is not None:
            once = name == "database"
            self.observed[name] = plan.exited(self.observed[name], code=code, once=once, now=self.now)

    def event(self, name: str, what: str) -> None:
        codes = {"exit-0": 0, "exit-1": 1, "sigkill": -9}
        if what in codes:
            self.end(name, codes[what])
        elif what in ("healthy", "unhealthy") and name in self.running:
            self.observed[name] = plan.probed(self.observed[name], healthy=what == "healthy", now=self.now)
        elif what == "want":
            self.want(name)
        elif what == "unwant":
            self.desired.pop(name, None)
        elif what == "change" and name in self.desired:
            self.want(name, f"r{self.now}")

    def look(self) -> None:
        actions = decide(self.desired, self.observed, self.now)
        assert len({action.name for action in actions}) == len(actions)
        for action in actions:
            name = action.name
            seen = self.observed.get(name, Observed(name=name))
            if action.kind == "start":
                assert name in self.desired, "only what is wanted is started"
                assert name not in self.running, "no second process beside a first"
                pid = next(self._pids)
                self.running[name] = pid
                self.starts.append((name, self.now))
                self.observed[name] = plan.started(seen, pid=pid, revision=self.desired[name].revision, now=self.now)
            elif action.kind == "terminate":
                assert name in self.running
                self.observed[name] = plan.asked_to_stop(seen, reason=action.reason, now=self.now)
                if self.obedient:
                    self.end(name, 0)
            elif action.kind == "kill":
                assert name in self.running
                self.end(name, -9)
            else:
                assert name not in self.running, "a process is never forgotten while it runs"
                del self.observed[name]


steps = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(EVENTS), st.floats(min_value=0.05, max_value=40)), max_size=40
)


def play(machine: Machine, events: list[tuple[str, str, float]]) -> None:
    for name, what, seconds in events:
        machine.event(name, what)
        machine.look()
        machine.now += seconds


@given(events=steps, obedient=st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_happens_the_wanted_runs_in_the_end_and_nothing_else(
    events: list[tuple[str, str, float]], obedient: bool
) -> None:
    machine = Machine(obedient=obedient)
    for name in NAMES:
        machine.want(name)
    play(machine, events)
    # From now on nothing goes wrong any more.
    for _ in range(120):
        machine.look()
        machine.event("database", "exit-0")
        for name in ("scheduler", "mlflow"):
            machine.event(name, "healthy")
        machine.now += 0.5
    assert set(machine.running) - {"database"} == set(machine.desired) - {"database"}
    for name in machine.running:
        assert machine.observed[name].revision == machine.desired[name].revision


@given(events=steps, obedient=st.booleans())
@settings(max_examples=100, deadline=None)
def test_whatever_happened_everything_stops_when_nothing_is_wanted(
    events: list[tuple[str, str, float]], obedient: bool
) -> None:
    machine = Machine(obedient=obedient)
    for name in NAMES:
        machine.want(name)
    play(machine, events)
    machine.desired.clear()
    for _ in range(60):
        machine.look()
        machine.now += 0.5
    assert not machine.running
    assert not machine.observed


@given(crashes=st.integers(min_value=1, max_value=25))
@settings(max_examples=20, deadline=None)
def test_a_service_that_crashes_at_once_is_started_at_most_every_ten_seconds_and_at_least(crashes: int) -> None:
    machine = Machine()
    machine.want("mlflow")
    while len(machine.starts) < crashes + 1:
        machine.look()
        machine.event("mlflow", "exit-1")
        machine.now += 0.1
    gaps = [later - earlier for (_, earlier), (_, later) in itertools.pairwise(machine.starts)]
    assert all(0.49 <= gap <= 10.2 for gap in gaps)
    assert machine.observed["mlflow"].restarts == crashes


@given(events=steps)
@settings(deadline=None)
def test_deciding_twice_gives_the_same(events: list[tuple[str, str, float]]) -> None:
    machine = Machine()
    play(machine, events)
    assert decide(machine.desired, machine.observed, machine.now) == decide(
        machine.desired, machine.observed, machine.now
    )
