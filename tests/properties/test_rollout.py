"""Whatever happens to a rollout: traffic moves only on evidence, and never again after it went back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import StaleWriteError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import ArmCounters, Observation, RouteView
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics, MemoryRolloutStore, MemoryRouter, memory_gateway

STABLE, CANDIDATE = "m-v1", "m-v2"
SPEC = RolloutSpec(
    steps=(
        CanaryStep(weight_percent=10, min_seconds=4, min_requests=40),
        CanaryStep(weight_percent=40, min_seconds=4, min_requests=40),
    ),
    error_rate=ErrorRateCheck(max_increase=0.1),
    latency=LatencyCheck(slow_ms=250, max_increase=0.2),
    step_timeout_seconds=60,
    max_unknown_seconds=20,
)
SHARES = {0, 10, 40, 100}

# One thing that happens: (what, requests, errors of the candidate in percent, seconds)
ACTIONS = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["look", "look", "look and crash before the write", "look twice"]),
            st.integers(0, 400),
            st.sampled_from([0, 0, 0, 0, 3, 30]),
            st.sampled_from([1, 2, 5, 30]),
        ),
        st.tuples(
            st.sampled_from(["metrics break", "metrics mend", "proxy restarts", "foreign edit", "edit undone"]),
            st.just(0),
            st.just(0),
            st.sampled_from([1, 5]),
        ),
        st.tuples(st.just("abort"), st.just(0), st.just(0), st.just(1)),
    ),
    max_size=60,
)


@dataclass
class World:
    """A rollout under way in memory."""

    gateway: Gateway
    router: MemoryRouter
    store: MemoryRolloutStore
    metrics: MemoryMetrics
    clock: ManualClock
    token: int
    weights: list[int] = field(default_factory=list)

    @classmethod
    def fresh(cls) -> World:
        gateway, router, store, metrics, clock = memory_gateway()
        lease = store.acquire("m", "holder", lease_seconds=1e9)
        router.ensure_targets("m", {STABLE: 8201, CANDIDATE: 8202}, fencing_token=lease.token)
        router.set_weights("m", {STABLE: 100}, fencing_token=lease.token, expected_generation=None)
        state = begin(spec=SPEC, model_name="m", candidate=CANDIDATE, stable=STABLE, now=clock.now())
        store.save("m", state, token=lease.token, renew=True)
        for name in (STABLE, CANDIDATE):
            metrics.count(name, requests=0)
        return cls(gateway, router, store, metrics, clock, lease.token)

    @property
    def state(self) -> RolloutState:
        return self.gateway.held("m", token=self.token)

    @property
    def weight(self) -> int:
        return self.router.observe("m").weights.get(CANDIDATE, 0)

    def serve(self, requests: int, errors_percent: int) -> None:
        """Let the route's present split answer requests."""
        canary = requests * self.weight // 100
        self.metrics.count(CANDIDATE, requests=canary, errors=canary * errors_percent // 100)
        self.metrics.count(STABLE, requests=requests - canary)

    def look(self, *, crash: bool = False) -> None:
        _, plan = self.gateway.look("m", token=self.token)
        if plan.has_effects and not crash:
            self.apply()

    def apply(self) -> None:
        try:
            self.gateway.apply(self.state, token=self.token)
        except StaleWriteError:
            assert self.router.edits  # only a foreign edit keeps a holder from writing

    def do(self, what: str, requests: int, errors: int, seconds: int) -> None:
        self.clock.advance(seconds)
        self.serve(requests, errors)
        match what:
            case "look":
                self.look()
            case "look and crash before the write":
                self.look(crash=True)
            case "look twice":
                self.look()
                self.look()
            case "metrics break":
                self.metrics.broken = "no route to host"
            case "metrics mend":
                self.metrics.broken = ""
            case "proxy restarts":
                self.metrics.restart()
            case "foreign edit":
                self.router.edits[:] = ["rds.yaml was edited"]
            case "edit undone":
                self.router.edits.clear()
            case _:
                self.gateway.abort("m", token=self.token, reason="asked for")
        self.weights.append(self.weight)


@settings(max_examples=100, deadline=None)
@given(ACTIONS)
def test_traffic_follows_the_recorded_decisions(actions: list[tuple[str, int, int, int]]) -> None:
    world = World.fresh()
    for action in actions:
        before = world.state
        world.do(*action)
        after = world.state
        # The weight is always one that a step, the start or an end names: none is made up in between.
        assert world.weight in SHARES
        # It never runs ahead of what was decided and stored.
        decided = {entry.weights.get(CANDIDATE, 0) for entry in after.history}
        assert world.weight in decided | {0}
        # An end is an end.
        if before.finished:
            assert after.phase == before.phase
        # Every way up rests on a pass with enough requests on both sides.
        for entry in after.history[1:]:
            if entry.weights.get(CANDIDATE, 0) > 0:
                assert entry.verdict.promotes


@settings(max_examples=60, deadline=None)
@given(ACTIONS, ACTIONS)
def test_after_a_rollback_the_candidate_gets_nothing_for_ever(
    before: list[tuple[str, int, int, int]], after: list[tuple[str, int, int, int]]
) -> None:
    world = World.fresh()
    for action in before:
        world.do(*action)
    if world.state.phase == "promoted":
        return
    world.gateway.abort("m", token=world.token, reason="asked for")
    world.weights.clear()
    for action in after:
        world.do(*action)
    assert set(world.weights) <= {0}
    assert world.state.phase == "rolled_back"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([1, 5, 30, 100]), max_size=40), st.sampled_from(["metrics", "silence", "edit"]))
