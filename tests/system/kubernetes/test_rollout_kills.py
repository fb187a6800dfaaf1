"""Rollouts in the real cluster under traffic, while processes are killed: the promises hold.

Workers are killed at every boundary of a rollout, and so is what they depend on. The cluster's own processes are shared
with all tests, so these run when no others do; see ``tests/system/run``.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
from airflow_mlops.adapters.traffic.gateway_api import HTTP_ROUTES, GatewayApiRouter
from airflow_mlops.adapters.traffic.lease_store import LeaseRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import MLOpsError
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.gateway import Traffic
from airflow_mlops.testing.invariants import Bounds, violations
from airflow_mlops.testing.traffic_trace import CONTROL, GATEWAY, Recorder, Trace, table
from tests.system.kubernetes.conftest import TESTBED
from tests.system.kubernetes.definitions import ensure_defined
from tests.system.kubernetes.gateway import answers
from tests.system.kubernetes.rollout_worker import PORT

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[3]
URL, ADMIN_URL = "http://127.0.0.1:8088", "http://127.0.0.1:9901"
PROCESSES = Path(os.environ.get("TESTBED_HOME", Path.home() / ".cache" / "testbed")) / "run"
STABLE, GOOD, BAD = "m-v1", "m-v2", "m-v3"
LEASE_SECONDS, WATCHDOG_SECONDS = 15.0, 2.0
# The watchdog's calls to an API server that is away take seconds, and so does the gateway's next look at its routes.
BOUNDS = Bounds(lease_seconds=LEASE_SECONDS, watchdog_seconds=WATCHDOG_SECONDS, propagation_seconds=4.0)
SPEC = {
    "steps": [
        {"weight_percent": 20, "min_seconds": 2, "min_requests": 30},
        {"weight_percent": 50, "min_seconds": 2, "min_requests": 60},
    ],
    "error_rate": {"max_increase": 0.1},
    "look_seconds": 0.4,
    "step_timeout_seconds": 60,
    "max_unknown_seconds": 8,
}
SERVER = """
import random, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
name, rate, port = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
class Handler(BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", 65536
    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(500 if random.random() < rate else 200)
        self.send_header("x-model-version", name)
        self.send_header("content-length", "0")
        self.end_headers()
    def log_message(self, *_):
        pass
ThreadingHTTPServer.request_queue_size = 128
ThreadingHTTPServer(("", port), Handler).serve_forever()
"""
#: Where workers are killed, one after the other, in one rollout: the n-th call of a name in that process's life.
PLACES = [
    ("acquire", 1, "before"),
    ("acquire", 1, "after"),
    ("ensure_targets", 1, "after"),
    ("save", 1, "before"),
    ("save", 1, "after"),
    ("set_weights", 1, "before"),
    ("set_weights", 1, "after"),
    ("save", 2, "before"),
    ("save", 3, "after"),
    ("set_weights", 2, "before"),
    ("set_weights", 2, "after"),
    ("release", 1, "before"),
    ("release", 1, "after"),
]


@dataclass
class Arena:
    """A route of the cluster's gateway, with Services behind it, and a watchdog."""

    objects: KubernetesObjects
    cluster: Any
    kubeconfig: str
    no_metrics: Path
    log: Path

    @property
    def url(self) -> str:
        return URL

    @property
    def router(self) -> GatewayApiRouter:
        return GatewayApiRouter(self.objects)

    @property
    def store(self) -> LeaseRolloutStore:
        return LeaseRolloutStore(self.objects, kind="gateway_api")

    def route(self) -> str:
        """Make a route whose traffic goes to the stable server, and wait until it does."""
        name = f"m-{uuid.uuid4().hex[:6]}"
        rule = {
            "matches": [{"path": {"type": "PathPrefix", "value": f"/v2/models/{name}"}}],
            "backendRefs": [{"name": STABLE, "port": PORT, "weight": 100}],
        }
        spec = {"parentRefs": [{"name": "testbed"}], "rules": [rule]}
        manifest = {
            "apiVersion": HTTP_ROUTES.api_version,
            "kind": "HTTPRoute",
            "metadata": {"name": name},
            "spec": spec,
        }
        self.objects.create(HTTP_ROUTES, manifest)
        # Known, but without traffic: the gateway has connected to a Service before it gets requests.
        self.router.ensure_targets(name, {STABLE: PORT, GOOD: PORT, BAD: PORT}, fencing_token=0)
        until(lambda: served(name), 30)
        return name

    def worker(
        self, route: str, *, candidate: str = GOOD, kill: tuple[str, int, str] | None = None, **spec: Any
    ) -> subprocess.Popen[bytes]:
        """Start a process that drives the rollout."""
        order = {
            "kubeconfig": self.kubeconfig,
            "namespace": self.objects.namespace,
            "route": route,
            "candidate": candidate,
            "holder": "release/monday/canary/-1",
            "lease_seconds": LEASE_SECONDS,
            "spec": {**SPEC, **spec},
            "admin_url": ADMIN_URL,
            "no_metrics": str(self.no_metrics),
            "kill": kill,
        }
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "tests.system.kubernetes.rollout_worker", json.dumps(order)],
                stdout=log, stderr=log, cwd=ROOT,
            )  # fmt: skip

    def weight(self, route: str, target: str) -> int:
        return self.router.observe(route).weights.get(target, 0)

    def token(self, route: str) -> int:
        annotations = self.objects.get(HTTP_ROUTES, route)["metadata"].get("annotations", {})  # type: ignore[index]
        return int(annotations.get("mlops.airflow.apache.org/token", 0))

    def ready(self) -> dict[str, str]:
        """Pods that are ready: server to the pod's identity."""
        return {
            pod.metadata.labels["app"]: pod.metadata.uid
            for pod in self.cluster.pods()
            if any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions or ())
        }

    @contextlib.contextmanager
    def watched(self, route: str) -> Iterator[None]:
        """Let a watchdog look at the route now and then, as a CronJob does."""
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(WATCHDOG_SECONDS):
                with contextlib.suppress(MLOpsError):
                    return_expired(route, router=self.router, store=self.store, clock=SystemClock())

        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        yield
        stop.set()
        thread.join()

    @contextlib.contextmanager
    def recorded(self, route: str) -> Iterator[Recorder]:
        """Send requests and record."""
        with (
            Traffic(self, route, rate=80) as traffic,  # type: ignore[arg-type]
            self.watched(route),
            Recorder(
                traffic, self.router, self.store, route,
                every_seconds=0.15, token=lambda: self.token(route), servers=self.servers,
            ) as recorder,
        ):  # fmt: skip
            yield recorder
            time.sleep(1.0)

    def servers(self) -> dict[str, str]:
        return self.ready()


