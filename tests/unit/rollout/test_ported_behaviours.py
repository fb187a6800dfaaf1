"""What the tests of Argo Rollouts, Flagger, KServe and Kayenta demand of a canary, as behaviours of the transition.

Each test names the one it follows; all are written anew against this library. Where their answer is another one (an
inconclusive analysis pauses without end in Argo Rollouts), ours is tested.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import AdapterError, TransientAdapterError
from airflow_mlops.rollout.fixed_horizon import Points, add_points, is_complete, is_high
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.observation import ArmCounters, Counts, Observation, RouteView
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, LatencyCheck, MannWhitneyCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin, intended_weights, stable_target
from airflow_mlops.rollout.step import abort, step
from airflow_mlops.testing.rollout import ManualClock, MemoryMetrics, MemoryRouter, memory_gateway
from airflow_mlops.verdict import Verdict

OLD, NEW, NEXT = "m-v1", "m-v2", "m-v3"
STEPS = (
    CanaryStep(weight_percent=10, min_seconds=5, min_requests=100),
    CanaryStep(weight_percent=50, min_seconds=5, min_requests=100),
)


def rules(**changes: Any) -> RolloutSpec:
    values: dict[str, Any] = {
        "steps": STEPS,
        "error_rate": ErrorRateCheck(max_increase=0.05),
        "step_timeout_seconds": 100,
        "max_unknown_seconds": 30,
        **changes,
    }
    return RolloutSpec(**values)


def start(candidate: str = NEW, **changes: Any) -> RolloutState:
    return begin(spec=rules(**changes), model_name="m", candidate=candidate, stable=OLD, now=0.0)


def look(
    state: RolloutState, now: float, *, new: tuple[int, int, int] = (0, 0, 0), old: tuple[int, int, int] = (0, 0, 0)
) -> tuple[RolloutState, Plan]:
    """Requests, errors and slow ones of both arms since they began, over a route as the state wants it."""
    counters = {
        name: ArmCounters(requests=counted[0], errors=counted[1], timed=counted[0], slow=counted[2])
        for name, counted in ((state.candidate, new), (OLD, old))
    }
    route = RouteView(route="m", weights=intended_weights(state))
    return step(state, Observation(route=route, counters=counters), now)


def in_the_middle(**changes: Any) -> RolloutState:
    """A rollout at its second step."""
    state, _ = look(start(**changes), 1.0)
    state, _ = look(state, 10.0, new=(200, 0, 0), old=(1800, 0, 0))
    assert state.step_index == 1
    return state


class World:
    """A rollout behind a gateway in memory."""

    def __init__(self) -> None:
        self.gateway: Gateway
        self.router: MemoryRouter
        self.metrics: MemoryMetrics
        self.clock: ManualClock
        self.gateway, self.router, self.store, self.metrics, self.clock = memory_gateway()
        self.token = self.store.acquire("m", "dag/run/task", lease_seconds=600).token
        self.router.ensure_targets("m", {OLD: 8201, NEW: 8202, NEXT: 8203}, fencing_token=self.token)
        self.router.set_weights("m", {OLD: 100}, fencing_token=self.token, expected_generation=None)
        for name in (OLD, NEW, NEXT):
            self.metrics.count(name, requests=0)

    def begin(self, candidate: str) -> None:
        lease = self.store.load("m")
        assert lease is not None
        stable = stable_target(self.router.observe("m").weights, lease.previous, candidate)
        state = begin(spec=rules(), model_name="m", candidate=candidate, stable=stable, now=self.clock.now())
        self.store.save("m", state, token=self.token, renew=True)

    def again(self, holder: str) -> None:
        """Let somebody else take the route."""
        self.store.release("m", token=self.token)
        self.token = self.store.acquire("m", holder, lease_seconds=600).token

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.router.observe("m").weights)

    def run(self, looks: int, requests: int = 1000) -> RolloutState:
        for _ in range(looks):
            self.clock.advance(3)
            for name, weight in self.weights.items():
                self.metrics.count(name, requests=requests * weight // 100)
            state, plan = self.gateway.look("m", token=self.token)
            if plan.has_effects:
                self.gateway.apply(state, token=self.token)
        return self.gateway.held("m", token=self.token)


def test_an_inconclusive_background_analysis_never_promotes() -> None:
    """Argo: TestCanaryInconclusiveBackgroundAnalysis, which pauses without end."""
    state = in_the_middle(error_rate=ErrorRateCheck(max_increase=0.0499))
    state, _ = look(state, 11.0)
    for number in range(1, 60):
        # About as much worse as is tolerated: neither harm nor proof.
        state, plan = look(state, 11.0 + 2 * number, new=(40 * number, 4 * number, 0), old=(40 * number, 2 * number, 0))
        if state.finished:
            break
        assert (plan.action, plan.verdict) == ("hold", Verdict.INCONCLUSIVE)
        assert intended_weights(state) == {NEW: 50, OLD: 50}
    assert intended_weights(state) == {OLD: 100}


def test_one_of_several_inline_analyses_that_fails_is_enough() -> None:
    """Argo: TestCanaryFailInlineMultipleAnalysis."""
    state, _ = look(start(latency=LatencyCheck(slow_ms=250)), 1.0)
    state, plan = look(state, 3.0, new=(100, 0, 60), old=(900, 0, 9))
    assert plan.action == "roll_back"
    verdicts = {check.name: check.verdict for check in state.checks if check.name.endswith(".harm")}
    assert verdicts == {"error_rate.harm": Verdict.PASS, "latency.harm": Verdict.FAIL}


def test_abort_retry_promote() -> None:
    """Argo: TestRolloutAbortRetryPromote; Flagger: a failed canary is retried."""
    world = World()
    world.begin(NEW)
    world.run(3)
    world.gateway.abort("m", token=world.token, reason="asked for")
    assert world.weights == {OLD: 100}
    world.run(5)
    assert world.weights == {OLD: 100}  # nothing but a new rollout moves it again
    world.again("dag/run 2/task")
    world.begin(NEW)
    assert world.run(12).phase == "promoted"
    assert world.weights == {NEW: 100}


def test_an_abort_followed_by_another_version() -> None:
    """Argo: TestIstioAbortUpdate."""
    world = World()
    world.begin(NEW)
    world.run(3)
    world.gateway.abort("m", token=world.token, reason="asked for")
    world.again("dag/run 2/task")
    world.begin(NEXT)
    world.run(1)
    assert world.weights == {NEXT: 10, OLD: 90}
    world.run(12)
    assert world.weights == {NEXT: 100}


def test_an_abort_works_when_all_of_the_candidate_is_gone() -> None:
    """Argo: TestIstioAbortUpdateDeleteAllCanaryPods."""
    world = World()
    world.begin(NEW)
    world.run(3)
    del world.metrics.counters[NEW]
    world.metrics.broken = "no such cluster"
    world.gateway.abort("m", token=world.token, reason="its pods are gone")
    assert world.weights == {OLD: 100}


def test_an_update_in_the_middle_with_no_replicas_of_the_old_candidate() -> None:
    """Argo: TestIstioUpdateInMiddleZeroCanaryReplicas; Flagger: DeploymentNewRevisionReset."""
    world = World()
    world.begin(NEW)
    world.run(6)
    assert world.weights == {NEW: 50, OLD: 50}
    del world.metrics.counters[NEW]
    world.clock.advance(601)
    world.token = world.store.acquire("m", "dag/run 2/task", lease_seconds=600).token
    world.begin(NEXT)
    assert world.run(1).stable == OLD
    assert world.weights == {NEXT: 10, OLD: 90}  # in one write: the candidate before has nothing left


def test_the_step_index_begins_again_with_a_new_candidate() -> None:
    """Argo: TestResetCurrentStepIndexOnPodSpecChange, TestNewRolloutResetsWeightBeforeUpdatingHash."""
    before = in_the_middle()
    stable = stable_target(intended_weights(before), before, NEXT)
    state = begin(spec=rules(), model_name="m", candidate=NEXT, stable=stable, now=50.0)
    assert (state.stable, state.step_index, intended_weights(state)) == (OLD, 0, {NEXT: 10, OLD: 90})
    assert (state.harm, state.canary, state.proof_looks) == ({}, Counts(), 0)


def test_measurements_are_tried_again_until_the_deadline() -> None:
    """Argo: TestRolloutRetriesUntilDeadlineWhenError; Flagger's nginx and Prometheus outages."""
    state = in_the_middle()
    state, _ = look(state, 11.0, new=(200, 0, 0), old=(1800, 0, 0))
    route = RouteView(route="m", weights=intended_weights(state))
    broken = Observation(route=route, problem="connection refused")
    for now in (12.0, 20.0, 41.0):
        state, plan = step(state, broken, now)
        assert (plan.action, plan.verdict) == ("hold", Verdict.ERROR)
    recovered, plan = look(state, 41.5, new=(700, 0, 0), old=(2300, 0, 0))
    assert recovered.phase == "promoted"
    state, plan = step(state, broken, 42.0)
    assert (plan.action, plan.verdict) == ("roll_back", Verdict.ERROR)
    assert "connection refused" in plan.reason


