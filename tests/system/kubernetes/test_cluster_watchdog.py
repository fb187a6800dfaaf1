"""The watchdog of routes in a cluster, with the rights that the chart gives it and no others."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, ObjectKind, connect
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.adapters.traffic.lease_store import LEASES, LeaseRolloutStore
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.testing.rollout import ManualClock
from tests.helm.engine import Helm
from tests.system.kubernetes.definitions import ensure_defined

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]
KIND = "gateway_api"
RBAC = {"Role": "roles", "RoleBinding": "rolebindings"}


@pytest.fixture
def chart(api: Any, namespace: str) -> Iterator[list[dict[str, Any]]]:
    """What the chart makes for a watchdog: its account, role and CronJob; the account and its rights in the cluster."""
    pytest.importorskip("helm_python", reason="there is no Helm engine for this platform")
    helm = Helm(namespace=namespace)
    values = {
        "fullnameOverride": "routes",
        "server": {"image": {"repository": "server"}},
        "watchdog": {"enabled": True, "gateway": {"kind": KIND, "router": {"rule": "predict"}}},
    }
    documents = [one for one in helm.documents(values) if one["metadata"]["name"] == "routes-watchdog"]
    helm.close()
    objects = KubernetesObjects(api.api_client, namespace)
    made = []
    for document in documents:
        if document["kind"] == "ServiceAccount":
            made.append(ObjectKind(group="", version="v1", plural="serviceaccounts", kind="ServiceAccount"))
        elif document["kind"] in RBAC:
            plural = RBAC[document["kind"]]
            made.append(
                ObjectKind(group="rbac.authorization.k8s.io", version="v1", plural=plural, kind=document["kind"])
            )
        else:
            continue
        objects.create(made[-1], document)
    yield documents
    for kind in made:
        objects.delete(kind, "routes-watchdog")


@pytest.fixture
def account(api: Any, namespace: str, chart: list[dict[str, Any]], tmp_path: Path) -> str:
    """A kubeconfig with nothing but the account's token."""
    assert chart
    request = {"spec": {"expirationSeconds": 600, "audiences": None}}
    token = api.create_namespaced_service_account_token("routes-watchdog", namespace, request).status.token
    admin = api.api_client.configuration
    path = tmp_path / "kubeconfig"
    path.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {"name": "c", "cluster": {"server": admin.host, "certificate-authority": admin.ssl_ca_cert}}
                ],
                "users": [{"name": "u", "user": {"token": token}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
                "current-context": "c",
            }
        )
    )
    return str(path)


@pytest.fixture
def rollout(api: Any, namespace: str) -> Iterator[Callable[[str, float], None]]:
    """Begin rollouts whose last verdict is so many seconds old."""
    ensure_defined(api, HTTP_ROUTES, "gateway-api-httproutes.yaml")
    objects = KubernetesObjects(api.api_client, namespace)
    begun = []

    def make(name: str, age: float) -> None:
        begun.append(name)
        rules = [{"name": "login"}, {"name": "predict", "backendRefs": [{"name": f"{name}-v1", "port": 80}]}]
        spec = {"parentRefs": [{"name": "none"}], "hostnames": [f"{name}.test.invalid"], "rules": rules}
        manifest = {"apiVersion": HTTP_ROUTES.api_version, "kind": "HTTPRoute", "metadata": {"name": name}}
        objects.create(HTTP_ROUTES, {**manifest, "spec": spec})
        clock = ManualClock(time.time() - age)
        store, router = LeaseRolloutStore(objects, kind=KIND, clock=clock), GatewayApiRouter(objects, rule="predict")
        lease = store.acquire(name, "dag/run/task/-1", lease_seconds=60)
        view = router.ensure_targets(name, {f"{name}-v2": 80}, fencing_token=lease.token)
        steps = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
        state = begin(spec=steps, model_name=name, candidate=f"{name}-v2", stable=f"{name}-v1", now=clock.time)
        store.save(name, state, token=lease.token, renew=True)
        weights = {f"{name}-v1": 90, f"{name}-v2": 10}
        router.set_weights(name, weights, fencing_token=lease.token, expected_generation=view.generation)

    yield make
    for name in begun:
        objects.delete(HTTP_ROUTES, name)
        objects.delete(LEASES, f"rollout-{name}")


def run(chart: list[dict[str, Any]], kubeconfig: str) -> subprocess.CompletedProcess[str]:
    """Run the CronJob's command with the account's token."""
    (cron,) = (document for document in chart if document["kind"] == "CronJob")
    (container,) = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    command = [sys.executable, *container["command"][1:], *container["args"], "--kubeconfig", kubeconfig]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_the_chart_s_command_gives_back_what_nobody_judges(
    api: Any,
    namespace: str,
    chart: list[dict[str, Any]],
    account: str,
    rollout: Callable[[str, float], None],
) -> None:
    rollout("late", 70.0)
    rollout("judged", 5.0)
    done = run(chart, account)
    reason = "dag/run/task/-1 recorded no verdict until its lease ended"
    assert (done.returncode, done.stderr.strip()) == (0, f"all traffic of late went back to late-v1: {reason}")
    objects = KubernetesObjects(api.api_client, namespace)
    router = GatewayApiRouter(objects, rule="predict")
    assert dict(router.observe("late").weights) == {"late-v1": 100}
    assert dict(router.observe("judged").weights) == {"judged-v1": 90, "judged-v2": 10}
    found = LeaseRolloutStore(objects, kind=KIND).load("late")
    assert found is not None
    assert (found.holder, found.state and found.state.phase) == ("", "rolled_back")
    again = run(chart, account)
    assert (again.returncode, again.stdout.strip()) == (0, "every rollout is decided or still judged")


def test_the_account_may_do_nothing_else(namespace: str, account: str, rollout: Callable[[str, float], None]) -> None:
    rollout("late", 70.0)
    objects = KubernetesObjects(connect(kubeconfig=account), namespace)
    secrets = ObjectKind(group="", version="v1", plural="secrets", kind="Secret")
    manifest = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": "x"}, "spec": {}}
    refused = [
        lambda: objects.list(secrets, {}),
        lambda: objects.list(HTTP_ROUTES, {}),
        lambda: objects.create(LEASES, manifest),
        lambda: objects.delete(LEASES, "rollout-late"),
        lambda: objects.delete(HTTP_ROUTES, "late"),
        lambda: KubernetesObjects(connect(kubeconfig=account), "default").list(LEASES, {}),
    ]
    for call in refused:
        with pytest.raises(PermanentAdapterError, match="403 Forbidden"):
            call()
