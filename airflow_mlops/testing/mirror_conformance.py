# ruff: noqa: D102 - the names of the tests say what a router does
"""What every router that copies requests has to do, as tests to inherit; needs pytest.

Used like :class:`airflow_mlops.testing.router_conformance.RouterConformance`, whose fixtures it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.ports import MirrorRouter
from airflow_mlops.rollout.routing import Mirror

__all__ = ["MirrorConformance"]


class MirrorConformance:
    """Behaviours of :class:`airflow_mlops.rollout.ports.MirrorRouter`."""

    @pytest.fixture
    def copying(
        self, router: MirrorRouter, route: str, names: tuple[str, str, str], targets: Mapping[str, int]
    ) -> MirrorRouter:
        """Return the router with all traffic at the first target, and all targets known."""
        router.ensure_targets(route, targets, fencing_token=1)
        router.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=None)
        return router

    def test_it_says_that_it_copies(self, router: MirrorRouter) -> None:
        assert "mirror" in router.capabilities
        assert isinstance(router, MirrorRouter)

    def test_copies_leave_the_weights_alone(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        before = copying.observe(route)
        view = copying.set_mirror(route, names[1], 30, fencing_token=1, expected_generation=before.generation)
        assert view.mirror == Mirror(target=names[1], percent=30)
        assert dict(view.weights) == {names[0]: 100}
        assert view.generation == before.generation + 1
        assert copying.observe(route) == view

    def test_the_same_again_is_no_conflict(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        seen = copying.observe(route).generation
        view = copying.set_mirror(route, names[1], 30, fencing_token=1, expected_generation=seen)
        assert copying.set_mirror(route, names[1], 30, fencing_token=1, expected_generation=seen) == view
        with pytest.raises(StaleWriteError):
            copying.set_mirror(route, names[1], 40, fencing_token=1, expected_generation=seen)

    def test_none_ends_the_copies_once_and_again(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        copying.set_mirror(route, names[1], 30, fencing_token=1, expected_generation=None)
        for _ in range(2):
            assert copying.set_mirror(route, None, 0, fencing_token=1, expected_generation=None).mirror is None

    def test_weights_end_the_copies(self, copying: MirrorRouter, route: str, names: tuple[str, str, str]) -> None:
        copying.set_mirror(route, names[1], 100, fencing_token=1, expected_generation=None)
        assert copying.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=None).mirror is None

    def test_only_a_known_target_without_traffic_gets_copies(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        for target in (names[0], "nobody"):
            with pytest.raises(PermanentAdapterError):
                copying.set_mirror(route, target, 100, fencing_token=1, expected_generation=None)
        with pytest.raises(SpecificationError, match="percent"):
            copying.set_mirror(route, names[1], 0, fencing_token=1, expected_generation=None)
        assert copying.observe(route).mirror is None

    def test_an_older_token_copies_nothing(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        copying.set_mirror(route, names[1], 100, fencing_token=5, expected_generation=None)
        with pytest.raises(StaleWriteError):
            copying.set_mirror(route, None, 0, fencing_token=4, expected_generation=None)
        assert copying.observe(route).mirror is not None

    def test_a_target_that_gets_copies_is_not_removed(
        self, copying: MirrorRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        copying.set_mirror(route, names[1], 100, fencing_token=1, expected_generation=None)
        with pytest.raises(PermanentAdapterError, match="copies"):
            copying.remove_target(route, names[1])

    def test_another_hands_edit_stops_copies_but_not_their_end(
        self,
        copying: MirrorRouter,
        route: str,
        names: tuple[str, str, str],
        another_hand: Callable[[str], None] | None,
    ) -> None:
        if another_hand is None:
            pytest.skip("nobody else can edit these routes")
        copying.set_mirror(route, names[1], 100, fencing_token=1, expected_generation=None)
        another_hand(route)
        with pytest.raises(StaleWriteError):
            copying.set_mirror(
                route, names[2], 100, fencing_token=1, expected_generation=copying.observe(route).generation
            )
        assert copying.set_mirror(route, None, 0, fencing_token=1, expected_generation=None).mirror is None
