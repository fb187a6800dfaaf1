"""What every router has to do; a new one is added to the list of makers."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.ports import Router
from airflow_mlops.testing.rollout import MemoryRouter

BOTH = {"m-v1": 8201, "m-v2": 8202}


@pytest.fixture(params=["memory", "envoy files"])
def router(request: pytest.FixtureRequest, tmp_path: Path) -> Router:
    return MemoryRouter() if request.param == "memory" else EnvoyFilesRouter(tmp_path)


def test_a_route_that_nobody_wrote_is_empty(router: Router) -> None:
    view = router.observe("m")
    assert (view.generation, dict(view.weights), dict(view.targets), view.foreign_edits) == (0, {}, {}, ())


def test_targets_are_added_without_traffic_and_stay(router: Router) -> None:
    router.ensure_targets("m", {"m-v1": 8201}, fencing_token=1)
    view = router.ensure_targets("m", {"m-v2": 8202}, fencing_token=1)
    assert dict(view.targets) == BOTH
    assert dict(view.weights) == {}


def test_weights_are_absolute(router: Router) -> None:
    view = router.ensure_targets("m", BOTH, fencing_token=1)
    view = router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=view.generation)
    view = router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=view.generation)
    assert dict(router.observe("m").weights) == {"m-v1": 50, "m-v2": 50}
    assert router.observe("m").generation == 3
    assert router.verify("m") == "ok"


def test_a_weight_of_zero_is_no_weight(router: Router) -> None:
    router.ensure_targets("m", BOTH, fencing_token=1)
    view = router.set_weights("m", {"m-v1": 100, "m-v2": 0}, fencing_token=1, expected_generation=1)
    assert dict(view.weights) == {"m-v1": 100}


def test_the_same_weights_again_change_nothing(router: Router) -> None:
    router.ensure_targets("m", BOTH, fencing_token=1)
    first = router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    # The answer was lost, so the caller repeats what it sent.
    again = router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    assert again == first


def test_another_generation_is_refused(router: Router) -> None:
    router.ensure_targets("m", BOTH, fencing_token=1)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    with pytest.raises(StaleWriteError, match="generation is 2, not 1"):
        router.set_weights("m", {"m-v1": 50, "m-v2": 50}, fencing_token=1, expected_generation=1)
    assert dict(router.observe("m").weights) == {"m-v1": 90, "m-v2": 10}


def test_an_older_token_is_refused_even_when_rolling_back(router: Router) -> None:
    router.ensure_targets("m", BOTH, fencing_token=2)
    with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    with pytest.raises(StaleWriteError, match="token 1 is older than 2"):
        router.ensure_targets("m", {"m-v3": 8203}, fencing_token=1)


@pytest.mark.parametrize("weights", [{"m-v1": 60, "m-v2": 50}, {"m-v1": 110, "m-v2": -10}, {}])
def test_weights_have_to_sum_to_100(router: Router, weights: dict[str, int]) -> None:
    router.ensure_targets("m", BOTH, fencing_token=1)
    with pytest.raises(SpecificationError, match="percentages of 0 or more that sum to 100"):
        router.set_weights("m", weights, fencing_token=1, expected_generation=1)


def test_traffic_never_goes_to_an_unknown_target(router: Router) -> None:
    router.ensure_targets("m", {"m-v1": 8201}, fencing_token=1)
    with pytest.raises(PermanentAdapterError, match="no such target m-v2"):
        router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    assert dict(router.observe("m").weights) == {}


def test_a_target_with_traffic_stays(router: Router) -> None:
    router.ensure_targets("m", BOTH, fencing_token=1)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=1, expected_generation=1)
    with pytest.raises(PermanentAdapterError, match="'m-v2' still gets 10 %"):
        router.remove_target("m", "m-v2")
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=None)
    assert dict(router.remove_target("m", "m-v2").targets) == {"m-v1": 8201}
    assert dict(router.remove_target("m", "m-v2").targets) == {"m-v1": 8201}


def test_routes_do_not_touch_each_other(router: Router) -> None:
    router.ensure_targets("m", {"m-v1": 8201}, fencing_token=7)
    router.ensure_targets("other", {"other-v1": 8301}, fencing_token=1)
    router.set_weights("other", {"other-v1": 100}, fencing_token=1, expected_generation=1)
    assert dict(router.observe("m").weights) == {}
    assert dict(router.observe("other").weights) == {"other-v1": 100}