def test_no_data_never_promotes_and_ends_in_a_rollback(pauses: list[int], trouble: str) -> None:
    world = World.fresh()
    world.look()
    world.look()
    if trouble == "metrics":
        world.metrics.broken = "no route to host"
    if trouble == "edit":
        world.router.edits[:] = ["m.json was edited"]
    blind = 0
    for pause in pauses:
        world.clock.advance(pause)
        if trouble != "silence":
            world.serve(1000, 0)
        world.look()
        blind += pause
        assert world.state.phase != "promoted"
        assert world.state.step_index == 0
    if blind - (pauses[0] if pauses else 0) >= SPEC.max_unknown_seconds:
        assert world.state.phase == "rolled_back"
        assert world.weight == 0


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(50, 500), st.sampled_from(["", "crash", "twice", "restart"])), min_size=5, max_size=50
    )
)
def test_crashes_and_repetitions_do_not_change_where_a_good_candidate_ends(script: list[tuple[int, str]]) -> None:
    """A process that dies between storing and writing, or looks twice, costs time and nothing else."""
    disturbed = World.fresh()
    for requests, trouble in script:
        disturbed.do("look twice" if trouble == "twice" else "look", requests, 0, 2)
        if trouble == "crash":
            disturbed.do("look and crash before the write", requests, 0, 2)
        if trouble == "restart":
            disturbed.do("proxy restarts", 0, 0, 1)
    for _ in range(60):  # then all is calm
        disturbed.do("look", 400, 0, 2)
    assert disturbed.state.phase == "promoted"
    assert disturbed.weight == 100


@settings(max_examples=50, deadline=None)
@given(ACTIONS)
def test_a_candidate_that_fails_a_third_of_its_requests_is_never_promoted(
    actions: list[tuple[str, int, int, int]],
) -> None:
    world = World.fresh()
    for what, requests, _, seconds in actions:
        world.do(what, requests, 33, seconds)
    for _ in range(60):
        world.do("look", 400, 33, 2)
    assert world.state.phase == "rolled_back"
    assert 100 not in world.weights
    assert 40 not in world.weights


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    share = draw(st.sampled_from([0, 10, 40, 100]))
    weights = {name: weight for name, weight in ((STABLE, 100 - share), (CANDIDATE, share)) if weight}
    route = RouteView(
        route="m",
        generation=draw(st.integers(0, 9)),
        weights=weights,
        applied=draw(st.booleans()),
        foreign_edits=draw(st.sampled_from([(), (), ("edited",)])),
    )
    counters = {
        name: ArmCounters(requests=requests, errors=requests * percent // 100, timed=requests)
        for name, requests, percent in (
            (STABLE, draw(st.integers(0, 2000)), 0),
            (CANDIDATE, draw(st.integers(0, 500)), draw(st.sampled_from([0, 0, 50]))),
        )
    }
    return Observation(
        route=draw(st.sampled_from([route, route, None])), counters=draw(st.sampled_from([counters, counters, None]))
    )


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(observations(), st.integers(0, 20)), max_size=25))
def test_any_observations_leave_a_state_that_survives_storing(script: list[tuple[Observation, int]]) -> None:
    state, now = begin(spec=SPEC, model_name="m", candidate=CANDIDATE, stable=STABLE, now=0.0), 0.0
    for observation, seconds in script:
        now += seconds
        before = state
        state, plan = step(state, observation, now)
        assert plan.weights == intended_weights(state)
        assert decode(RolloutState, encode(state)) == state
        assert state == before or state.sequence > before.sequence
        # Looking again at the same world at the same time decides nothing new, unless it has to go on from a decision.
        again, _ = step(state, observation, now)
        assert intended_weights(again) == intended_weights(state)


def test_aborting_twice_is_aborting_once() -> None:
    state = begin(spec=SPEC, model_name="m", candidate=CANDIDATE, stable=STABLE, now=0.0)
    once = abort(state, 1.0, "asked for")
    assert abort(once, 2.0, "again") == once
    assert replace(once).reason == "asked for"
