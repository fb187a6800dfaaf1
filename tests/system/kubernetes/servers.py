"""Model servers for tests in a cluster: scripted ones in real pods, and pods that the test itself calls ready."""

from __future__ import annotations

import contextlib
import copy
import http.client
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import pytest
from urllib3.exceptions import HTTPError

from airflow_mlops.adapters.serving.deployments import DeploymentFleet
from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.codec import decode
from airflow_mlops.files import atomic_write_json
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec

#: Takes the model server's arguments and answers 0.5 to everything; a version that is no number does not load.
SCRIPT = """
import argparse, json, signal, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
parser = argparse.ArgumentParser()
for name in ("name", "model-name", "version", "model-dir"):
    parser.add_argument("--" + name)
parser.add_argument("--port", type=int)
options, _ = parser.parse_known_args()
if not options.version.isdecimal():
    sys.exit(options.name + ": digest is sha256:0, but sha256:1 was expected; the content changed")

lock, answered = threading.Lock(), 0

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        text = ""
        if self.path == "/metrics":
            whose = 'model="%s",version="%s"' % (options.model_name, options.version)
            text = "mlops_model_request_seconds_count{%s} %d\\n" % (whose, answered)
        self.reply(text.encode(), "text/plain; version=0.0.4")

    def do_POST(self):
        global answered
        asked = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))) or "{}")
        rows = asked["inputs"][0]["shape"][0] if "inputs" in asked else 1
        outputs = [{"name": "probability", "datatype": "FP64", "shape": [rows], "data": [0.5] * rows}]
        body = json.dumps({"outputs": outputs, "parameters": {"server": options.name}}).encode()
        with lock:
            answered += 1
        self.reply(body, "application/json")

    def reply(self, body, kind):
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass

class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128

server = Server(("", options.port), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
server.server_close()
"""

WAIT_SECONDS = 90.0


def until(condition: Callable[[], Any], seconds: float = WAIT_SECONDS) -> Any:
    """Return what the condition returns once it is true."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.2)
    return found


def server_spec(version: str, model: str = "flights", **changes: Any) -> ServerSpec:
    """Return a server of a model that the scripted server never reads."""
    reference = ModelRef(uri=f"file:///models/{version}", digest="sha256:" + "a" * 64, format="mlflow", size_bytes=1)
    return ServerSpec(
        **({"name": f"{model}-v{version}", "model_name": model, "version": version, "model": reference} | changes)
    )


@pytest.fixture
def serving(cluster: Any, image: str) -> Callable[..., dict[str, Any]]:
    """What a connection's ``serving`` says for scripted servers."""

    def build(**changes: Any) -> dict[str, Any]:
        return {
            "namespace": cluster.namespace,
            "image": image,
            "command": ["python3", "-c", SCRIPT],
            "resources": {"requests": {"cpu": "10m", "memory": "24Mi"}},
            "drain_seconds": 2,
            "address": "ip",
        } | changes

    return build


@pytest.fixture
def fleet(cluster: Any, serving: Callable[..., dict[str, Any]]) -> Iterator[Callable[..., DeploymentFleet]]:
    """Fleets of the namespace; everything that they made is removed afterwards."""

    def build(**changes: Any) -> DeploymentFleet:
        return DeploymentFleet(cluster.api.api_client, decode(FleetSettings, serving(**changes)))

    yield build
    sweep(cluster)


def sweep(cluster: Any) -> None:
    """Remove all Deployments, Services and Leases of the namespace."""
    from kubernetes.client import AppsV1Api, CoordinationV1Api
    from kubernetes.client.exceptions import ApiException

    AppsV1Api(cluster.api.api_client).delete_collection_namespaced_deployment(
        cluster.namespace, propagation_policy="Background"
    )
    CoordinationV1Api(cluster.api.api_client).delete_collection_namespaced_lease(cluster.namespace)
    for service in cluster.api.list_namespaced_service(cluster.namespace).items:
        with contextlib.suppress(ApiException):  # its Deployment took it along
            cluster.api.delete_namespaced_service(service.metadata.name, cluster.namespace)
    until(lambda: not AppsV1Api(cluster.api.api_client).list_namespaced_replica_set(cluster.namespace).items)
    cluster.delete_pods()