@pytest.fixture(scope="module")
def arena(
    kubeconfig: str, api: Any, namespace: str, image: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Arena]:
    if not TESTBED.is_file() or not (PROCESSES / "kube-apiserver.pid").exists():
        pytest.skip("the cluster is not the test bed's: nobody says which processes to kill")
    from tests.system.kubernetes.conftest import Cluster

    run_testbed("gateway-up")
    ensure_defined(api, HTTP_ROUTES, "gateway-api-httproutes.yaml")
    cluster = Cluster(kubeconfig=kubeconfig, namespace=namespace, api=api)
    for name, rate in ((STABLE, 0.0), (GOOD, 0.0), (BAD, 0.5)):
        container = {
            "name": "server",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "-c", SERVER, name, str(rate), str(PORT)],
        }
        labels = {"app": name}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0}
        api.create_namespaced_pod(namespace, {"metadata": {"name": name, "labels": labels}, "spec": spec})
        ports = [{"port": PORT, "targetPort": PORT}]
        api.create_namespaced_service(
            namespace, {"metadata": {"name": name}, "spec": {"selector": labels, "ports": ports}}
        )
    folder = tmp_path_factory.mktemp("arena")
    objects = KubernetesObjects(api.api_client, namespace)
    arena = Arena(objects, cluster, kubeconfig, folder / "no-metrics", folder / "worker.log")
    until(lambda: len(arena.ready()) == 3, 90)
    addresses = [api.read_namespaced_service(name, namespace).spec.cluster_ip for name in (STABLE, GOOD, BAD)]
    until(lambda: all(answers(f"http://{address}:{PORT}") for address in addresses), 30)
    yield arena
    for route in objects.list(HTTP_ROUTES, {}):
        objects.delete(HTTP_ROUTES, route["metadata"]["name"])
    for name in (STABLE, GOOD, BAD):
        api.delete_namespaced_service(name, namespace)
    cluster.delete_pods()


@pytest.fixture(autouse=True)
def _whole() -> Iterator[None]:
    """Leave the cluster running, whatever a test did to it."""
    yield
    for process, command in (("kube-apiserver", "kube-up"), ("kubelet", "kube-up"), ("gateway", "gateway-up")):
        if PROCESSES.is_dir() and not runs(process):
            run_testbed(command)


