# ruff: noqa: D102 - the names of the tests say what a router does
"""What every router has to do, as tests to inherit; needs pytest.

A router of your own is tested by a subclass that says how to make one::

    class TestMyRouter(RouterConformance):
        @pytest.fixture
        def router(self) -> Router:
            return MyRouter(...)

The routes ``m`` and ``other`` must exist where routes are made by somebody else, and have no backends. A router that
cannot do a behaviour by its nature overrides that test and says there what it does instead.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.ports import Router

__all__ = ["RouterConformance"]


class RouterConformance:
    """Behaviours of :class:`airflow_mlops.rollout.ports.Router`."""

    @pytest.fixture
    def router(self) -> Router:
        """Return the router under test, with the empty routes ``m`` and ``other``."""
        raise NotImplementedError("a subclass says how to make its router")

    @pytest.fixture
    def route(self) -> str:
        """Name of the route."""
        return "m"

    @pytest.fixture
    def other_route(self) -> str:
        """Name of a second route."""
        return "other"

    @pytest.fixture
    def targets(self) -> Mapping[str, int]:
        """Three targets, name to port; the first is the stable one, the third is used last."""
        return {"m-v1": 8201, "m-v2": 8202, "m-v3": 8203}

    @pytest.fixture
    def another_hand(self) -> Callable[[str], None] | None:
        """How to change a route's weights without the router, for example in an editor; None if there is no way."""
        return None

    @pytest.fixture
    def names(self, targets: Mapping[str, int]) -> tuple[str, str, str]:
        """Names of the three targets."""
        stable, candidate, third = targets
        return stable, candidate, third

    @pytest.fixture
    def both(self, targets: Mapping[str, int], names: tuple[str, str, str]) -> Mapping[str, int]:
        """Return the first two targets."""
        return {name: targets[name] for name in names[:2]}

    def test_a_route_that_nobody_wrote_is_empty(self, router: Router, route: str) -> None:
        view = router.observe(route)
        assert (view.generation, dict(view.weights), dict(view.targets), view.foreign_edits) == (0, {}, {}, ())

    def test_targets_are_added_without_traffic_and_stay(
        self, router: Router, route: str, both: Mapping[str, int]
    ) -> None:
        for name, port in both.items():
            view = router.ensure_targets(route, {name: port}, fencing_token=1)
        assert dict(view.targets) == both
        assert dict(view.weights) == {}

    def test_weights_are_absolute(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, candidate, _ = names
        view = router.ensure_targets(route, both, fencing_token=1)
        for share in (10, 50):
            view = router.set_weights(
                route, {stable: 100 - share, candidate: share}, fencing_token=1, expected_generation=view.generation
            )
        seen = router.observe(route)
        assert dict(seen.weights) == {stable: 50, candidate: 50}
        assert seen.generation == 3
        assert seen.foreign_edits == ()

    def test_verify_has_an_answer(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        """Which one depends on the proxy; files are in effect at once, an object waits for its controller."""
        router.ensure_targets(route, both, fencing_token=1)
        router.set_weights(route, {names[0]: 90, names[1]: 10}, fencing_token=1, expected_generation=1)
        assert router.verify(route) in {"ok", "pending", "unsupported"}

    def test_a_weight_of_zero_is_no_weight(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets(route, both, fencing_token=1)
        view = router.set_weights(route, {names[0]: 100, names[1]: 0}, fencing_token=1, expected_generation=1)
        assert dict(view.weights) == {names[0]: 100}

    def test_the_same_weights_again_change_nothing(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets(route, both, fencing_token=1)
        weights = {names[0]: 90, names[1]: 10}
        first = router.set_weights(route, weights, fencing_token=1, expected_generation=1)
        # The answer was lost, so the caller repeats what it sent.
        again = router.set_weights(route, weights, fencing_token=1, expected_generation=1)
        assert (again.generation, dict(again.weights)) == (first.generation, dict(first.weights))
        assert router.ensure_targets(route, both, fencing_token=1).generation == first.generation

    def test_another_generation_is_refused(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets(route, both, fencing_token=1)
        router.set_weights(route, {names[0]: 90, names[1]: 10}, fencing_token=1, expected_generation=1)
        with pytest.raises(StaleWriteError, match="generation is 2, not 1"):
            router.set_weights(route, {names[0]: 50, names[1]: 50}, fencing_token=1, expected_generation=1)
        assert dict(router.observe(route).weights) == {names[0]: 90, names[1]: 10}

    def test_an_older_token_is_refused_even_when_rolling_back(
        self, router: Router, route: str, targets: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        router.ensure_targets(route, {names[0]: targets[names[0]]}, fencing_token=2)
        with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
            router.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=None)
        with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
            router.ensure_targets(route, {names[2]: targets[names[2]]}, fencing_token=1)

    @pytest.mark.parametrize("shares", [(60, 50), (110, -10), ()])
    def test_weights_have_to_sum_to_100(
        self,
        router: Router,
        route: str,
        both: Mapping[str, int],
        names: tuple[str, str, str],
        shares: tuple[int, ...],
    ) -> None:
        router.ensure_targets(route, both, fencing_token=1)
        weights = dict(zip(names, shares, strict=False))
        with pytest.raises(SpecificationError, match="percentages of 0 or more that sum to 100"):
            router.set_weights(route, weights, fencing_token=1, expected_generation=1)

    def test_traffic_never_goes_to_an_unknown_target(
        self, router: Router, route: str, targets: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, candidate, _ = names
        router.ensure_targets(route, {stable: targets[stable]}, fencing_token=1)
        with pytest.raises(PermanentAdapterError, match=f"no such target {candidate}"):
            router.set_weights(route, {stable: 90, candidate: 10}, fencing_token=1, expected_generation=1)
        assert dict(router.observe(route).weights) == {}

    def test_a_target_with_traffic_stays(
        self, router: Router, route: str, both: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, candidate, _ = names
        router.ensure_targets(route, both, fencing_token=1)
        router.set_weights(route, {stable: 90, candidate: 10}, fencing_token=1, expected_generation=1)
        with pytest.raises(PermanentAdapterError, match=f"'{candidate}' still gets 10 %"):
            router.remove_target(route, candidate)
        router.set_weights(route, {stable: 100}, fencing_token=1, expected_generation=None)
        assert dict(router.remove_target(route, candidate).targets) == {stable: both[stable]}
        assert dict(router.remove_target(route, candidate).targets) == {stable: both[stable]}

    def test_routes_do_not_touch_each_other(
        self, router: Router, route: str, other_route: str, targets: Mapping[str, int], names: tuple[str, str, str]
    ) -> None:
        stable, _, third = names
        router.ensure_targets(route, {stable: targets[stable]}, fencing_token=7)
        router.ensure_targets(other_route, {third: targets[third]}, fencing_token=1)
        router.set_weights(other_route, {third: 100}, fencing_token=1, expected_generation=1)
        assert dict(router.observe(route).weights) == {}
        assert dict(router.observe(other_route).weights) == {third: 100}

    def test_an_edit_by_another_hand_stops_the_way_forward_and_is_undone_by_going_back(
        self,
        router: Router,
        route: str,
        both: Mapping[str, int],
        names: tuple[str, str, str],
        another_hand: Callable[[str], None] | None,
    ) -> None:
        if another_hand is None:
            pytest.skip("nobody else can change this router's routes")
        stable, candidate, _ = names
        router.ensure_targets(route, both, fencing_token=1)
        view = router.set_weights(route, {stable: 90, candidate: 10}, fencing_token=1, expected_generation=1)
        another_hand(route)
        seen = router.observe(route)
        assert seen.foreign_edits
        with pytest.raises(StaleWriteError, match="somebody else"):
            router.set_weights(route, {stable: 50, candidate: 50}, fencing_token=1, expected_generation=view.generation)
        back = router.set_weights(route, {stable: 100}, fencing_token=1, expected_generation=None)
        assert dict(back.weights) == {stable: 100}
        assert router.observe(route).foreign_edits == ()
