"""Whole rollouts over the routers of Istio, KServe and Argo, in a real API server with their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_mlops.hooks.gateway_kinds import KINDS
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.worlds import WORLDS, WholeRollouts, World

pytestmark = pytest.mark.system

FILES = {
    "istio": "istio-virtualservices.yaml",
    "kserve": "kserve-inferenceservices.yaml",
    "argo_rollouts": "argo-rollouts-rollouts.yaml",
}


class TestInACluster(WholeRollouts):
    @pytest.fixture(params=list(WORLDS))
    def world(self, request: pytest.FixtureRequest, api: Any, namespace: str) -> Iterator[World]:
        told = WORLDS[request.param]
        ensure_defined(api, KINDS[told["kind"]].router_class().kind, FILES[told["kind"]])
        world = World(api.api_client, **told, namespace=namespace)
        yield world
        world.close()
