"""Every router that copies requests, or sends them by headers, and needs no cluster, against the behaviours of all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.exceptions import StaleWriteError
from airflow_mlops.files import atomic_write_json
from airflow_mlops.rollout.ports import StickyRouter
from airflow_mlops.rollout.routing import Mirror, Sticky
from airflow_mlops.testing.match_conformance import MatchConformance
from airflow_mlops.testing.mirror_conformance import MirrorConformance
from airflow_mlops.testing.rollout import MemoryRouter


class _Names:
    @pytest.fixture
    def route(self) -> str:
        return "m"

    @pytest.fixture
    def targets(self) -> dict[str, int]:
        return {"m-v1": 8201, "m-v2": 8202, "m-v3": 8203}

    @pytest.fixture
    def names(self) -> tuple[str, str, str]:
        return "m-v1", "m-v2", "m-v3"


class TestMemoryRouter(_Names, MirrorConformance, MatchConformance):
    @pytest.fixture
    def router(self) -> MemoryRouter:
        return MemoryRouter()

    @pytest.fixture
    def another_hand(self, router: MemoryRouter) -> Callable[[str], None]:
        return lambda route: router.edits.append(f"{route} was edited")


class TestEnvoyFilesRouter(_Names, MirrorConformance, MatchConformance):
    @pytest.fixture
    def router(self, tmp_path: Path) -> EnvoyFilesRouter:
        return EnvoyFilesRouter(tmp_path)

    @pytest.fixture
    def another_hand(self, tmp_path: Path) -> Callable[[str], None]:
        def edit(route: str) -> None:
            path = tmp_path / "routes" / f"{route}.json"
            document = json.loads(path.read_text())
            path.write_text(json.dumps(document | {"mirror": {"target": "m-v2", "percent": 1}}))

        return edit

    def test_stickiness_is_kept_over_weights_and_mirrors(self, router: EnvoyFilesRouter) -> None:
        assert isinstance(router, StickyRouter)
        router.ensure_targets("m", {"m-v1": 8201, "m-v2": 8202}, fencing_token=1)
        seen = router.set_sticky("m", Sticky(header="x-user"), fencing_token=1, expected_generation=1).generation
        with pytest.raises(StaleWriteError):
            router.set_sticky("m", None, fencing_token=1, expected_generation=1)
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=seen)
        view = router.set_mirror("m", "m-v2", 5, fencing_token=1, expected_generation=None)
        assert (view.sticky, view.mirror) == (Sticky(header="x-user"), Mirror(target="m-v2", percent=5))
        assert router.set_sticky("m", None, fencing_token=1, expected_generation=None).sticky is None

    def test_a_route_from_before_there_were_mirrors_is_nobodys_edit(
        self, router: EnvoyFilesRouter, tmp_path: Path
    ) -> None:
        router.ensure_targets("m", {"m-v1": 8201}, fencing_token=1)
        path = tmp_path / "routes" / "m.json"
        document = json.loads(path.read_text())
        atomic_write_json(path, {key: value for key, value in document.items() if key not in ("mirror", "sticky")})
        assert router.observe("m").foreign_edits == ()
        atomic_write_json(path, document | {"sticky": {"header": "x-user", "cookie": None}})
        assert router.observe("m").foreign_edits != ()
