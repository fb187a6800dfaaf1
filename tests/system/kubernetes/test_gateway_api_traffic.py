"""Weights of an HTTPRoute under live traffic: shares follow, and no request fails."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.rollout.routing import Match
from airflow_mlops.testing.gateway import Traffic, ask
from tests.system.kubernetes.gateway import ServedGateway, answering_pods, remove_pods, served_gateway  # noqa: F401

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
NAMES = ["m-v1", "m-v2", "m-v3"]


@pytest.fixture
def route(api: Any, namespace: str, image: str) -> Iterator[str]:
    """A route of its own path, with all traffic at the first of three servers."""
    objects, name = KubernetesObjects(api.api_client, namespace), f"m-{uuid.uuid4().hex[:8]}"
    answering_pods(api, namespace, image, NAMES)
    matches = [{"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}}]
    rule = {"name": "predict", "matches": matches, "backendRefs": [{"name": "m-v1", "port": 80}]}
    spec = {"parentRefs": [{"name": "testbed"}], "rules": [rule]}
    manifest = {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}
    objects.create(HTTP_ROUTES, manifest)
    yield name
    objects.delete(HTTP_ROUTES, name)
    remove_pods(api, namespace, NAMES)


def in_effect(router: GatewayApiRouter, route: str) -> float:
    """Wait until the gateway says so, and then for the proxy; return when that was."""
    deadline = time.monotonic() + 30
    while router.verify(route) != "ok":
        assert time.monotonic() < deadline, router.observe(route)
        time.sleep(0.1)
    time.sleep(1.0)
    return time.time()


def test_traffic_follows_the_weights_and_no_request_fails(
    api: Any,
    namespace: str,
    route: str,
    served_gateway: ServedGateway,  # noqa: F811 - the fixture
) -> None:
    router = GatewayApiRouter(KubernetesObjects(api.api_client, namespace))
    in_effect(router, route)
    with Traffic(served_gateway, route, rate=150) as traffic:  # type: ignore[arg-type]
        before = router.observe(route)
        assert (dict(before.weights), before.generation) == ({"m-v1": 100}, 0)
        view = router.ensure_targets(route, {"m-v2": 80, "m-v3": 80}, fencing_token=1)
        began = in_effect(router, route)
        time.sleep(1)
        assert set(traffic.targets(after=began)) == {"m-v1"}

        match = Match(target="m-v3", headers={"x-tester": "yes"})
        view = router.set_match(route, match, fencing_token=1, expected_generation=view.generation)
        began = in_effect(router, route)
        assert {ask(served_gateway.url, route, {"x-tester": "yes"}) for _ in range(20)} == {(200, "m-v3")}
        assert set(traffic.targets(after=began)) == {"m-v1"}

        router.set_weights(
            route, {"m-v1": 70, "m-v2": 30, "m-v3": 0}, fencing_token=1, expected_generation=view.generation
        )
        began = in_effect(router, route)
        time.sleep(5)
        split = traffic.targets(after=began)
        assert "m-v3" not in {ask(served_gateway.url, route, {"x-tester": "yes"})[1] for _ in range(20)}

        router.set_weights(route, {"m-v1": 100}, fencing_token=1, expected_generation=None)
        began = in_effect(router, route)
        for name in ("m-v2", "m-v3"):
            router.remove_target(route, name)
        time.sleep(1.5)
        after = traffic.targets(after=began)
    assert set(split) == {"m-v1", "m-v2"}
    # Five standard deviations of a share of 30 % in so many requests.
    requests = sum(split.values())
    assert abs(split["m-v2"] / requests - 0.3) < 5 * (0.3 * 0.7 / requests) ** 0.5
    assert set(after) == {"m-v1"}
    assert {status for _, status, _ in traffic.answers} == {200}