def test_weights_do_not_rise_after_an_abort() -> None:
    """Argo: TestDynamicScalingDontIncreaseWeightWhenAborted."""
    state = abort(in_the_middle(), 11.0, "asked for")
    for number in range(1, 20):
        state, plan = look(state, 11.0 + number, new=(500 * number, 0, 0), old=(500 * number, 0, 0))
        assert dict(plan.weights) == {OLD: 100}


def test_the_end_is_verified_before_it_is_one() -> None:
    """Argo: TestReconcileTrafficRoutingVerifyWeightEndOfRollout."""
    state, _ = look(in_the_middle(), 11.0, new=(200, 0, 0), old=(1800, 0, 0))
    state, plan = look(state, 20.0, new=(700, 0, 0), old=(2300, 0, 0))
    assert plan.action == "promote"
    written = RouteView(route="m", generation=4, weights={NEW: 100}, applied=False)
    for _ in range(3):
        same, plan = step(state, Observation(route=written), 21.0)
        assert (same, plan.action) == (state, "promote")
    applied = RouteView(route="m", generation=4, weights={NEW: 100})
    assert step(state, Observation(route=applied), 22.0)[1].action == "finish"


def test_an_analysis_in_progress_is_resumed() -> None:
    """Argo: TestReconcileAnalysisRunResumeInProgress."""
    state, _ = look(start(), 1.0)
    state, _ = look(state, 4.0, new=(60, 1, 0), old=(540, 0, 0))
    resumed = decode(RolloutState, encode(state))
    assert look(resumed, 9.0, new=(400, 1, 0), old=(3600, 0, 0)) == look(state, 9.0, new=(400, 1, 0), old=(3600, 0, 0))
    assert look(resumed, 9.0, new=(400, 1, 0), old=(3600, 0, 0))[0].step_index == 1


