"""A person approves, aborts and looks; rollouts take each other's place."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest

from airflow_mlops.exceptions import LeaseHeldError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.by_hand import abort_by_hand, approve_by_hand, standing, take_over
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, awaits_approval, begin
from airflow_mlops.testing.rollout import ManualClock, MemoryRolloutStore, MemoryRouter, memory_gateway

SPEC = RolloutSpec(
    steps=(CanaryStep(weight_percent=20, approval=True), CanaryStep(weight_percent=50)), max_unknown_seconds=60
)


@dataclass
class World:
    gateway: Gateway
    router: MemoryRouter
    store: MemoryRolloutStore
    clock: ManualClock
    token: int

    @property
    def weights(self) -> dict[str, int]:
        return dict(self.router.observe("m").weights)

    def stored(self) -> RolloutState:
        lease = self.store.load("m")
        assert lease is not None
        assert lease.state is not None
        return lease.state

    def holder(self) -> str:
        lease = self.store.load("m")
        assert lease is not None
        return lease.holder

    def change(self, **fields: Any) -> RolloutState:
        state = self.stored()
        after = replace(state, sequence=state.sequence + 1, **fields)
        self.store.save("m", after, token=self.token, renew=True)
        return after


@pytest.fixture
def world() -> World:
    """A rollout at its first step, held by a task."""
    gateway, router, store, _, clock = memory_gateway()
    lease = store.acquire("m", "dag/run/canary/-1", lease_seconds=180)
    router.ensure_targets("m", {"m-v1": 8201, "m-v2": 8202, "m-v3": 8203}, fencing_token=lease.token)
    router.set_weights("m", {"m-v1": 100}, fencing_token=lease.token, expected_generation=None)
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=clock.now())
    store.save("m", state, token=lease.token, renew=True)
    gateway.apply(state, token=lease.token)
    return World(gateway, router, store, clock, lease.token)


class RacingStore(MemoryRolloutStore):
    """A store in which a look is recorded just before each of the first ``races`` writes of anybody else."""

    races = 0

    def save(self, route: str, state: RolloutState, *, token: int, renew: bool) -> None:
        if self.races:
            self.races -= 1
            before = self.entries[route].lease
            assert before.state is not None
            look = replace(before.state, sequence=before.state.sequence + 1)
            super().save(route, look, token=before.token, renew=True)
        super().save(route, state, token=token, renew=renew)


def racing(world: World, races: int) -> Gateway:
    store = RacingStore(world.clock, world.store.entries)
    store.races = races
    return replace(world.gateway, store=store)


class TestAbort:
    def test_traffic_goes_back_and_the_holder_keeps_the_lease(self, world: World) -> None:
        abort_by_hand(world.gateway, "m", reason="aborted by ada: odd answers", by="ada")
        assert world.weights == {"m-v1": 100}
        assert (world.stored().phase, world.stored().reason) == ("rolled_back", "aborted by ada: odd answers")
        assert world.holder() == "dag/run/canary/-1"
        # The holder's next look tells its task to end.
        _, plan = world.gateway.look("m", token=world.token)
        assert plan.action == "finish"
        assert "aborted by ada" in plan.reason

    def test_it_can_be_repeated(self, world: World) -> None:
        first = abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        world.router.set_weights("m", {"m-v1": 80, "m-v2": 20}, fencing_token=world.token, expected_generation=None)
        assert abort_by_hand(world.gateway, "m", reason="aborted by grace", by="grace") == first
        assert world.weights == {"m-v1": 100}

    def test_over_an_edit_by_another_hand(self, world: World) -> None:
        world.router.edits.append("rds.yaml was edited")
        abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        assert world.weights == {"m-v1": 100}

    @pytest.mark.parametrize("races", [1, 3])
    def test_a_look_in_between_changes_nothing(self, world: World, races: int) -> None:
        abort_by_hand(racing(world, races), "m", reason="aborted by ada", by="ada")
        assert (world.stored().phase, world.weights) == ("rolled_back", {"m-v1": 100})

    def test_after_too_many_it_says_so(self, world: World) -> None:
        with pytest.raises(TransientAdapterError, match="others keep changing the rollout; abort it again"):
            abort_by_hand(racing(world, 99), "m", reason="aborted by ada", by="ada")

    def test_where_the_holder_is_gone_nobody_holds_it_afterwards(self, world: World) -> None:
        world.clock.advance(181)
        abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        assert (world.stored().phase, world.weights, world.holder()) == ("rolled_back", {"m-v1": 100}, "")
        with pytest.raises(StaleWriteError, match="the lease was lost"):
            world.gateway.look("m", token=world.token)

    def test_what_is_over_cannot_be_aborted(self, world: World) -> None:
        world.change(phase="promoted")
        with pytest.raises(SpecificationError, match="a rollout under way; that of m-v2 is promoted: m-v2 starts"):
            abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        world.store.release("m", token=world.token)
        with pytest.raises(SpecificationError, match="that of m-v2 is promoted"):
            abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")

    def test_nor_what_never_was(self, world: World) -> None:
        with pytest.raises(SpecificationError, match="route: 'n' is not accepted; expected a route with a rollout: m"):
            abort_by_hand(world.gateway, "n", reason="aborted by ada", by="ada")

    def test_nor_what_only_begins(self, world: World) -> None:
        world.store.acquire("n", "dag/run/other/-1", lease_seconds=60)
        with pytest.raises(TransientAdapterError, match="'dag/run/other/-1' only begins; abort it again"):
            abort_by_hand(world.gateway, "n", reason="aborted by ada", by="ada")


class TestNothingComesAfterAnAbort:
    def test_a_process_that_still_has_the_state_before(self, world: World) -> None:
        """A worker records its decision for seconds before it moves the traffic."""
        state = world.stored()
        abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        with pytest.raises(StaleWriteError, match="the rollout went on meanwhile: aborted by ada"):
            world.gateway.apply(state, token=world.token)
        assert world.weights == {"m-v1": 100}

    def test_one_that_is_between_its_check_and_its_write(self, world: World) -> None:
        """At the first step the route says 100 % before and after an abort: no generation tells them apart."""
        state = world.stored()
        world.router.set_weights("m", {"m-v1": 100}, fencing_token=world.token, expected_generation=None)

        class Late(MemoryRouter):
            def set_weights(self, route: str, weights: Any, **more: Any) -> Any:
                if "m-v2" in weights:
                    abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
                return super().set_weights(route, weights, **more)

        late = Late(world.router.views, world.router.tokens, world.router.edits, world.router.writes)
        replace(world.gateway, router=late).apply(state, token=world.token)
        assert {"m-v1": 80, "m-v2": 20} in world.router.writes
        assert world.weights == {"m-v1": 100}


class TestApprove:
    @pytest.mark.parametrize("races", [0, 1, 3])
    def test_the_step_that_waits(self, world: World, races: int) -> None:
        world.change(proven="all is well")
        before = world.store.load("m")
        world.clock.advance(30)
        approve_by_hand(racing(world, races), "m", by="ada")
        assert world.stored().approved_by == "ada"
        assert not awaits_approval(world.stored())
        after = world.store.load("m")
        assert before is not None
        assert after is not None
        assert races or after.expires_at == before.expires_at  # the lease lives on looks

    def test_one_that_does_not_wait(self, world: World) -> None:
        with pytest.raises(SpecificationError, match="a rollout that waits for approval"):
            approve_by_hand(world.gateway, "m", by="ada")

    def test_one_that_is_over(self, world: World) -> None:
        abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        with pytest.raises(SpecificationError, match="that of m-v2 is rolled_back: aborted by ada"):
            approve_by_hand(world.gateway, "m", by="ada")

    def test_under_another_lease(self, world: World) -> None:
        world.change(proven="all is well")
        with pytest.raises(StaleWriteError, match="has passed on"):
            approve_by_hand(world.gateway, "m", by="ada", token=world.token - 1)


class TestTakeOver:
    def test_a_free_route(self, world: World) -> None:
        assert take_over(world.gateway, "n", holder="b", lease_seconds=60).holder == "b"

    def test_a_held_one_is_aborted_before(self, world: World) -> None:
        lease = take_over(world.gateway, "m", holder="b", lease_seconds=60)
        assert (lease.holder, lease.token > world.token, lease.state) == ("b", True, None)
        assert lease.previous is not None
        assert (lease.previous.phase, lease.previous.reason) == ("rolled_back", "superseded by b")
        assert world.weights == {"m-v1": 100}
        # The first one is no writer any more.
        with pytest.raises(StaleWriteError, match="the lease was lost to 'b'"):
            world.gateway.look("m", token=world.token)
        world.router.ensure_targets("m", {"m-v3": 8203}, fencing_token=lease.token)
        with pytest.raises(StaleWriteError):
            world.router.set_weights("m", {"m-v2": 100}, fencing_token=world.token, expected_generation=None)

    def test_a_look_in_between_changes_nothing(self, world: World) -> None:
        assert take_over(racing(world, 2), "m", holder="b", lease_seconds=60).holder == "b"
        assert world.weights == {"m-v1": 100}

    def test_one_that_was_superseded_does_not_strike_back(self, world: World) -> None:
        world.change(request="dag/run/canary/-1/3")
        take_over(world.gateway, "m", holder="b", lease_seconds=60, request="b/0")
        with pytest.raises(LeaseHeldError, match="held by 'b'"):
            take_over(world.gateway, "m", holder="dag/run/canary/-1", lease_seconds=60, request="dag/run/canary/-1/3")
        # A person who clears that task asks anew.
        again = take_over(
            world.gateway, "m", holder="dag/run/canary/-1", lease_seconds=60, request="dag/run/canary/-1/4"
        )
        assert again.holder == "dag/run/canary/-1"

    def test_its_own_is_taken_up(self, world: World) -> None:
        lease = take_over(world.gateway, "m", holder="dag/run/canary/-1", lease_seconds=60)
        assert (lease.token, lease.state) == (world.token, world.stored())
        assert world.weights == {"m-v1": 80, "m-v2": 20}


class TestStanding:
    def test_all_that_a_person_asks(self, world: World) -> None:
        world.clock.advance(60)
        found = standing(world.gateway, "m")
        assert (found.phase, found.candidate, found.stable, found.step, found.steps) == (
            *("progressing", "m-v2", "m-v1", 1, 2),
        )
        assert found.weights == found.intended == {"m-v1": 80, "m-v2": 20}
        assert (found.holder, found.seconds_left) == ("dag/run/canary/-1", 120)
        assert (found.awaits_approval, found.requests_missing, found.problem) == (False, None, "")
        assert found.reason == "m-v2 starts with 20 % beside m-v1"

    def test_what_the_next_look_needs(self, world: World) -> None:
        from airflow_mlops.verdict import CheckResult, Verdict

        check = CheckResult(
            name="error_rate.proof",
            verdict=Verdict.INCONCLUSIVE,
            reason="too little",
            details={"requests_missing": 250},
        )
        world.change(checks=(check,), proven="x")
        found = standing(world.gateway, "m")
        assert (found.requests_missing, found.verdict, found.awaits_approval) == (250, Verdict.INCONCLUSIVE, True)

    def test_a_route_that_somebody_else_edits(self, world: World) -> None:
        world.router.edits.append("rds.yaml was edited")
        assert standing(world.gateway, "m").problem == "rds.yaml was edited"

    def test_one_that_only_begins(self, world: World) -> None:
        world.store.acquire("n", "b", lease_seconds=60)
        assert (standing(world.gateway, "n").phase, standing(world.gateway, "n").holder) == ("starting", "b")

    def test_one_that_is_over(self, world: World) -> None:
        abort_by_hand(world.gateway, "m", reason="aborted by ada", by="ada")
        world.store.release("m", token=world.token)
        found = standing(world.gateway, "m")
        assert (found.phase, found.holder, found.seconds_left) == ("rolled_back", "", None)
        assert found.verdict is not None
        assert found.verdict.value == "error"

    def test_one_that_never_was(self, world: World) -> None:
        with pytest.raises(SpecificationError, match="expected a route with a rollout: m"):
            standing(world.gateway, "n")
