"""A gateway that serves the cluster's HTTPRoutes, and pods that say their name."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES
from airflow_mlops.files import file_lock
from tests.system.kubernetes.conftest import TESTBED
from tests.system.kubernetes.definitions import ensure_defined

ANSWERS = """
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("x-model-version", os.environ["NAME"])
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("", 8080), Answer).serve_forever()
"""


class ServedGateway:
    """Where the gateway answers; what :class:`airflow_mlops.testing.gateway.Traffic` asks."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture(scope="session")
def served_gateway(api: Any) -> ServedGateway:
    """The gateway of MLOPS_GATEWAY_URL, else the test bed's."""
    ensure_defined(api, HTTP_ROUTES, "gateway-api-httproutes.yaml")
    if url := os.environ.get("MLOPS_GATEWAY_URL"):
        return ServedGateway(url)
    if not TESTBED.is_file():
        pytest.skip("no gateway: set MLOPS_GATEWAY_URL to one that serves every HTTPRoute of the cluster")
    with file_lock(Path(tempfile.gettempdir()) / "mlops-test-gateway.lock"):
        done = subprocess.run([TESTBED, "gateway-up"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-2000:]
    return ServedGateway("http://127.0.0.1:8088")


def answering_pods(api: Any, namespace: str, image: str, names: list[str]) -> None:
    """Run a pod behind a Service for each name, and wait until all are ready.

    :param image: one with Python
    """
    for name in names:
        container = {
            "name": "answers",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", ANSWERS],
            "env": [{"name": "NAME", "value": name}],
            "readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1},
            "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        }
        spec = {"containers": [container], "terminationGracePeriodSeconds": 1}
        api.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": {"server": name}}, "spec": spec})
        service = {"selector": {"server": name}, "ports": [{"port": 80, "targetPort": 8080}]}
        api.create_namespaced_service(namespace, {"metadata": {"name": name}, "spec": service})
    deadline = time.monotonic() + 90
    while not all(_ready(api.read_namespaced_pod(name, namespace)) for name in names):
        assert time.monotonic() < deadline, "the pods do not get ready"
        time.sleep(0.2)
    addresses = [api.read_namespaced_service(name, namespace).spec.cluster_ip for name in names]
    while not all(answers(f"http://{address}") for address in addresses):
        assert time.monotonic() < deadline, "the Services do not lead to their pods"
        time.sleep(0.2)


def answers(url: str) -> bool:
    """Tell whether a model server answers there, and no other server does.

    Until the node knows a Service's address, packets to it leave the machine, and who answers outside may hold the
    connection open; so tests ask the Service itself before a gateway may connect to it.
    """
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(urllib.request.Request(url, data=b"{}"), timeout=2) as answer:
            return bool(answer.status == 200 and answer.headers["x-model-version"])
    except OSError:
        return False


def remove_pods(api: Any, namespace: str, names: list[str]) -> None:
    for name in names:
        api.delete_namespaced_pod(name, namespace, grace_period_seconds=0)
        api.delete_namespaced_service(name, namespace)


def _ready(pod: Any) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or ())