def test_two_processes_that_record_the_same_look_count_it_once() -> None:
    """Argo: TestCreateAnalysisRunWithCollision."""
    world = World()
    world.begin(NEW)
    world.run(2)
    stale = world.gateway.held("m", token=world.token)
    world.run(1)
    stored = world.gateway.held("m", token=world.token)
    first, held = iter([stale, stored]), world.store.load

    class Late:
        """Reads what was stored before the other process, writes after it."""

        def load(self, route: str) -> Any:
            lease = held(route)
            assert lease is not None
            return replace(lease, state=next(first))

        def save(self, *arguments: Any, **named: Any) -> None:
            world.store.save(*arguments, **named)

    late = Gateway(router=world.router, store=Late(), metrics=world.metrics, clock=world.clock)  # type: ignore[arg-type]
    state, plan = late.look("m", token=world.token)
    assert state == stored
    assert plan.action == "hold"
    assert world.gateway.held("m", token=world.token).canary == stored.canary


def test_a_promotion_that_fails_after_the_shift_leaves_traffic_where_it_is() -> None:
    """Flagger: PromotionFailedAfterTrafficShift."""
    world = World()
    world.begin(NEW)
    world.run(6)
    write = world.router.set_weights

    def fails(*_: Any, **__: Any) -> RouteView:
        raise TransientAdapterError("the API server is down")

    world.router.set_weights = fails  # type: ignore[method-assign]
    for _ in range(4):
        with pytest.raises(AdapterError, match="the API server is down"):
            world.run(2)
    assert world.weights == {NEW: 50, OLD: 50}
    assert world.gateway.held("m", token=world.token).phase == "promoted"
    world.router.set_weights = write  # type: ignore[method-assign]
    world.run(1)
    assert world.weights == {NEW: 100}