def run_testbed(*arguments: str) -> None:
    done = subprocess.run([TESTBED, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def runs(process: str) -> bool:
    """Whether one of the test bed's processes is there, awake again if it was stopped."""
    import psutil

    try:
        found = psutil.Process(pid_of(process))
        found.resume()
        return bool(found.status() != psutil.STATUS_ZOMBIE)
    except (psutil.NoSuchProcess, FileNotFoundError):
        return False


def pid_of(process: str) -> int:
    return int((PROCESSES / f"{process}.pid").read_text())


def until(what: Callable[[], Any], seconds: float) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"not within {seconds} s"
        time.sleep(0.05)


def served(route: str) -> bool:
    return answers(f"{URL}/v2/models/{route}/infer")


def judge(what: str, recorder: Recorder, candidate: str = GOOD) -> Trace:
    """Print what happened, and check that it broke no promise."""
    trace = recorder.trace()
    failed = sum(answer.status not in {200, 500} for answer in trace.answers)
    seconds = trace.until - trace.samples[0].at
    state = trace.samples[-1].state
    end = "nothing" if state is None else state.phase
    print(f"\n{what}: {end}; {len(trace.answers)} requests in {seconds:.0f} s, {failed} failed")
    print("\n".join(table(trace, candidate)))
    assert violations(trace, BOUNDS) == []
    assert len(trace.answers) >= 50 * seconds - 100 or GATEWAY in {fault.what for fault in trace.faults}
    return trace


def phase(trace: Trace) -> str:
    state = trace.samples[-1].state
    assert state is not None
    return state.phase


@pytest.mark.parametrize("candidate", [GOOD, BAD])
def test_workers_that_are_killed_at_every_boundary_end_the_rollout_together(arena: Arena, candidate: str) -> None:
    route = arena.route()
    killed = 0
    with arena.recorded(route) as recorder:
        for kill in (*PLACES, None):
            with arena.worker(route, candidate=candidate, kill=kill) as worker:
                code = worker.wait(60)
            killed += code == -signal.SIGKILL
            assert code in {0, -signal.SIGKILL}, arena.log.read_text()[-3000:]
    trace = judge(f"{killed} workers killed", recorder, candidate)
    assert killed >= len(PLACES) - 4  # the rollout may be decided before the last of them gets there
    assert phase(trace) == ("promoted" if candidate == GOOD else "rolled_back")


def test_a_worker_that_never_comes_back_leaves_the_traffic_to_the_watchdog(arena: Arena) -> None:
    route = arena.route()
    with arena.recorded(route) as recorder:
        with arena.worker(route, kill=("set_weights", 2, "after")) as worker:
            assert worker.wait(60) == -signal.SIGKILL
        assert arena.weight(route, GOOD) == 50
        until(lambda: arena.weight(route, GOOD) == 0, BOUNDS.max_unjudged_seconds)
    trace = judge("the only worker killed", recorder)
    state = trace.samples[-1].state
    assert state is not None
    assert "recorded no verdict until its lease ended" in state.reason


def end_of(arena: Arena, worker: subprocess.Popen[bytes], *, may_lose: bool = False) -> None:
    code = worker.wait(90)
    said = arena.log.read_text()[-3000:]
    assert code == 0 or (may_lose and "the lease was lost to 'watchdog'" in said), said


def test_a_rollback_under_traffic(arena: Arena) -> None:
    route = arena.route()
    with arena.recorded(route) as recorder, arena.worker(route, candidate=BAD) as worker:
        end_of(arena, worker)
    assert phase(judge("a candidate that fails", recorder, BAD)) == "rolled_back"


@pytest.mark.parametrize("how", ["stopped", "killed"])
def test_the_api_server_is_away_for_a_while(arena: Arena, how: str) -> None:
    route = arena.route()
    with arena.recorded(route) as recorder, arena.worker(route) as worker:
        until(lambda: arena.weight(route, GOOD) == 20, 30)
        with recorder.fault(CONTROL):
            if how == "stopped":
                os.kill(pid_of("kube-apiserver"), signal.SIGSTOP)
                time.sleep(5)
                os.kill(pid_of("kube-apiserver"), signal.SIGCONT)
            else:
                os.kill(pid_of("kube-apiserver"), signal.SIGKILL)
                time.sleep(1)
                run_testbed("kube-up")
        # How long the new one takes to come up decides: what is unknown for too long goes back, by the worker or,
        # after the end of the lease, by the watchdog.
        end_of(arena, worker, may_lose=how == "killed")
    assert phase(judge(f"API server {how}", recorder)) in {"promoted", "rolled_back" if how == "killed" else "promoted"}


def test_the_kubelet_is_killed(arena: Arena) -> None:
    route = arena.route()
    with arena.recorded(route) as recorder, arena.worker(route) as worker:
        until(lambda: arena.weight(route, GOOD) == 20, 30)
        os.kill(pid_of("kubelet"), signal.SIGKILL)
        time.sleep(2)
        run_testbed("kube-up")
        end_of(arena, worker)
    assert phase(judge("kubelet killed", recorder)) == "promoted"


def test_the_gateway_is_killed(arena: Arena) -> None:
    import psutil

    route = arena.route()
    with arena.recorded(route) as recorder, arena.worker(route) as worker:
        until(lambda: arena.weight(route, GOOD) == 20, 30)
        time.sleep(1.5)
        gateway = psutil.Process(pid_of("gateway"))
        with recorder.fault(GATEWAY):
            for process in (*gateway.children(recursive=True), gateway):
                process.kill()
            time.sleep(0.5)
            run_testbed("gateway-up")
            until(lambda: served(route), 30)
        end_of(arena, worker)
    assert phase(judge("gateway killed", recorder)) == "promoted"


@pytest.mark.parametrize(("seconds", "end"), [(3.0, "promoted"), (20.0, "rolled_back")])
def test_the_measurements_are_away_for_a_while(arena: Arena, seconds: float, end: str) -> None:
    route = arena.route()
    with arena.recorded(route) as recorder, arena.worker(route) as worker:
        until(lambda: arena.weight(route, GOOD) == 20, 30)
        arena.no_metrics.touch()
        with contextlib.suppress(subprocess.TimeoutExpired):
            worker.wait(seconds)
        arena.no_metrics.unlink()
        end_of(arena, worker)
    assert phase(judge(f"no measurements for {seconds:g} s", recorder)) == end