class PretendedPods(threading.Thread):
    """Plays the node: the namespace's pods, which no node takes, are called ready.

    :param stuck: names of Deployments whose new pods never get ready
    """

    def __init__(self, api: Any, namespace: str) -> None:
        from kubernetes.client import AppsV1Api

        super().__init__(daemon=True)
        self.client = api.api_client
        self.namespace = namespace
        self._api = api
        self._apps = AppsV1Api(api.api_client)
        self._stop_asked = threading.Event()
        self.stuck: set[str] = set()

    def run(self) -> None:
        from kubernetes.client.exceptions import ApiException

        ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        while not self._stop_asked.wait(0.05):
            for pod in self._api.list_namespaced_pod(self.namespace).items:
                conditions = {one.type: one.status for one in pod.status.conditions or ()}
                if conditions.get("Ready") != "True" and pod.metadata.labels.get("app") not in self.stuck:
                    with contextlib.suppress(ApiException):  # it is gone
                        self._api.patch_namespaced_pod_status(pod.metadata.name, self.namespace, ready)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()

    def deploy(self, name: str, *, replicas: int = 0, **labels: str) -> None:
        """Make a Deployment of pods that no node takes."""
        self._apps.create_namespaced_deployment(
            self.namespace,
            {
                "metadata": {"name": name},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": {"app": name}},
                    "template": {
                        "metadata": {"labels": {"app": name, **labels}},
                        "spec": {
                            "nodeSelector": {"mlops-test/none": "true"},
                            "terminationGracePeriodSeconds": 0,
                            "containers": [{"name": "server", "image": "none"}],
                        },
                    },
                },
            },
        )

    def serve(self, name: str, **selector: str) -> None:
        """Make a Service."""
        self._api.create_namespaced_service(
            self.namespace,
            {"metadata": {"name": name}, "spec": {"selector": selector, "ports": [{"port": 8080}]}},
        )

    def scale(self, name: str, replicas: int) -> None:
        """Be the other hand."""
        self._apps.patch_namespaced_deployment(name, self.namespace, {"spec": {"replicas": replicas}})

    def counts(self, *names: str) -> list[int]:
        """Return how many pods these Deployments ask for."""
        found = self._apps.list_namespaced_deployment(self.namespace).items
        asked = {one.metadata.name: one.spec.replicas for one in found}
        return [asked[name] for name in names]


@pytest.fixture(scope="module")
def pretended(kubeconfig: str, api: Any) -> Iterator[PretendedPods]:
    """A namespace of its own, whose pods are called ready; what tests leave there goes with it."""
    from kubernetes.client import V1Namespace, V1ObjectMeta

    name = f"mlops-test-{uuid.uuid4().hex[:8]}"
    api.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name)))
    until(lambda: api.list_namespaced_service_account(name).items)  # pods are refused before it exists
    playing = PretendedPods(api, name)
    playing.start()
    yield playing
    playing.stop()
    api.delete_namespace(name)


def client_with(pretended: PretendedPods, rules: dict[str, list[str]]) -> Any:
    """Return a client that may do only these things in the namespace: ``{"apps/deployments": ["get"]}``."""
    from kubernetes import client

    name = f"limited-{uuid.uuid4().hex[:8]}"
    core, rights = client.CoreV1Api(pretended.client), client.RbacAuthorizationV1Api(pretended.client)
    core.create_namespaced_service_account(pretended.namespace, {"metadata": {"name": name}})
    allowed = [
        {"apiGroups": [kind.rpartition("/")[0]], "resources": [kind.rpartition("/")[2]], "verbs": verbs}
        for kind, verbs in rules.items()
    ]
    rights.create_namespaced_role(pretended.namespace, {"metadata": {"name": name}, "rules": allowed})
    binding = {
        "metadata": {"name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": pretended.namespace}],
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
    }
    rights.create_namespaced_role_binding(pretended.namespace, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = core.create_namespaced_service_account_token(name, pretended.namespace, request).status.token
    configuration = copy.copy(pretended.client.configuration)
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"authorization": f"Bearer {token}"}
    return client.ApiClient(configuration)


class Discovery(threading.Thread):
    """Keeps a file of the addresses of a namespace's pods for Prometheus, since Debian's knows nothing of clusters."""

    def __init__(self, cluster: Any, file: Path) -> None:
        super().__init__(daemon=True)
        self._cluster, self._file = cluster, file
        self._stop_asked = threading.Event()

    @property
    def configuration(self) -> dict[str, Any]:
        """What Prometheus reads."""
        return {"file_sd_configs": [{"files": [str(self._file)], "refresh_interval": "1s"}]}

    def run(self) -> None:
        while not self._stop_asked.wait(0.2):
            with contextlib.suppress(HTTPError):  # the cluster does not answer just now
                addresses = sorted(f"{pod.status.pod_ip}:8080" for pod in self._cluster.pods() if pod.status.pod_ip)
                atomic_write_json(self._file, [{"targets": addresses}])

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        self.join()


class Clients:
    """A steady stream of requests to a Service's address, each over a connection of its own.

    :param rate: requests per second
    """

    def __init__(self, host: str, port: int, *, rate: float = 80.0, workers: int = 4) -> None:
        self._address = (host, port)
        self._pause = workers / rate
        self._stop_asked = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(workers)]
        self.answers: list[tuple[float, str]] = []
        self.failures: list[tuple[float, str]] = []

    def _run(self) -> None:
        due = time.monotonic()
        while not self._stop_asked.is_set():
            due = max(due + self._pause, time.monotonic() - 1.0)
            try:
                self.answers.append((time.time(), self._ask()))
            except (OSError, ValueError, http.client.HTTPException) as error:
                self.failures.append((time.time(), repr(error)))
            self._stop_asked.wait(max(0.0, due - time.monotonic()))

    def _ask(self) -> str:
        connection = http.client.HTTPConnection(*self._address, timeout=10)
        try:
            connection.request("POST", "/v2/models/flights/infer", body=b"{}")
            answer = connection.getresponse()
            document = json.loads(answer.read())
            if answer.status != 200:
                raise ValueError(f"status {answer.status}")
            return str(document["parameters"]["server"])
        finally:
            connection.close()

    def watch(self, seconds: float) -> Counter[str]:
        """Count the answers of each server for so long, from now."""
        began = time.time()
        time.sleep(seconds)
        return Counter(server for at, server in list(self.answers) if at >= began)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop_asked.set()
        for thread in self._threads:
            thread.join(20)
