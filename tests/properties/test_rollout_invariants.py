"""What no rollout may ever do, under any rules and whatever happens: traffic, trouble, crashes and people.

Exposure without a verdict is bounded (1), the route follows the stored state (3), which is stored first (4), no data is
no pass (6), an end is an end (7), giving back may be repeated (8), one model has all in the end (10), and foreign edits
are not fought (11). Invariants 2, 5 and 9 of the design need a cluster.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError, StaleWriteError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.metric import proven_by
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView, Tally
from airflow_mlops.rollout.spec import (
    CanaryStep,
    ErrorRateCheck,
    LabelCheck,
    LatencyCheck,
    PredictionCheck,
    RolloutSpec,
)
from airflow_mlops.rollout.state import RolloutState, approve, awaits_approval, begin, intended_weights
from airflow_mlops.rollout.step import step
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics, MemoryRolloutStore, MemoryRouter

STABLE, CANDIDATE = "m-v1", "m-v2"
LEASE_SECONDS = 25.0
STEPS = (
    CanaryStep(weight_percent=10, min_seconds=4, min_requests=40),
    CanaryStep(weight_percent=40, min_seconds=4, min_requests=40, approval=True, timeout_seconds=200),
    CanaryStep(weight_percent=80, min_seconds=4, min_requests=40),
)
HOLDBACK = (
    CanaryStep(weight_percent=10, min_seconds=4, min_requests=40),
    CanaryStep(weight_percent=95, min_seconds=40, min_requests=40, judge_labels=True, timeout_seconds=400),
)
SWITCH = (
    CanaryStep(weight_percent=0, min_seconds=4, min_requests=40, approval=True, timeout_seconds=200),
    CanaryStep(weight_percent=100, min_seconds=10, min_requests=40),
)


def rules(**changes: Any) -> RolloutSpec:
    values: dict[str, Any] = {
        "steps": STEPS,
        "error_rate": ErrorRateCheck(max_increase=0.1),
        "step_timeout_seconds": 60,
        "max_unknown_seconds": 20,
        **changes,
    }
    return RolloutSpec(**values)


SPECS = {
    "latency": rules(latency=LatencyCheck(slow_ms=250, max_increase=0.2)),
    "group-sequential": rules(max_samples=3000),
    "predictions": rules(predictions=PredictionCheck(edges=(0.5,), max_difference=0.2)),
    "users": rules(unit="users"),
    "holdback": rules(steps=HOLDBACK, labels=LabelCheck(age_seconds=20, max_increase=0.2, min_labels=30)),
    "blue-green": rules(steps=SWITCH, strategy="blue_green"),
}

# Trouble lasts until it is calm again; most looks are calm, or no rollout would get far.
ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            ["calm"] * 24
            + ["look", "look", "look twice", "crash before the write", "approve", "approve", "approve"]
            + ["metrics break", "proxy restarts", "one arm restarts", "an arm is missing", "wrong split"]
            + ["tallies stop", "foreign edit", "die", "abort"]
        ),
        st.sampled_from([0, 200, 1000, 1000, 1000]),
        st.sampled_from([0] * 16 + [3, 30]),
        st.sampled_from([2, 2, 5, 5, 5, 5, 15, 30]),
    ),
    min_size=25,
    max_size=80,
)


@dataclass
class WatchedRouter(MemoryRouter):
    """Refuses weights that nobody stored before (4: intent first)."""

    store: MemoryRolloutStore = field(default_factory=lambda: MemoryRolloutStore(ManualClock()))

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights, if the store says so."""
        lease = self.store.load(route)
        assert lease is not None
        if lease.state is not None:
            assert dict(weights) == intended_weights(lease.state)
            # 11: over a foreign edit traffic only goes back.
            assert lease.state.phase == "rolled_back" or not self.edits or expected_generation is not None
        return super().set_weights(route, weights, fencing_token=fencing_token, expected_generation=expected_generation)