@pytest.mark.parametrize("weight", [1, 33, 50, 99])
def test_weights_do_not_overflow(weight: int) -> None:
    """Flagger: PromotionWithWeightsOverflow."""
    state, _ = look(start(steps=(CanaryStep(weight_percent=weight, min_seconds=0, min_requests=10),)), 1.0)
    seen = {sum(intended_weights(state).values())}
    state, _ = look(state, 9.0, new=(100 * weight, 0, 0), old=(100 * (100 - weight), 0, 0))
    assert state.phase == "promoted"
    assert seen | {sum(intended_weights(state).values())} == {100}


def test_a_route_that_cannot_be_read_is_no_unchanged_route() -> None:
    """Flagger: TestConfigTracker_HasConfigChanged_ShouldReturnErrorWhenAPIServerIsDown."""
    _, plan = step(in_the_middle(), Observation(problem="the API server is down"), 12.0)
    assert (plan.action, plan.verdict) == ("hold", Verdict.ERROR)
    assert plan.reason == "the route cannot be read: the API server is down"


def test_a_change_is_taken_back_in_the_middle() -> None:
    """Flagger: the canary's change is reverted during the analysis; KServe: test_canary_rollback, force_stop."""
    world = World()
    world.begin(NEW)
    world.run(6)
    assert world.gateway.give_back("m", token=world.token, reason="the task was stopped")
    assert world.weights == {OLD: 100}
    assert not world.gateway.give_back("m", token=world.token, reason="again")


def test_create_and_promote() -> None:
    """KServe: test_canary_create, test_canary_promote."""
    world = World()
    world.begin(NEW)
    world.run(1)
    assert world.weights == {NEW: 10, OLD: 90}
    world.run(12)
    assert world.weights == {NEW: 100}


RANKS = MannWhitneyCheck(looks=10)


def test_looks_without_data_make_no_pair() -> None:
    """Kayenta: ClassifierSuite, missing data; half of them missing is no pass either."""
    spec = rules(fixed_horizon=RANKS)
    points: dict[str, Points] = {}
    for number in range(30):
        canary = Counts(requests=10 * (number % 3 > 0))
        points = dict(add_points(spec, points, canary, Counts(requests=10)))
        assert is_complete(spec, points) == (len(points.get("error_rate", ())) == 10)
        if number == 12:
            assert not is_complete(spec, points)
    assert len(points["error_rate"]) == 10


def test_ties_are_no_difference() -> None:
    """Kayenta: ClassifierSuite, equal data and ties."""
    assert not is_high(RANKS, ((0.01, 0.01),) * 10)
    assert not is_high(RANKS, ((0.02, 0.01), (0.01, 0.02)) * 5)
    assert is_high(RANKS, ((0.02, 0.01),) * 10)


def test_a_mean_of_zero_divides_nothing() -> None:
    """Kayenta: ClassifierSuite, zero mean."""
    assert not is_high(RANKS, ((0.0, 0.0),) * 10)
    assert is_high(RANKS, ((0.01, 0.0),) * 10)
    assert not is_high(RANKS, ((0.0, 0.01),) * 10)
