"""Model servers of a cluster as documents: what is asked for, and what a Deployment's status says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.adapters.serving.server_manifest import deployment, service
from airflow_mlops.adapters.serving.server_status import ROUTE_ANNOTATION, phase_of, port_of, since_of
from airflow_mlops.codec import decode
from airflow_mlops.container.server import _parser
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.loading import Loading, LoadingPolicy
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec

CHART = Path(__file__).parents[3] / "helm" / "airflow-mlops" / "templates" / "model-servers.yaml"
SETTINGS = {
    "namespace": "models",
    "image": "mlops-server:1",
    "artifacts": {"mount_path": "/srv/mlops", "claim": "store"},
}


def settings(**changes: Any) -> FleetSettings:
    return decode(FleetSettings, SETTINGS | changes, where="extra.serving")


def spec(**changes: Any) -> ServerSpec:
    model = ModelRef(uri="file:///srv/mlops/models/3", digest="sha256:" + "a" * 64, format="mlflow", size_bytes=1)
    return ServerSpec(**({"name": "flights-v3", "model_name": "flights", "version": "3", "model": model} | changes))


def container(document: dict[str, Any]) -> dict[str, Any]:
    (only,) = document["spec"]["template"]["spec"]["containers"]
    return only


def test_the_server_understands_its_arguments():
    loading = Loading(policy=LoadingPolicy(trusted_types=("my.Type",)))
    document = deployment(spec(loading=loading, fault_error_rate=0.25, fault_delay_ms=30), settings())
    options = _parser().parse_args(container(document)["args"])
    assert (options.name, options.model_name, options.version, options.port) == ("flights-v3", "flights", "3", 8080)
    assert (str(options.model_dir), options.host, options.batch_window_ms) == ("/srv/mlops/models/3", "0.0.0.0", 5.0)
    assert (options.fault_error_rate, options.fault_delay_ms) == (0.25, 30)
    assert decode(Loading, json.loads(options.loading)) == loading


def test_the_chart_asks_for_the_same_arguments_labels_and_probes():
    """Whoever moves from the chart to the fleet finds the same servers, network policies and monitors."""
    text = CHART.read_text()
    document = deployment(spec(), settings())
    assert re.findall(r"- (--[a-z-]+)=", text) == [one.split("=")[0] for one in container(document)["args"]]
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert set(re.findall(r"^ {8}(airflow-mlops/[a-z-]+):", text, re.MULTILINE)) == {
        name for name in labels if name.startswith("airflow-mlops/")
    }
    assert labels["app.kubernetes.io/component"] == "server"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        path = container(document)[probe]["httpGet"]["path"]
        assert re.search(rf"{probe}:\n +httpGet: {{path: {path}, port: http}}", text)


def test_the_service_selects_the_pods_and_goes_with_the_deployment():
    asked = deployment(spec(), settings())
    served = service(spec(), settings(), {"metadata": {"uid": "u1"}})
    labels = asked["spec"]["template"]["metadata"]["labels"]
    assert served["spec"]["selector"].items() <= labels.items()
    assert served["spec"]["selector"] == asked["spec"]["selector"]["matchLabels"]
    assert served["metadata"]["ownerReferences"][0]["uid"] == "u1"
    assert port_of(asked, served) == port_of(asked, None) == 8080


def test_the_log_of_predictions_is_in_the_store_if_that_is_a_claim():
    def mounts(**changes: Any) -> dict[str, Any]:
        return {one["mountPath"]: one for one in container(deployment(spec(), settings(**changes)))["volumeMounts"]}

    assert mounts()["/predictions"] == {"name": "artifacts", "mountPath": "/predictions", "subPath": "predictions"}
    assert mounts()["/srv/mlops"]["readOnly"]
    assert mounts(prediction_log=None)["/predictions"]["name"] == "predictions"
    host = {"mount_path": "/srv/mlops", "host_path": "/srv/mlops"}
    assert mounts(artifacts=host)["/predictions"]["name"] == "predictions"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": ""}, "serving.image: '' is not accepted; expected an image from docker/server"),
        ({"namespace": "My models"}, "serving.namespace: 'My models' is not accepted"),
        ({"replicas": 0}, "serving.replicas: 0 is not accepted; expected 1 or more"),
        ({"port": 80}, "serving.port: 80 is not accepted"),
        ({"user": 0}, "serving.user: 0 is not accepted"),
        ({"resources": {"request": {"cpu": "1"}}}, "serving.resources.request"),
        ({"prediction_log": "../log"}, "serving.prediction_log: '../log' is not accepted"),
        ({"artifacts": {"mount_path": "/a", "claim": "c", "read_only": True}}, "serving.artifacts.read_only: True"),
        ({"artifacts": {"mount_path": "a", "claim": "c"}}, "PodVolume.mount_path: 'a'"),
        ({"replica": 2}, "extra.serving.replica"),
        ({"image_pull_policy": "Sometimes"}, "extra.serving.image_pull_policy"),
    ],
)
def test_wrong_settings_are_named(changes, message):
    with pytest.raises(SpecificationError, match=re.escape(message)):
        settings(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "3-flights"},
            "ServerSpec.name: '3-flights' is not accepted; expected a name that begins with a letter",
        ),
        ({"model": "s3://b/m"}, "ServerSpec.model.uri: 's3://b/m' is not accepted; expected a directory that the pods"),
        ({"model": "file:///home/m"}, "expected a directory below serving.artifacts.mount_path, /srv/mlops"),
    ],
)
def test_servers_that_no_pod_can_be_are_refused(changes, message):
    if "model" in changes:
        reference = ModelRef(uri=changes["model"], digest="sha256:" + "a" * 64, format="mlflow", size_bytes=1)
        changes = {"model": reference}
    with pytest.raises(SpecificationError, match=re.escape(message)):
        deployment(spec(**changes), settings())


def seen(*, wanted: int = 2, available: int = 0, observed: int = 3, **annotations: str) -> dict[str, Any]:
    document = deployment(spec(), settings(replicas=max(wanted, 1)))
    document["metadata"] |= {"generation": 3, "creationTimestamp": "2026-01-02T03:04:05Z"}
    document["metadata"]["annotations"] |= annotations
    document["spec"]["replicas"] = wanted
    document["status"] = {
        "observedGeneration": observed,
        "replicas": wanted,
        "updatedReplicas": wanted,
        "availableReplicas": available,
    }
    return document


def pod(state: dict[str, Any], *, restarts: int = 0, phase: str = "Running", **status: Any) -> dict[str, Any]:
    found = {"name": "server", "image": "mlops-server:1", "restartCount": restarts} | state
    return {"metadata": {"name": "flights-v3-x"}, "status": {"phase": phase, "containerStatuses": [found]} | status}


CRASHED = {
    "state": {"waiting": {"reason": "CrashLoopBackOff"}},
    "lastState": {"terminated": {"exitCode": 1, "message": "flights-v3: digest is sha256:b"}},
}
KILLED = {"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}
NO_IMAGE = {"state": {"waiting": {"reason": "ErrImagePull", "message": "not found"}}}
NO_NODE = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes: Insufficient memory"}]}


@pytest.mark.parametrize(
    ("document", "pods", "phase", "message"),
    [
        (seen(available=2), [], "ready", ""),
        (seen(available=2, observed=2), [], "starting", "the cluster has not begun with it"),
        (seen(available=1), [], "starting", "1 of 2 pods are ready; its pods are being made"),
        (
            seen(),
            [pod({"state": {"running": {}}})],
            "starting",
            "its model is not loaded, or its readiness probe fails",
        ),
        (seen(), [pod(CRASHED, restarts=2)], "crashed", "x ended with exit code 1: flights-v3: digest is sha256:b"),
        (seen(), [pod(KILLED)], "crashed", "pod flights-v3-x ran out of memory and was killed (OOMKilled)"),
        (
            seen(available=1),
            [pod(CRASHED)],
            "starting",
            "1 of 2 pods are ready; pod flights-v3-x ended with exit code 1",
        ),
        (
            seen(),
            [pod(NO_IMAGE, phase="Pending")],
            "starting",
            "'mlops-server:1' of container 'server' cannot be pulled",
        ),
        (seen(), [pod({}, phase="Pending", **NO_NODE)], "starting", "no node takes the pod: 0/1 nodes: Insufficient"),
        (seen(wanted=0), [], "stopped", "it is scaled to 0 pods"),
        (seen(wanted=0, **{ROUTE_ANNOTATION: "flights"}), [], "ready", "route 'flights' decides how many pods it has"),
    ],
)
def test_the_status_says_how_it_is_and_why(document, pods, phase, message):
    found, said, restarts = phase_of(document, pods, container="server")
    assert found == phase
    assert message in said
    assert restarts == max((one["status"]["containerStatuses"][0]["restartCount"] for one in pods), default=0)


def test_a_pod_that_cannot_be_made_is_told_in_the_controllers_words():
    document = seen()
    document["status"]["conditions"] = [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: models"},
        {"type": "Available", "status": "False", "lastTransitionTime": "2026-01-02T03:05:05Z"},
    ]
    assert phase_of(document, [], container=None)[1].endswith("pods cannot be made: exceeded quota: models")
    assert since_of(document) - since_of(seen()) == 60.0
