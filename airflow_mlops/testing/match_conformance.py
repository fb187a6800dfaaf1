# ruff: noqa: D102 - the names of the tests say what a router does
"""What every router that sends requests by their headers has to do, as tests to inherit; needs pytest.

Used like :class:`airflow_mlops.testing.router_conformance.RouterConformance`, whose fixtures it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.ports import MatchRouter
from airflow_mlops.rollout.routing import Match

__all__ = ["MatchConformance"]

_HEADERS = {"x-tester": "yes"}


class MatchConformance:
    """Behaviours of :class:`airflow_mlops.rollout.ports.MatchRouter`."""

    @pytest.fixture
    def matching(
        self, router: MatchRouter, route: str, names: tuple[str, str, str], targets: Mapping[str, int]
    ) -> MatchRouter:
        """Return the router with all traffic at the first target, and all targets known."""
        router.ensure_targets(route, targets, fencing_token=1)
        router.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=None)
        return router

    def test_it_says_that_it_sends_by_headers(self, router: MatchRouter) -> None:
        assert "match" in router.capabilities
        assert isinstance(router, MatchRouter)

    def test_a_match_leaves_the_weights_alone(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        before, match = matching.observe(route), Match(target=names[1], headers=_HEADERS)
        view = matching.set_match(route, match, fencing_token=1, expected_generation=before.generation)
        assert (view.match, view.foreign_edits) == (match, ())
        assert dict(view.weights) == {names[0]: 100}
        assert view.generation == before.generation + 1
        assert matching.observe(route) == view

    def test_the_same_match_again_is_no_conflict(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        seen, match = matching.observe(route).generation, Match(target=names[1], headers=_HEADERS)
        view = matching.set_match(route, match, fencing_token=1, expected_generation=seen)
        assert matching.set_match(route, match, fencing_token=1, expected_generation=seen) == view
        with pytest.raises(StaleWriteError):
            matching.set_match(route, None, fencing_token=1, expected_generation=seen)

    def test_another_match_takes_its_place(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        for name in names:
            match = Match(target=name, headers={"x-tester": name, "x-team": "a b"})
            view = matching.set_match(route, match, fencing_token=1, expected_generation=None)
            assert (view.match, view.foreign_edits) == (match, ())

    def test_none_ends_a_match_once_and_again(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        before = matching.observe(route)
        match = Match(target=names[1], headers=_HEADERS)
        matching.set_match(route, match, fencing_token=1, expected_generation=None)
        for _ in range(2):
            view = matching.set_match(route, None, fencing_token=1, expected_generation=None)
            assert (view.match, dict(view.weights), dict(view.targets)) == (
                None,
                dict(before.weights),
                dict(before.targets),
            )

    def test_weights_end_a_match(self, matching: MatchRouter, route: str, names: tuple[str, str, str]) -> None:
        match = Match(target=names[1], headers=_HEADERS)
        seen = matching.set_match(route, match, fencing_token=1, expected_generation=None).generation
        view = matching.set_weights(route, {names[0]: 100}, fencing_token=1, expected_generation=seen)
        assert (view.match, view.foreign_edits) == (None, ())

    def test_only_a_known_target_gets_matched_requests(self, matching: MatchRouter, route: str) -> None:
        with pytest.raises(PermanentAdapterError, match="nobody"):
            matching.set_match(
                route, Match(target="nobody", headers=_HEADERS), fencing_token=1, expected_generation=None
            )
        assert matching.observe(route).match is None

    @pytest.mark.parametrize("headers", [{}, {"two words": "a"}, {"x-a": ""}, {"x-a": "line\nline"}])
    def test_headers_that_cannot_be_are_refused(self, headers: dict[str, str]) -> None:
        with pytest.raises(SpecificationError, match=r"match\.headers"):
            Match(target="m", headers=headers)

    def test_an_older_token_matches_nothing(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        match = Match(target=names[1], headers=_HEADERS)
        matching.set_match(route, match, fencing_token=5, expected_generation=None)
        with pytest.raises(StaleWriteError):
            matching.set_match(route, None, fencing_token=4, expected_generation=None)
        assert matching.observe(route).match == match

    def test_a_target_that_gets_matched_requests_is_not_removed(
        self, matching: MatchRouter, route: str, names: tuple[str, str, str]
    ) -> None:
        match = Match(target=names[1], headers=_HEADERS)
        matching.set_match(route, match, fencing_token=1, expected_generation=None)
        with pytest.raises(PermanentAdapterError, match="headers"):
            matching.remove_target(route, names[1])
        matching.set_match(route, None, fencing_token=1, expected_generation=None)
        assert names[1] not in matching.remove_target(route, names[1]).targets

    def test_another_hands_edit_stops_a_match_but_not_its_end(
        self,
        matching: MatchRouter,
        route: str,
        names: tuple[str, str, str],
        another_hand: Callable[[str], None] | None,
    ) -> None:
        if another_hand is None:
            pytest.skip("nobody else can edit these routes")
        match = Match(target=names[1], headers=_HEADERS)
        matching.set_match(route, match, fencing_token=1, expected_generation=None)
        another_hand(route)
        with pytest.raises(StaleWriteError):
            matching.set_match(
                route,
                Match(target=names[2], headers=_HEADERS),
                fencing_token=1,
                expected_generation=matching.observe(route).generation,
            )
        assert matching.set_match(route, None, fencing_token=1, expected_generation=None).match is None
