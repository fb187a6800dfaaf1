"""A shadow's transitions, and its shell over a gateway in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import LeaseHeldError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.by_hand import standing, take_over
from airflow_mlops.rollout.mirroring import Shadowing, abort_shadow
from airflow_mlops.rollout.observation import ArmCounters, RouteView
from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.pairing import Answer, Arm, Pairing
from airflow_mlops.rollout.routing import Mirror, Sticky
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus
from airflow_mlops.rollout.shadow import ShadowObservation, ShadowState, end, intended_mirror, step
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.state import begin, intended_weights
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import MemoryMetrics, memory_gateway
from airflow_mlops.verdict import Verdict

SPEC = ShadowSpec(min_pairs=300, min_seconds=10, max_unknown_seconds=20, timeout_seconds=600)
STATE = ShadowState(model_name="m", candidate="m-v2", stable="m-v1", spec=SPEC, token=1, started_at=0.0)
ROUTE = RouteView(route="m", weights={"m-v1": 100}, targets={"m-v1": 1, "m-v2": 2}, mirror=Mirror(target="m-v2"))


def seen(requests: int, *, errors: int = 0, stable_errors: int = 0, pairs: int | None = None, **change: Any) -> Any:
    counters = {
        "m-v1": ArmCounters(requests=requests, errors=stable_errors),
        "m-v2": ArmCounters(requests=requests, errors=errors),
    }
    found = PairCounts(pairs=requests - errors if pairs is None else pairs)
    return replace(ShadowObservation(route=ROUTE, counters=counters, pairs=found), **change)


def run(*observations: ShadowObservation, state: ShadowState = STATE, every: float = 5.0) -> ShadowState:
    for number, observation in enumerate(observations):
        state, _ = step(state, observation, number * every)
        assert decode(ShadowState, encode(state)) == state
    return state


def test_an_equal_candidate_passes_when_there_are_pairs_enough() -> None:
    looks = [seen(number * 100) for number in range(8)]
    assert run(*looks[:3]).phase == "mirroring"
    state = run(*looks)
    assert (state.phase, state.verdict) == ("passed", Verdict.PASS)
    assert state.pairs.pairs >= 300
    assert [check.name for check in state.checks] == ["errors.harm", "answers.differing"]
    assert all(check.sample_size for check in state.checks)
    assert intended_mirror(state) is None


def test_failing_copies_fail_without_a_single_pair() -> None:
    state = run(seen(0), seen(50, errors=50), seen(100, errors=100))
    assert state.phase == "failed"
    assert "copies failed at m-v2" in state.reason


def test_answers_that_differ_fail() -> None:
    found = PairCounts(pairs=300, differing=120)
    state = run(seen(0), replace(seen(300), pairs=found))
    assert state.phase == "failed"
    assert "120 of 300 pairs differ by more than 0.05" in state.reason


@pytest.mark.parametrize(
    ("observation", "why"),
    [
        (seen(0), "no new pairs of answers"),
        (ShadowObservation(problem="the disk is gone"), "the disk is gone"),
        (seen(500, counters={}), "no measurements of m-v2 and m-v1"),
        (seen(500, route=replace(ROUTE, foreign_edits=("rds.yaml was edited",))), "rds.yaml was edited"),
        (seen(500, route=replace(ROUTE, mirror=None)), "does not copy the requests yet"),
    ],
)
def test_without_news_it_ends_undecided_and_never_passes(observation: ShadowObservation, why: str) -> None:
    state = run(*([seen(0)] + [observation] * 5))
    assert (state.phase, state.verdict) == ("inconclusive", Verdict.INCONCLUSIVE)
    assert "nothing new was known about m-v2 for 20 s" in state.reason
    assert why in state.reason


def test_what_is_not_decided_in_time_stays_undecided() -> None:
    spec = replace(SPEC, timeout_seconds=60, min_pairs=100_000)
    state = run(*[seen(number * 100) for number in range(20)], state=replace(STATE, spec=spec))
    assert state.phase == "inconclusive"
    assert "not decided in 60 s" in state.reason


def test_a_route_that_lost_its_mirror_gets_it_again() -> None:
    state, plan = step(STATE, seen(10, route=replace(ROUTE, mirror=None)), 1.0)
    assert plan.action == "set_mirror"
    assert intended_mirror(state) == Mirror(target="m-v2", percent=100)


def test_live_traffic_at_the_candidate_ends_it() -> None:
    state, plan = step(STATE, seen(10, route=replace(ROUTE, weights={"m-v1": 90, "m-v2": 10})), 1.0)
    assert (plan.action, state.phase) == ("finish", "inconclusive")
    assert "m-v2 got 10 % of the requests from elsewhere" in state.reason


def test_an_end_is_final() -> None:
    ended = end(STATE, "somebody pulled the plug")
    assert end(ended, "again") == ended
    assert step(ended, seen(10**6), 5.0)[0] == ended


@pytest.mark.parametrize("percent", [0, 101])
def test_shares_that_are_none_are_refused(percent: int) -> None:
    with pytest.raises(SpecificationError, match="percent"):
        ShadowSpec(percent=percent)
    with pytest.raises(SpecificationError, match="percent"):
        Mirror(target="m-v2", percent=percent)


@pytest.mark.parametrize("given", [{}, {"header": "a", "cookie": "b"}, {"header": "two words"}, {"cookie": ""}])
def test_sticky_names_one_key(given: dict[str, str]) -> None:
    with pytest.raises(SpecificationError, match="sticky"):
        Sticky(**given)


class Fleet:
    """Model servers of which only the second is known."""

    def status(self, name: str) -> ServerStatus | None:
        return ServerStatus(name=name, phase="ready", port=2) if name == "m-v2" else None

    def spec(self, name: str) -> ServerSpec | None:
        return None


@dataclass
class Log:
    """A log in which both models answer as many requests as it is told."""

    counts: int = 0
    given: int = 0

    def answers(self) -> Iterable[tuple[Arm, Answer]]:
        for number in range(self.given, self.counts):
            for arm in ("stable", "candidate"):
                yield arm, Answer(id=str(number), time=1.0, prediction=0.5)
        self.given = self.counts

    def labels(self) -> Mapping[str, int]:
        return {}


@pytest.fixture
def shadowing() -> Shadowing:
    gateway, *_ = memory_gateway()
    gateway.router.ensure_targets("m", {"m-v1": 1}, fencing_token=0)
    gateway.router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=None)
    return Shadowing(gateway=gateway, route="m", holder="dag/run/shadow/-1")


def began(shadowing: Shadowing) -> ShadowState:
    state = shadowing.begin(Fleet(), shadowing.acquire(SPEC), candidate="m-v2", spec=SPEC)  # type: ignore[arg-type]
    shadowing.apply(state)
    return state


def test_it_copies_looks_and_leaves_nothing_behind(shadowing: Shadowing) -> None:
    state = began(shadowing)
    router, clock, metrics = shadowing.gateway.router, shadowing.gateway.clock, shadowing.gateway.metrics
    assert isinstance(metrics, MemoryMetrics)
    assert router.observe("m").mirror == Mirror(target="m-v2", percent=100)
    assert dict(router.observe("m").weights) == {"m-v1": 100}
    pairing, log = Pairing(SPEC), Log()
    while not state.finished:
        metrics.counters = {name: ArmCounters(requests=log.counts, errors=0) for name in ("m-v1", "m-v2")}
        state, _ = shadowing.look(state, pairing, log)
        log.counts += 100
        clock.advance(5)  # type: ignore[attr-defined]
    assert state.phase == "passed"
    shadowing.apply(state)
    assert router.observe("m").mirror is None
    assert dict(router.observe("m").weights) == {"m-v1": 100}


def test_a_canary_and_a_shadow_exclude_each_other(shadowing: Shadowing) -> None:
    store = shadowing.gateway.store
    token = store.acquire("m", "dag/run/canary/-1", lease_seconds=60).token
    with pytest.raises(LeaseHeldError, match="dag/run/canary"):
        shadowing.acquire(SPEC)
    store.release("m", token=token)
    began(shadowing)
    with pytest.raises(LeaseHeldError, match="dag/run/shadow"):
        store.acquire("m", "dag/run/canary/-1", lease_seconds=60)


def test_a_canary_that_supersedes_a_shadow_ends_its_copies(shadowing: Shadowing) -> None:
    state, gateway = began(shadowing), shadowing.gateway
    lease = take_over(gateway, "m", holder="dag/run/canary/-1", lease_seconds=60)
    assert lease.token == state.token + 1
    assert gateway.router.observe("m").mirror is None
    with pytest.raises(StaleWriteError, match="the lease was lost to 'dag/run/canary/-1'"):
        shadowing.look(state, Pairing(SPEC), Log())
    assert not shadowing.give_back(state.token)


def test_only_news_prolong_the_lease_and_the_watchdog_ends_the_copies(shadowing: Shadowing) -> None:
    state, gateway = began(shadowing), shadowing.gateway
    pairing, log = Pairing(SPEC), Log()
    counters = {name: ArmCounters(requests=0, errors=0) for name in ("m-v1", "m-v2")}
    gateway.metrics.counters = counters  # type: ignore[attr-defined]
    lease = gateway.store.load("m")
    assert lease is not None
    gateway.clock.advance(10)  # type: ignore[attr-defined]
    state, _ = shadowing.look(state, pairing, log)
    assert gateway.store.load("m") == lease
    assert return_expired("m", router=gateway.router, store=gateway.store, clock=gateway.clock) is None
    gateway.clock.advance(200)  # type: ignore[attr-defined]
    said = return_expired("m", router=gateway.router, store=gateway.store, clock=gateway.clock)
    assert said == ("the requests of m are copied no more: dag/run/shadow/-1 recorded nothing until its lease ended")
    view = gateway.router.observe("m")
    assert (view.mirror, dict(view.weights)) == (None, {"m-v1": 100})
    with pytest.raises(StaleWriteError, match="copies no more requests"):
        shadowing.look(state, pairing, log)


def test_who_asks_where_the_rollout_is_hears_of_the_shadow(shadowing: Shadowing) -> None:
    began(shadowing)
    found = standing(shadowing.gateway, "m")
    assert (found.phase, found.candidate, found.holder) == ("shadow", "m-v2", "dag/run/shadow/-1")
    assert found.reason == "100 % of the requests are copied to m-v2, whose answers reach nobody"


def test_a_shadow_is_aborted_from_outside_of_its_task(shadowing: Shadowing) -> None:
    state, gateway = began(shadowing), shadowing.gateway
    assert abort_shadow(gateway, "m") == "m-v2"
    assert abort_shadow(gateway, "m") is None
    assert gateway.router.observe("m").mirror is None
    with pytest.raises(StaleWriteError, match="copies no more requests"):
        shadowing.look(state, Pairing(SPEC), Log())


def test_weights_end_a_mirror(shadowing: Shadowing) -> None:
    state = began(shadowing)
    router = shadowing.gateway.router
    router.set_weights("m", {"m-v1": 100}, fencing_token=state.token, expected_generation=None)
    assert router.observe("m").mirror is None


def test_giving_back_twice_or_too_late_harms_nobody(shadowing: Shadowing) -> None:
    state = began(shadowing)
    assert shadowing.give_back(state.token)
    assert not shadowing.give_back(state.token)
    other = shadowing.gateway.store.acquire("m", "other", lease_seconds=60)
    assert not shadowing.give_back(other.token)


def test_a_rollout_that_was_left_half_way_is_ended_first(shadowing: Shadowing) -> None:
    gateway = shadowing.gateway
    lease = gateway.store.acquire("m", "dead/canary", lease_seconds=30)
    spec = RolloutSpec(
        steps=(CanaryStep(weight_percent=20, min_seconds=1, min_requests=10),),
        error_rate=ErrorRateCheck(max_increase=0.01),
    )
    left = begin(spec=spec, model_name="m", candidate="m-v3", stable="m-v1", now=1.0)
    gateway.store.save("m", left, token=lease.token, renew=True)
    gateway.router.ensure_targets("m", {"m-v3": 3}, fencing_token=lease.token)
    gateway.router.set_weights("m", intended_weights(left), fencing_token=lease.token, expected_generation=None)
    gateway.clock.advance(100)  # type: ignore[attr-defined]
    state = began(shadowing)
    assert state.stable == "m-v1"
    assert dict(gateway.router.observe("m").weights) == {"m-v1": 100}
    stored = gateway.store.load("m")
    assert stored is not None
    assert stored.state is not None
    assert stored.state.phase == "rolled_back"


def test_there_has_to_be_something_to_compare_with(shadowing: Shadowing) -> None:
    router = shadowing.gateway.router
    router.ensure_targets("m", {"m-v2": 2}, fencing_token=0)
    router.set_weights("m", {"m-v2": 100}, fencing_token=0, expected_generation=None)
    with pytest.raises(SpecificationError, match="a target without traffic; it has 100 %"):
        began(shadowing)
