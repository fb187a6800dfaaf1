"""Every router that needs no cluster against the behaviours of all; a new one is one class here."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.rollout.ports import Router
from airflow_mlops.testing.rollout import MemoryRouter
from airflow_mlops.testing.router_conformance import RouterConformance


class TestMemoryRouter(RouterConformance):
    @pytest.fixture
    def router(self) -> MemoryRouter:
        return MemoryRouter()

    @pytest.fixture
    def another_hand(self, router: MemoryRouter) -> Callable[[str], None]:
        return lambda route: router.edits.append(f"{route} was edited")

    def test_weights_are_in_effect_at_once(self, router: Router) -> None:
        weights_are_in_effect_at_once(router)


class TestEnvoyFilesRouter(RouterConformance):
    @pytest.fixture
    def router(self, tmp_path: Path) -> EnvoyFilesRouter:
        return EnvoyFilesRouter(tmp_path)

    @pytest.fixture
    def another_hand(self, tmp_path: Path) -> Callable[[str], None]:
        def edit(route: str) -> None:
            path = tmp_path / "routes" / f"{route}.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"weights": {"m-v1": 20, "m-v2": 80}}))

        return edit

    def test_weights_are_in_effect_at_once(self, router: Router) -> None:
        weights_are_in_effect_at_once(router)


def weights_are_in_effect_at_once(router: Router) -> None:
    router.ensure_targets("m", {"m-v1": 8201}, fencing_token=1)
    router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=1)
    assert router.verify("m") == "ok"
