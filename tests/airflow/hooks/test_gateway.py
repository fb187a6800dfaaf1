"""The gateway's connection: what it gives, and what it says when something is missing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.gateway import ModelGatewayHook


def define(connection: Callable[..., None], tmp_path: Path, **changes: Any) -> None:
    extra = {
        "admin_url": "http://127.0.0.1:9",
        "directory": str(tmp_path / "gateway"),
        "serving_directory": str(tmp_path / "serving"),
        **changes.pop("extra", {}),
    }
    connection(
        "model_gateway_default",
        **{"conn_type": "model_gateway", "host": "127.0.0.1", "port": 8100, **changes},
        extra=extra,
    )


@pytest.mark.parametrize(
    ("changes", "endpoint"),
    [
        ({}, "http://127.0.0.1:8100"),
        ({"port": None}, "http://127.0.0.1:8100"),
        ({"host": "https://models.example.com/", "port": None}, "https://models.example.com"),
    ],
)
def test_the_endpoint(connection: Callable[..., None], tmp_path: Path, changes: dict[str, Any], endpoint: str) -> None:
    define(connection, tmp_path, **changes)
    assert ModelGatewayHook().endpoint == endpoint


def test_the_ports_of_a_rollout_work_on_the_folder(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path)
    gateway = ModelGatewayHook().gateway()
    lease = gateway.store.acquire("m", "a", lease_seconds=60)
    gateway.router.ensure_targets("m", {"m-v1": 8201}, fencing_token=lease.token)
    assert (tmp_path / "gateway" / "routes" / "m.json").is_file()
    assert (tmp_path / "gateway" / "rollouts" / "m.json").is_file()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (
            {"directory": None},
            r"'model_gateway_default', extra\.directory: None .* absolute path of the gateway's folder",
        ),
        ({"directory": "gateway"}, r"extra\.directory: 'gateway' .* absolute path"),
        ({"serving_directory": ""}, r"extra\.serving_directory: '' .* absolute path of the model servers' folder"),
        ({"admin_url": None}, r"extra\.admin_url: None .* http://127\.0\.0\.1:8101"),
    ],
)
def test_a_missing_extra_is_named(
    connection: Callable[..., None], tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    define(connection, tmp_path, extra=extra)
    hook = ModelGatewayHook()
    with pytest.raises(SpecificationError, match=message):
        (hook.gateway(), hook.fleet())


def test_a_connection_without_host_is_refused(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path, host=None)
    with pytest.raises(SpecificationError, match="host: None is not accepted; expected a host name"):
        assert ModelGatewayHook().endpoint


def test_testing_says_that_nothing_answers(connection: Callable[..., None], tmp_path: Path, free_port: int) -> None:
    define(connection, tmp_path, extra={"admin_url": f"http://127.0.0.1:{free_port}"})
    works, message = ModelGatewayHook().test_connection()
    assert not works
    assert message.startswith("the gateway does not answer: ")


def test_testing_says_what_is_missing(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path, extra={"admin_url": None})
    assert "admin_url: None is not accepted" in ModelGatewayHook().test_connection()[1]


def test_a_trigger_reads_the_connection_without_blocking(connection: Callable[..., None], tmp_path: Path) -> None:
    define(connection, tmp_path)
    hook = asyncio.run(ModelGatewayHook.aopen("model_gateway_default"))
    assert hook.admin_url == "http://127.0.0.1:9"


def kubeconfig(tmp_path: Path, port: int) -> str:
    path = tmp_path / "kubeconfig"
    path.write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "c",
                "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
                "users": [{"name": "u", "user": {"token": "not-to-be-shown"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return str(path)


def in_cluster(tmp_path: Path, port: int = 9, **extra: Any) -> dict[str, Any]:
    return {"kind": "gateway_api", "namespace": "models", "kubeconfig": kubeconfig(tmp_path, port), **extra}


def test_a_gateway_in_a_cluster_has_its_own_ports(connection: Callable[..., None], tmp_path: Path) -> None:
    from airflow_mlops.adapters.serving.deployments import DeploymentFleet
    from airflow_mlops.adapters.traffic.gateway_api import GatewayApiRouter
    from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore

    extra = in_cluster(tmp_path, metrics="envoy", router='{"rule": "predict"}', serving={"image": "server:1"})
    define(connection, tmp_path, extra=extra)
    hook = ModelGatewayHook()
    gateway = hook.gateway()
    assert isinstance(gateway.router, GatewayApiRouter)
    assert isinstance(gateway.store, LeaseRolloutStore)
    assert isinstance(hook.fleet(), DeploymentFleet)


def test_every_kind_in_a_cluster_has_a_router(connection: Callable[..., None], tmp_path: Path) -> None:
    from airflow_mlops.hooks.gateway_kinds import KINDS

    for kind in KINDS.values():
        define(connection, tmp_path, extra=in_cluster(tmp_path, kind=kind.name))
        router = ModelGatewayHook().router()
        assert "weights" in type(router).capabilities  # type: ignore[attr-defined]
        assert kind.metrics in {"envoy", "prometheus"}


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"kind": "traefik"}, r"extra\.kind: 'traefik' is not accepted; expected one of envoy, gateway_api"),
        ({"namespace": None}, r"extra\.namespace: None .* the namespace of routes"),
        ({"router": "rule=predict"}, r"extra\.router: 'rule=predict' .* an object"),
        ({"router": {"rulle": "a"}}, r"extra\.router\.rulle: 'a' .* gateway_api: name, rule, reports_status"),
        ({"router": {"reports_status": "yes"}}, "reports_status: 'yes' is not accepted; expected true or false"),
        ({"in_cluster": "yes"}, r"extra\.in_cluster: 'yes' is not accepted; expected true or false"),
        ({"serving": {}}, r"extra\.serving\.image: None .* image is required"),
    ],
)
def test_a_wrong_extra_of_a_cluster_is_named(
    connection: Callable[..., None], tmp_path: Path, extra: dict[str, Any], message: str
) -> None:
    define(connection, tmp_path, extra=in_cluster(tmp_path, **extra))
    hook = ModelGatewayHook()
    with pytest.raises(SpecificationError, match=message):
        (hook.router(), hook.fleet())


def test_a_cluster_that_does_not_answer_is_said_without_its_token(
    connection: Callable[..., None], tmp_path: Path, free_port: int
) -> None:
    define(connection, tmp_path, extra=in_cluster(tmp_path, free_port))
    works, message = ModelGatewayHook().test_connection()
    assert not works
    assert "GET HTTPRoute models/any: the API server does not answer" in message
    assert "not-to-be-shown" not in message
    define(connection, tmp_path, extra=in_cluster(tmp_path, kubeconfig=str(tmp_path / "none")))
    works, message = ModelGatewayHook().test_connection()
    assert (works, "the gateway cannot be reached: " in message) == (False, True)


def test_a_trigger_reads_the_clusters_connection_too(connection: Callable[..., None], tmp_path: Path) -> None:
    from airflow_mlops.adapters.traffic.gateway_api import GatewayApiRouter

    connection("cluster", conn_type="kubernetes", extra={"kube_config_path": kubeconfig(tmp_path, 9)})
    extra = {"kind": "gateway_api", "namespace": "models", "kubernetes_conn_id": "cluster"}
    define(connection, tmp_path, extra=extra)
    hook = asyncio.run(ModelGatewayHook.aopen("model_gateway_default"))
    assert isinstance(hook.router(), GatewayApiRouter)