@dataclass
class World:
    """A rollout in memory, somebody who drives it, people who approve, and a watchdog."""

    spec: RolloutSpec

    def __post_init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryRolloutStore(self.clock)
        self.router, self.metrics = WatchedRouter(store=self.store), MemoryMetrics()
        self.gateway = Gateway(router=self.router, store=self.store, metrics=self.metrics, clock=self.clock)
        self.token = self.store.acquire("m", "holder", lease_seconds=LEASE_SECONDS).token
        self.router.ensure_targets("m", {STABLE: 8201, CANDIDATE: 8202}, fencing_token=self.token)
        self.router.set_weights("m", {STABLE: 100}, fencing_token=self.token, expected_generation=None)
        self.state = begin(spec=self.spec, model_name="m", candidate=CANDIDATE, stable=STABLE, now=self.clock.now())
        self.store.save("m", self.state, token=self.token, renew=True)
        self.judged_at = self.clock.now()
        self.alive, self.crooked, self.tallies_stop = True, False, False
        self.approved: set[int] = set()
        for name in (STABLE, CANDIDATE):
            self.count(name, 0, 0)
        self.happenings: dict[str, Callable[[], object]] = {
            "calm": self.calm,
            "look": self.look,
            "look twice": self.look_twice,
            "crash before the write": lambda: self.look(crash=True),
            "die": self.die,
            "approve": self.approve,
            "abort": self.abort,
            "metrics break": lambda: setattr(self.metrics, "broken", "no route to host"),
            "proxy restarts": self.metrics.restart,
            "one arm restarts": lambda: self.metrics.counters.update({STABLE: ArmCounters(requests=0, errors=0)}),
            "an arm is missing": lambda: self.metrics.counters.pop(CANDIDATE, None),
            "wrong split": lambda: setattr(self, "crooked", True),
            "tallies stop": lambda: setattr(self, "tallies_stop", True),
            "foreign edit": lambda: self.router.edits.append("somebody edited it"),
        }

    @property
    def weight(self) -> int:
        """What the candidate gets."""
        return self.router.observe("m").weights.get(CANDIDATE, 0)

    def count(self, name: str, requests: int, errors: int) -> None:
        """Let a model answer, with tallies of all kinds."""
        grown = Tally(requests, errors)
        self.metrics.count(
            name,
            requests=requests,
            errors=errors,
            tallies={}
            if self.tallies_stop
            else {"labels": grown, "users": grown, "predictions_above_0.5": Tally(requests, requests // 2)},
        )

    def do(self, what: str, requests: int, errors_percent: int, seconds: int) -> None:
        """Let time pass, traffic come, and one thing happen."""
        self.clock.advance(seconds)
        share = 50 if self.crooked and 0 < self.weight < 100 else self.weight
        canary = requests * share // 100
        if CANDIDATE in self.metrics.counters:
            self.count(CANDIDATE, canary, canary * errors_percent // 100)
        self.count(STABLE, requests - canary, 0)
        self.happenings[what]()
        try:
            return_expired("m", router=self.router, store=self.store, clock=self.clock)
        except StaleWriteError:
            assert self.router.edits  # a promotion that was decided is not forced over another hand's change
        lease = self.store.load("m")
        assert lease is not None
        self.state = lease.state or lease.previous or self.state

    def calm(self) -> None:
        """End all trouble, except what died, and look."""
        self.metrics.broken = ""
        self.metrics.counters.setdefault(CANDIDATE, ArmCounters(requests=0, errors=0))
        self.router.edits.clear()
        self.crooked = self.tallies_stop = False
        self.look()

    def look_twice(self) -> None:
        """Look again at the same moment, as two processes might."""
        self.look()
        self.look()

    def die(self) -> None:
        """Nobody drives the rollout any more."""
        self.alive = False

    def look(self, *, crash: bool = False) -> None:
        """Drive the rollout by one look, if its process lives and holds the lease."""
        if not self.alive:
            return
        try:
            state, plan = self.gateway.look("m", token=self.token)
        except StaleWriteError:
            self.alive = False  # the watchdog was faster
            return
        if state.unknown_since is None:
            self.judged_at = self.clock.now()
        # 6: what is unknown for too long goes back.
        blind = 0.0 if state.unknown_since is None else self.clock.now() - state.unknown_since
        assert state.finished or blind < self.spec.max_unknown_seconds
        if plan.has_effects and not crash:
            try:
                self.gateway.apply(state, token=self.token)
            except StaleWriteError:
                assert self.router.edits

    def abort(self) -> None:
        """Somebody presses the other button."""
        if self.alive:
            try:
                self.gateway.abort("m", token=self.token, reason="asked for")
            except StaleWriteError:
                self.alive = False

    def approve(self) -> None:
        """Somebody presses the button, whether it is time or not."""
        lease = self.store.load("m")
        if lease is None or lease.state is None or not lease.holder:
            return
        try:
            state = approve(lease.state, by="ada", now=self.clock.now())
        except SpecificationError:
            return
        self.approved.add(state.step_index)
        self.store.save("m", state, token=lease.token, renew=False)


def passed(state: RolloutState) -> int:
    """How many steps lie behind a rollout."""
    return len(state.spec.steps) if state.phase == "promoted" else state.step_index


@settings(max_examples=250, deadline=None)
@given(st.sampled_from(sorted(SPECS)), ACTIONS)
def test_no_rollout_breaks_an_invariant(name: str, actions: list[tuple[str, int, int, int]]) -> None:
    spec = SPECS[name]
    world = World(spec)
    for action in actions:
        before, weight = world.state, world.weight
        world.do(*action)
        after = world.state
        # 1: exposed without a verdict for no longer than the lease, whoever died.
        if world.weight and after.phase != "promoted":
            assert world.clock.now() - world.judged_at < LEASE_SECONDS + 60
        # 3: the route says what some recorded decision says, never something in between.
        decided = [dict(entry.weights) for entry in after.history]
        assert dict(world.router.observe("m").weights) in [*decided, {STABLE: 100}]
        # 6: every step up is proven, by enough of everything that the step is judged by.
        if passed(after) > passed(before):
            assert passed(after) == passed(before) + 1
            assert_proven(before, after)
        # Nobody passes a step that waits for approval.
        wait = [number for number, rules in enumerate(spec.steps) if rules.approval and number < passed(after)]
        assert set(wait) <= world.approved
        # 7: an end is an end.
        if before.finished:
            assert after.phase == before.phase
        if before.phase == "rolled_back":
            assert world.weight <= weight
    assert_ends_well(world)


def assert_proven(before: RolloutState, after: RolloutState) -> None:
    rules = before.rules
    proofs = {check.name: check for check in after.checks if check.name.endswith(".proof")}
    assert {check.verdict.promotes for check in proofs.values()} == {True}
    if rules.weight_percent == 0:
        assert (proofs["before.proof"].sample_size or 0) >= rules.min_requests
        return
    for metric in proven_by(after.spec, rules):
        least = metric.min_trials or rules.min_requests
        check = proofs[f"{metric.name}.proof"]
        assert (check.sample_size or 0) >= least
        assert check.details["baseline_sample_size"] >= (least if rules.weight_percent < 100 else 40)
    assert after.history[-1].verdict.promotes


def assert_ends_well(world: World) -> None:
    """8 and 10: giving back is safe any number of times, needs no measurements, and leaves one model with all."""
    world.metrics.broken = "gone"
    world.router.edits.clear()
    for _ in range(3):
        world.gateway.give_back("m", token=world.token, reason="the end")
    lease = world.store.load("m")
    assert lease is not None
    assert not lease.holder
    state = lease.state or lease.previous
    assert state is not None
    assert state.finished
    if state.phase == "rolled_back" and dict(world.router.observe("m").weights) != {STABLE: 100}:
        # It crashed between its decision and the write; whoever acts next writes what is decided.
        world.router.set_weights("m", intended_weights(state), fencing_token=lease.token, expected_generation=None)
    assert len(world.router.observe("m").weights) == 1
    assert step(state, world.gateway.observe(state), world.clock.now())[1].action in ("finish", "promote")


@st.composite
def readings(draw: st.DrawFn) -> dict[str, ArmCounters]:
    """Counters of any kind: falling, missing, contradicting each other."""
    found = {}
    for name in draw(st.sampled_from([(STABLE, CANDIDATE), (STABLE, CANDIDATE), (STABLE,), (CANDIDATE,), ()])):
        requests, errors, slow = (draw(st.integers(0, 3000)), draw(st.integers(0, 90)), draw(st.integers(0, 90)))
        names = draw(st.sets(st.sampled_from(["labels", "users", "predictions_above_0.5"])))
        tallies = {key: Tally(draw(st.integers(0, 2000)), draw(st.integers(0, 300))) for key in names}
        life = draw(st.sampled_from(["", "", "a", "b"]))
        found[name] = ArmCounters(
            requests=requests, errors=errors, timed=requests, slow=slow, life=life, tallies=tallies
        )
    return found


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(SPECS)), st.lists(st.tuples(readings(), st.integers(0, 20), st.booleans()), max_size=25))
def test_any_readings_leave_a_state_that_survives_storing(
    name: str, script: list[tuple[dict[str, ArmCounters], int, bool]]
) -> None:
    state, now = begin(spec=SPECS[name], model_name="m", candidate=CANDIDATE, stable=STABLE, now=0.0), 0.0
    for counters, seconds, approved in script:
        now += seconds
        if approved and awaits_approval(state):
            state = approve(state, by="ada", now=now)
        before = state
        route = RouteView(route="m", weights=intended_weights(state))
        state, plan = step(state, Observation(route=route, counters=counters), now)
        assert plan.weights == intended_weights(state)
        assert sum(plan.weights.values()) == 100
        assert decode(RolloutState, encode(state)) == state
        assert state == before or state.sequence > before.sequence
