"""A rollout in a cluster from end to end: Deployments, an HTTPRoute, a Lease, Prometheus and Airflow's operator."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.metrics.series import TEMPLATES
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
from airflow_mlops.testing.gateway import Traffic
from tests.prometheus import SCRAPE_SECONDS, prometheus_server
from tests.system.kubernetes.gateway import ServedGateway, served_gateway  # noqa: F401 - fixtures
from tests.system.kubernetes.servers import fleet, server_spec, serving, until  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(240),
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

PORT = 8080
SPEC = {
    "steps": [
        {"weight_percent": 20, "min_seconds": 1, "min_requests": 30},
        {"weight_percent": 50, "min_seconds": 1, "min_requests": 60},
    ],
    "error_rate": {"max_increase": 0.15},
    "look_seconds": 0.5,
    "step_timeout_seconds": 120,
    "max_unknown_seconds": 60,
}


@pytest.fixture
def model(
    cluster: Any,
    served_gateway: ServedGateway,  # noqa: F811 - the fixture
    connection: Callable[..., None],
    serving: Callable[..., dict[str, Any]],  # noqa: F811
    fleet: Callable[..., Any],  # noqa: F811
    tmp_path: Path,
) -> Iterator[str]:
    """A model whose version 1 serves, with version 2 beside it, and connections that say so."""
    name, objects = f"m{uuid.uuid4().hex[:8]}", KubernetesObjects(cluster.api.api_client, cluster.namespace)
    servers = fleet()
    for version in ("1", "2"):
        servers.ensure(server_spec(version, name))
    rule = {
        "matches": [{"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}}],
        "backendRefs": [{"name": f"{name}-v1", "port": PORT}],
    }
    spec = {"parentRefs": [{"name": "testbed"}], "rules": [rule]}
    manifest = {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": name}, "spec": spec}
    objects.create(HTTP_ROUTES, manifest)
    until(lambda: all(servers.status(f"{name}-v{version}").phase == "ready" for version in ("1", "2")))
    # Envoy writes : in a cluster's name as _ in its statistics.
    series = asdict(TEMPLATES["envoy"]) | {"target": {"envoy_cluster_name": f"{cluster.namespace}/{{target}}_{PORT}"}}
    with prometheus_server(tmp_path, ["127.0.0.1:9901"], path="/stats/prometheus") as prometheus:
        connection("prometheus_default", conn_type="http", host=prometheus)
        connection(
            "model_gateway_default",
            conn_type="model_gateway",
            host=served_gateway.url,
            extra={
                "kind": "gateway_api",
                "namespace": cluster.namespace,
                "kubeconfig": cluster.kubeconfig,
                "serving": serving(),
                "metrics": {
                    "source": "prometheus",
                    "series": series,
                    "scrape_seconds": SCRAPE_SECONDS,
                    "missed_scrapes": 20,
                },
            },
        )
        yield name
    objects.delete(HTTP_ROUTES, name)


def test_a_candidate_takes_over_in_a_cluster(
    cluster: Any,
    model: str,
    served_gateway: ServedGateway,  # noqa: F811
    run_dag: Callable[..., Any],
    artifact_root: Path,
) -> None:
    from airflow.sdk import DAG

    from airflow_mlops.hooks.gateway import ModelGatewayHook
    from airflow_mlops.operators.rollout import CanaryRolloutOperator

    works, said = ModelGatewayHook().test_connection()
    assert works, said
    with DAG(f"rollout_{model}", schedule=None) as dag:
        CanaryRolloutOperator(task_id="canary", model_name=model, candidate=f"{model}-v2", spec=SPEC)
    objects = KubernetesObjects(cluster.api.api_client, cluster.namespace)
    until(lambda: GatewayApiRouter(objects).verify(model) == "ok")
    time.sleep(1)  # until the proxy has read the route
    with Traffic(served_gateway, model, rate=100) as traffic:  # type: ignore[arg-type]
        run = run_dag(dag)
    assert run.states == {"canary": "success"}
    result = run.xcom("canary")
    assert result["outcome"] == "promoted"
    assert [entry["weights"].get(f"{model}-v2") for entry in result["history"]] == [20, 50, 100]
    assert dict(GatewayApiRouter(objects).observe(model).weights) == {f"{model}-v2": 100}
    lease = LeaseRolloutStore(objects, kind="gateway_api").load(model)
    assert lease is not None
    assert (lease.holder, lease.state and lease.state.phase) == ("", "promoted")
    assert {status for _, status, _ in traffic.answers} == {200}
    assert list(artifact_root.glob("evidence/**/*.json"))
