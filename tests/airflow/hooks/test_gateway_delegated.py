"""Connections of kinds whose model servers somebody else runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import yaml

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.hooks.gateway import ModelGatewayHook

pytest.importorskip("kubernetes")

SERVICE = {
    "metadata": {
        "name": "m",
        "generation": 2,
        "resourceVersion": "7",
        "annotations": {"serving.kserve.io/deploymentMode": "Standard"},
    },
    "spec": {"predictor": {"name": "v1"}, "canary": [{"trafficPercent": 0, "predictor": {"name": "v2"}}]},
    "status": {
        "conditions": [{"type": "PredictorReady", "status": "True"}],
        "canaryStatuses": [{"name": "v2", "ready": True, "trafficPercent": 0}],
    },
}


class _Server(BaseHTTPRequestHandler):
    """Answers as an API server with one InferenceService does."""

    def do_GET(self) -> None:
        found: Any = SERVICE if self.path.rpartition("/")[2] == "m" else {"items": [SERVICE]}
        body = json.dumps(found).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def define(connection: Callable[..., None], tmp_path: Path) -> Any:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        cluster = {"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.server_port}"}}
        context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
        config = {
            "clusters": [cluster],
            "contexts": [context],
            "current-context": "c",
            "users": [{"name": "u", "user": {}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **config}))

        def write(**extra: Any) -> None:
            given = {"namespace": "models", "kubeconfig": str(path), **extra}
            connection("model_gateway_default", conn_type="model_gateway", host="models", port=80, extra=given)

        yield write
        server.shutdown()


def test_the_servers_are_those_that_the_objects_name(define: Callable[..., None]) -> None:
    define(kind="kserve")
    hook = ModelGatewayHook()
    fleet = hook.fleet()
    assert list(fleet.list()) == ["m-v1-predictor", "m-v2-predictor"]
    status = fleet.status("m-v2-predictor")
    assert status is not None
    assert (status.phase, status.port) == ("ready", 80)
    assert dict(hook.router().observe("m").weights) == {"m-v1-predictor": 100}


def test_servers_without_requests_are_known_to_who_stops_them(define: Callable[..., None]) -> None:
    from airflow_mlops.operators.serving import _servers_of

    define(kind="kserve")
    assert _servers_of(ModelGatewayHook().fleet(), "m") == ["m-v1-predictor", "m-v2-predictor"]


def test_options_are_those_of_the_kind(define: Callable[..., None]) -> None:
    define(kind="argo_rollouts", router={"rule": "predict"})
    with pytest.raises(SpecificationError, match=r"extra\.router\.rule: .* one of the options of argo_rollouts: name"):
        ModelGatewayHook().router()
    define(kind="kserve", router={"mode": "serverless"})
    with pytest.raises(SpecificationError, match="mode: 'serverless' is not accepted; expected standard or knative"):
        ModelGatewayHook().router()
    define(kind="istio", router={"host": "models", "subset": "v1"})
    with pytest.raises(SpecificationError, match="host, subset"):
        ModelGatewayHook().router()


def test_starting_a_server_says_who_runs_it(define: Callable[..., None]) -> None:
    from airflow_mlops.references import ModelRef
    from airflow_mlops.rollout.serving import ServerSpec

    define(kind="kserve")
    model = ModelRef(uri="file:///models/m", digest=f"sha256:{'0' * 64}", format="mlflow", size_bytes=1)
    with pytest.raises(PermanentAdapterError, match="are run by an InferenceService of KServe"):
        ModelGatewayHook().fleet().ensure(ServerSpec(name="m-v3", model_name="m", version="3", model=model))
