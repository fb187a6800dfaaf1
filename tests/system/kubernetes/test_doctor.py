"""The doctor in a real cluster: what a limited account may do, and whether the watchdog runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.cli.doctor.areas import chosen_checks
from airflow_mlops.cli.doctor.examine import examine
from airflow_mlops.cli.doctor.finding import Finding
from airflow_mlops.cli.doctor.site import Site
from tests.system.kubernetes.servers import PretendedPods, client_with

pytestmark = pytest.mark.system

_ROLLOUTS = {
    "coordination.k8s.io/leases": ["create", "get", "list", "patch"],
    "gateway.networking.k8s.io/httproutes": ["get"],
    "apps/deployments": ["create", "get", "list", "patch", "delete"],
    "/services": ["create", "get", "list", "patch", "delete"],
    "/pods": ["create", "get", "list", "watch", "patch", "delete"],
}


@pytest.fixture
def account(pretended: PretendedPods, tmp_path: Path) -> Callable[[dict[str, list[str]]], str]:
    """Write the kubeconfig of an account with these rights: ``{"apps/deployments": ["get"]}``."""

    def write(rules: dict[str, list[str]]) -> str:
        configuration = client_with(pretended, rules).configuration
        token = configuration.api_key["authorization"].removeprefix("Bearer ")
        path = tmp_path / f"kubeconfig-{len(list(tmp_path.iterdir()))}"
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {"server": configuration.host, "certificate-authority": configuration.ssl_ca_cert},
                }
            ],
            "users": [{"name": "u", "user": {"token": token}}],
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "x",
        }
        path.write_text(yaml.safe_dump(document))
        return str(path)

    return write


def examined(area: str) -> dict[str, Finding]:
    site = Site()
    return {one.check: one for one in examine(chosen_checks(site, [area]), site)}


def test_a_limited_account_is_told_what_it_lacks(
    pretended: PretendedPods,
    account: Callable[[dict[str, list[str]]], str],
    connection: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace, config = pretended.namespace, account(_ROLLOUTS)
    settings = {"image": "trainer", "namespace": namespace, "config_file": config}
    monkeypatch.setenv("MLOPS_KUBERNETES", json.dumps(settings))
    extra = {"kind": "gateway_api", "namespace": namespace, "kubeconfig": config}
    connection("model_gateway_default", conn_type="model_gateway", host="gateway", extra=extra)

    found = examined("cluster")
    levels = {name.removeprefix(f"{namespace}: "): one.level for name, one in found.items()}
    assert levels == {
        **dict.fromkeys(("pods", "leases", "deployments", "services"), "ok"),
        **dict.fromkeys(("pods/exec", "jobs", "jobs/status"), "warn"),
        **dict.fromkeys(("events", "httproutes", "pods/log"), "fail"),
    }
    routes = found[f"{namespace}: httproutes"]
    assert routes.message == "may not patch: needed for rollouts"
    assert "apiGroups ['gateway.networking.k8s.io'], resources [httproutes], verbs [get, patch]" in routes.remedy

    seen = examined("watchdog")["model_gateway_default"]
    assert (seen.level, "may not list CronJobs" in seen.message) == ("note", True)


def test_the_watchdog_is_looked_for(pretended: PretendedPods, kubeconfig: str, connection: Callable[..., None]) -> None:
    from kubernetes import client

    extra = {"kind": "gateway_api", "namespace": pretended.namespace, "kubeconfig": kubeconfig}
    connection("model_gateway_default", conn_type="model_gateway", host="gateway", extra=extra)
    assert examined("watchdog")["model_gateway_default"].level == "warn"
    container = {"name": "w", "image": "none", "command": ["python", "-m", "airflow_mlops.cli.cluster_watchdog"]}
    job = {"template": {"spec": {"restartPolicy": "Never", "containers": [container]}}}
    spec = {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": job}}
    version = _version(pretended.client)
    made = {"apiVersion": f"batch/{version}", "kind": "CronJob", "metadata": {"name": "watchdog"}, "spec": spec}
    client.CustomObjectsApi(pretended.client).create_namespaced_custom_object(
        "batch", version, pretended.namespace, "cronjobs", made
    )
    found = examined("watchdog")["model_gateway_default watchdog"]
    assert (found.level, found.message) == ("warn", "it never ran (schedule 0 0 1 1 *)")


def _version(api_client: Any) -> str:
    from kubernetes import client

    minor = client.VersionApi(api_client).get_code().minor
    return "v1beta1" if int(minor.rstrip("+")) < 21 else "v1"
