"""Every router on a Kubernetes object against the behaviours of all, in a real API server; a new one is one class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.rollout.routing import Mirror
from airflow_mlops.testing.match_conformance import MatchConformance
from airflow_mlops.testing.router_conformance import RouterConformance
from tests.system.kubernetes.definitions import ensure_defined

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def objects(api: Any, namespace: str) -> KubernetesObjects:
    return KubernetesObjects(api.api_client, namespace)


def http_route(name: str) -> dict[str, Any]:
    # No gateway serves these: nobody writes a status, nobody asks.
    spec = {"parentRefs": [{"name": "none"}], "hostnames": [f"{name}.test.invalid"], "rules": [{"name": "predict"}]}
    return {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}


class TestGatewayApiRouter(RouterConformance, MatchConformance):
    @pytest.fixture
    def router(self, api: Any, objects: KubernetesObjects) -> Iterator[GatewayApiRouter]:
        ensure_defined(api, HTTP_ROUTES, "gateway-api-httproutes.yaml")
        for name in ("m", "other"):
            objects.create(HTTP_ROUTES, http_route(name))
        yield GatewayApiRouter(objects, rule="predict")
        for name in ("m", "other"):
            objects.delete(HTTP_ROUTES, name)

    @pytest.fixture
    def another_hand(self, objects: KubernetesObjects) -> Callable[[str], None]:
        heavier = {"op": "replace", "path": "/spec/rules/0/backendRefs/1/weight", "value": 900}
        return lambda route: objects.change(HTTP_ROUTES, route, lambda _: [heavier]) and None

    def test_the_definition_knows_mirrors_of_a_share(self, router: GatewayApiRouter) -> None:
        router.ensure_targets("m", {"m-v1": 80, "m-v2": 80}, fencing_token=1)
        router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=1)
        view = router.set_mirror("m", "m-v2", 5, fencing_token=1, expected_generation=2)
        assert view.mirror == Mirror(target="m-v2", percent=5)
        view = router.set_weights("m", {"m-v1": 100}, fencing_token=1, expected_generation=3)
        assert (view.mirror, view.foreign_edits) == (None, ())
