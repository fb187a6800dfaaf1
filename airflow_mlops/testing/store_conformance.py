# ruff: noqa: D102 - the names of the tests say what a store does
"""What every store of rollouts has to do, as tests to inherit; needs pytest.

A store of your own is tested by a subclass that says how to make one::

    class TestMyStore(RolloutStoreConformance):
        @pytest.fixture
        def store(self, clock: ManualClock) -> RolloutStore:
            return MyStore(..., clock=clock)
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.exceptions import LeaseHeldError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.ports import RolloutStore
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin
from airflow_mlops.testing.rollout import ManualClock

__all__ = ["RolloutStoreConformance", "rollout_state"]


def rollout_state() -> RolloutState:
    """Return the state of a rollout that has just begun."""
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
    return begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=5.0)


class RolloutStoreConformance:
    """Behaviours of :class:`airflow_mlops.rollout.ports.RolloutStore`."""

    @pytest.fixture
    def clock(self) -> ManualClock:
        """Return the clock that the store reads."""
        return ManualClock()

    @pytest.fixture
    def store(self, clock: ManualClock) -> RolloutStore:
        """Return an empty store."""
        raise NotImplementedError("a subclass says how to make its store")

    def test_nothing_is_stored_at_first(self, store: RolloutStore) -> None:
        assert store.load("m") is None

    def test_what_is_saved_is_loaded(self, store: RolloutStore) -> None:
        lease = store.acquire("m", "a", lease_seconds=60)
        store.save("m", rollout_state(), token=lease.token, renew=True)
        found = store.load("m")
        assert found is not None
        assert found.state == rollout_state()
        assert found.holder == "a"

    def test_a_second_holder_is_refused_and_told_the_first(self, store: RolloutStore) -> None:
        store.acquire("m", "dag/run/task/-1", lease_seconds=60)
        with pytest.raises(LeaseHeldError, match=r"route 'm'.*'dag/run/task/-1' is under way"):
            store.acquire("m", "other", lease_seconds=60)

    def test_the_same_holder_takes_its_rollout_up_again(self, store: RolloutStore) -> None:
        first = store.acquire("m", "a", lease_seconds=60)
        store.save("m", rollout_state(), token=first.token, renew=True)
        again = store.acquire("m", "a", lease_seconds=60)
        assert again.token == first.token
        assert again.state == rollout_state()

    def test_an_expired_lease_passes_on_with_what_was_left(self, store: RolloutStore, clock: ManualClock) -> None:
        first = store.acquire("m", "a", lease_seconds=60)
        store.save("m", rollout_state(), token=first.token, renew=True)
        clock.advance(61)
        second = store.acquire("m", "b", lease_seconds=60)
        assert second.token > first.token
        assert second.state is None
        assert second.previous == rollout_state()
        with pytest.raises(StaleWriteError, match="lost"):
            store.save("m", replace(rollout_state(), sequence=9), token=first.token, renew=True)

    def test_only_a_verdict_prolongs_the_lease(self, store: RolloutStore, clock: ManualClock) -> None:
        lease = store.acquire("m", "a", lease_seconds=60)
        clock.advance(50)
        store.save("m", rollout_state(), token=lease.token, renew=False)
        clock.advance(20)
        assert store.acquire("m", "b", lease_seconds=60).token > lease.token
        renewed = store.acquire("n", "a", lease_seconds=60)
        clock.advance(50)
        store.save("n", rollout_state(), token=renewed.token, renew=True)
        clock.advance(20)
        with pytest.raises(LeaseHeldError):
            store.acquire("n", "b", lease_seconds=60)

    def test_taking_a_rollout_up_again_prolongs_nothing(self, store: RolloutStore, clock: ManualClock) -> None:
        first = store.acquire("m", "a", lease_seconds=60)
        store.save("m", rollout_state(), token=first.token, renew=True)
        clock.advance(50)
        assert store.acquire("m", "a", lease_seconds=60).token == first.token
        clock.advance(20)
        assert store.acquire("m", "b", lease_seconds=60).token > first.token

    def test_a_released_lease_is_free_and_cannot_be_written(self, store: RolloutStore) -> None:
        lease = store.acquire("m", "a", lease_seconds=60)
        store.save("m", rollout_state(), token=lease.token, renew=True)
        store.release("m", token=lease.token)
        store.release("m", token=lease.token)
        with pytest.raises(StaleWriteError, match="lost"):
            store.save("m", replace(rollout_state(), sequence=9), token=lease.token, renew=True)
        fresh = store.acquire("m", "a", lease_seconds=60)
        assert fresh.state is None
        assert fresh.previous == rollout_state()
        with pytest.raises(StaleWriteError, match="passed on"):
            store.release("m", token=lease.token)

    def test_the_state_never_goes_back(self, store: RolloutStore) -> None:
        lease = store.acquire("m", "a", lease_seconds=60)
        newer = replace(rollout_state(), sequence=3, unknown_since=9.0)
        store.save("m", newer, token=lease.token, renew=True)
        store.save("m", newer, token=lease.token, renew=True)  # the answer was lost, so it is sent again
        for late in (replace(rollout_state(), sequence=2), replace(rollout_state(), sequence=3, unknown_since=8.0)):
            with pytest.raises(StaleWriteError, match="too late"):
                store.save("m", late, token=lease.token, renew=True)

    def test_routes_have_their_own_leases(self, store: RolloutStore) -> None:
        store.acquire("m", "a", lease_seconds=60)
        assert store.acquire("n", "b", lease_seconds=60).holder == "b"

    def test_a_holder_has_a_name(self, store: RolloutStore) -> None:
        with pytest.raises(SpecificationError, match="holder"):
            store.acquire("m", "", lease_seconds=60)

    def test_it_names_every_route_that_has_or_had_a_rollout(self, store: RolloutStore) -> None:
        assert list(store.routes()) == []
        store.acquire("z", "a", lease_seconds=60)
        lease = store.acquire("m", "a", lease_seconds=60)
        store.release("m", token=lease.token)
        assert list(store.routes()) == ["m", "z"]
