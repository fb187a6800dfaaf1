"""Model servers as Deployments of a real cluster, by themselves and through Airflow."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from airflow_mlops.adapters.serving.deployments import DeploymentFleet
from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.adapters.serving.open_inference import InferenceClient
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.manifest import manifest_of
from tests.system.kubernetes.servers import PretendedPods, server_spec, until

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]


def test_a_server_runs_until_it_is_removed_and_asking_again_changes_nothing(cluster, fleet):
    servers, spec = fleet(), server_spec("3")
    assert servers.status(spec.name) is None
    assert servers.spec(spec.name) is None
    servers.ensure(spec)
    assert servers.status(spec.name).phase == "starting"
    status = until(lambda: (found := servers.status(spec.name)).phase == "ready" and found)
    with InferenceClient(f"http://{status.host}:{status.port}", "flights") as client:
        assert client.ask([{"x": 1.0}], [0], "first").server == spec.name
    assert status.restarts == 0
    assert fleet(address="dns").status(spec.name).host == f"flights-v3.{cluster.namespace}.svc"

    pods = {pod.metadata.uid for pod in cluster.pods()}
    servers.ensure(spec)
    fleet(replicas=3).ensure(spec)  # how many there are is not the fleet's once it runs
    assert servers.spec(spec.name) == spec
    assert list(servers.list()) == [spec.name]
    with pytest.raises(PermanentAdapterError, match=r"runs already with fault_delay_ms 0 instead of 50; stop it first"):
        servers.ensure(server_spec("3", fault_delay_ms=50))
    with pytest.raises(
        PermanentAdapterError,
        match=r"by other settings of the fleet: spec.containers\[0\].image '.*' instead of 'other:1'; stop it first",
    ):
        fleet(image="other:1").ensure(spec)
    assert {pod.metadata.uid for pod in cluster.pods()} == pods

    servers.remove(spec.name)
    servers.remove(spec.name)
    assert (servers.status(spec.name), list(servers.list())) == (None, [])
    # The next of the same name waits for nothing.
    servers.ensure(spec)
    until(lambda: servers.status(spec.name).phase == "ready")


def test_the_status_says_what_is_wrong_with_the_pods(fleet):
    fleet(image="none.invalid/mlops-server:9").ensure(server_spec("1"))
    fleet().ensure(server_spec("x"))
    fleet(resources={"requests": {"cpu": "1000"}}).ensure(server_spec("4"))
    servers = fleet()

    def says(name: str, text: str) -> str | None:
        status = servers.status(name)
        return f"{status.phase}: {status.message}" if re.search(text, status.message) else None

    assert until(lambda: says("flights-v1", "cannot be pulled")).startswith("starting: 0 of 1 pods are ready; pod ")
    assert until(lambda: says("flights-v4", "no node takes the pod: .*Insufficient cpu")).startswith("starting: ")
    crash = until(lambda: says("flights-vx", "ended with exit code 1: flights-vx: digest is sha256:0"))
    assert crash.startswith("crashed: 0 of 1 pods are ready; pod flights-vx-")
    # The image is mended in the connection, and the same is asked for again.
    servers.ensure(server_spec("1"))
    until(lambda: servers.status("flights-v1").phase == "ready")


def test_what_somebody_else_deployed_is_seen_and_left_alone(pretended: PretendedPods) -> None:
    pretended.deploy("flights-v1", replicas=2)
    pretended.serve("flights-v1", app="flights-v1")
    servers = DeploymentFleet(pretended.client, FleetSettings(namespace=pretended.namespace, image="none"))
    status = until(lambda: (found := servers.status("flights-v1")).phase == "ready" and found)
    assert status.port == 8080
    assert servers.spec("flights-v1") is None
    assert list(servers.list()) == []
    for change in (lambda: servers.ensure(server_spec("1")), lambda: servers.remove("flights-v1")):
        with pytest.raises(PermanentAdapterError, match=r"Deployment flights-v1 in namespace .* was made by somebody"):
            change()
    pretended.scale("flights-v1", 0)
    until(lambda: servers.status("flights-v1").phase == "stopped")
    pretended.serve("flights-v2", app="flights-v1")
    with pytest.raises(PermanentAdapterError, match=r"Service flights-v2 in namespace .* was made by somebody else"):
        servers.ensure(server_spec("2"))


@pytest.fixture
def gateway(
    cluster: Any, serving: Callable[..., dict[str, Any]], connection: Callable[..., None]
) -> Callable[..., None]:
    """Define the gateway's connection: a cluster where numbers of pods are the weights."""

    def define(**changes: Any) -> None:
        extra = {"kind": "replica_ratio", "namespace": cluster.namespace, "serving": serving(**changes)}
        connection("kubernetes_default", conn_type="kubernetes", extra={"kube_config_path": cluster.kubeconfig})
        connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", extra=extra)

    return define


@pytest.fixture
def model(artifact_root: Any) -> dict[str, Any]:
    """A model whose sample the scripted server answers as it should."""
    folder = artifact_root / "model"
    folder.mkdir()
    (folder / "smoke.json").write_text(json.dumps({"features": [{"x": 1.0}, {"x": 2.0}], "predictions": [0.5, 0.5]}))
    manifest = manifest_of(folder)
    return {"uri": f"file://{folder}", "digest": manifest.digest, "format": "mlflow", "size_bytes": 1}


def test_airflow_starts_checks_and_stops_a_server(gateway, fleet, model, run_dag):
    from airflow.sdk import DAG

    from airflow_mlops.operators.serving import (
        CheckModelServerOperator,
        StartModelServerOperator,
        StopModelServersOperator,
    )

    gateway()
    with DAG(f"serve_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
        started = StartModelServerOperator(task_id="start", model_name="flights", version="3", model=model)
        checked = CheckModelServerOperator(
            task_id="check", server=started.output["server"], model_name="flights", model=model
        )
        checked >> StopModelServersOperator(task_id="stop", model_name="flights")
    run = run_dag(dag)
    assert run.states == {"start": "success", "check": "success", "stop": "success"}
    result = run.xcom("start")
    assert (result["server"], result["port"]) == ("flights-v3", 8080)
    assert re.fullmatch(r"http://10\.\d+\.\d+\.\d+:8080/v2/models/flights/infer", result["url"])
    assert run.xcom("check")["verdict"] == "pass"
    assert run.xcom("stop") == {"stopped": ["flights-v3"], "kept": []}
    assert list(fleet().list()) == []


def test_a_server_that_does_not_get_ready_fails_with_its_pods_trouble(gateway, fleet, model, run_dag):
    from airflow.sdk import DAG

    from airflow_mlops.operators.serving import StartModelServerOperator

    gateway(image="none.invalid/mlops-server:9")
    messages: list[str] = []
    with DAG(f"serve_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
        StartModelServerOperator(
            task_id="start",
            model_name="flights",
            version="3",
            model=model,
            ready_timeout_seconds=5,
            on_failure_callback=lambda context: messages.append(str(context["exception"])),
        )
    assert run_dag(dag).states == {"start": "failed"}
    assert re.search(
        r"'flights-v3' did not become ready within 5 s: it is starting: 0 of 1 pods are ready; pod flights-v3-\S+: the "
        r"image 'none.invalid/mlops-server:9' of container 'server' cannot be pulled",
        messages[0],
    )
