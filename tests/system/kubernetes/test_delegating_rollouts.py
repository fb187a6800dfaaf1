"""Whole rollouts over the routers of Istio, KServe and Argo, in a real API server with their definitions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_mlops.hooks.gateway_kinds import KINDS
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.routed import limited
from tests.system.kubernetes.worlds import WORLDS, WholeRollouts, World

pytestmark = pytest.mark.system

FILES = {
    "istio": "istio-virtualservices.yaml",
    "kserve": "kserve-inferenceservices.yaml",
    "argo_rollouts": "argo-rollouts-rollouts.yaml",
}


#: What docs/routers.md says that a router needs.
RIGHTS = {
    "istio": [("networking.istio.io", "virtualservices", ("get", "patch"))],
    "kserve": [("serving.kserve.io", "inferenceservices", ("get", "list", "patch"))],
    "argo_rollouts": [
        ("argoproj.io", "rollouts", ("get", "list", "patch")),
        ("argoproj.io", "rollouts/status", ("patch",)),
    ],
}
LEASES = ("coordination.k8s.io", "leases", ("create", "get", "list", "patch"))


class TestInACluster(WholeRollouts):
    """The process that moves the traffic has the rights that are documented, and no others."""

    @pytest.fixture(params=list(WORLDS))
    def world(self, request: pytest.FixtureRequest, api: Any, namespace: str) -> Iterator[World]:
        told = WORLDS[request.param]
        ensure_defined(api, KINDS[told["kind"]].router_class().kind, FILES[told["kind"]])
        rights = limited(api, namespace, LEASES, *RIGHTS[told["kind"]])
        world = World(api.api_client, **told, namespace=namespace, rights=rights)
        yield world
        world.close()
        rights.close()
