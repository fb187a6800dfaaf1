"""One process of a running stack is killed at a boundary of a rollout, under traffic: the promises hold.

By default a few cases run, each costs half a minute; ``MLOPS_KILLS=all`` runs every fault at every boundary and prints
the whole table.
"""

from __future__ import annotations

import json
import os
import signal
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.codec import encode
from airflow_mlops.local.environments import PYTHON_VARIABLE
from airflow_mlops.local.ports import can_bind
from airflow_mlops.local.settings import Ports
from airflow_mlops.local.state import read_state
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.testing.gateway import ScriptedServer, Traffic, scripted_server
from airflow_mlops.testing.invariants import Bounds, violations
from airflow_mlops.testing.traffic_trace import GATEWAY, Recorder, table
from demo.airflow_api import AirflowApi
from demo.faults import Assassin
from demo.stack import Stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

STABLE, CANDIDATE = "drill-v1", "drill-v2"
MAX_UNKNOWN_SECONDS = 60
# The operator's reserve for a restart of a worker, and the embedded watchdog's period.
BOUNDS = Bounds(lease_seconds=MAX_UNKNOWN_SECONDS + 120, watchdog_seconds=5)
DAG_FILE = f"""
    from datetime import timedelta

    from airflow.sdk import DAG

    from airflow_mlops.operators.rollout import CanaryRolloutOperator

    SPEC = {{
        "steps": [
            {{"weight_percent": 20, "min_seconds": 3, "min_requests": 40}},
            {{"weight_percent": 50, "min_seconds": 3, "min_requests": 80}},
        ],
        "error_rate": {{"max_increase": 0.08}},
        "look_seconds": 0.5,
        "step_timeout_seconds": 120,
        "max_unknown_seconds": {MAX_UNKNOWN_SECONDS},
    }}
    for deferrable in (True, False):
        with DAG("drill" if deferrable else "drill_in_worker", schedule=None, params={{"route": "drill"}}) as dag:
            CanaryRolloutOperator(
                task_id="canary",
                model_name="{{{{{{{{ params.route }}}}}}}}",
                candidate="{CANDIDATE}",
                spec=SPEC,
                gateway_conn_id="drill",
                deferrable=deferrable,
                retries=3,
                retry_delay=timedelta(seconds=1),
            )
        globals()[dag.dag_id] = dag
"""

VICTIMS = {
    "triggerer": "airflow-triggerer",
    "scheduler": "airflow-scheduler",
    "API server": "airflow-api-server",
    "DAG processor": "airflow-dag-processor",
    "worker": "worker",
    "gateway": "envoy",
}
BOUNDARIES: dict[str, Callable[[RolloutState, Mapping[str, int]], bool]] = {
    "first weights": lambda state, weights: weights.get(CANDIDATE) == 20,
    "second step stored": lambda state, weights: state.step_index == 1,
    "decided": lambda state, weights: state.finished,
}
FEW = [("triggerer", "second step stored", 0.0), ("scheduler", "decided", 0.4)]
ALL = [(victim, boundary, 0.0) for victim in VICTIMS for boundary in BOUNDARIES]
ALL += [(victim, "decided", 0.4) for victim in VICTIMS]
ROWS: list[str] = []


@dataclass
class Drill:
    """A stack with two servers of its own, and one rollout after another."""

    stack: Stack
    api: AirflowApi
    stable: ScriptedServer
    candidate: ScriptedServer
    ports: Mapping[str, int]
    routes: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.stack.urls["gateway"]

    @property
    def router(self) -> EnvoyFilesRouter:
        return EnvoyFilesRouter(self.stack.home.gateway)

    @property
    def store(self) -> FileRolloutStore:
        return FileRolloutStore(self.stack.home.gateway)

    def route(self) -> str:
        """Make a route whose traffic goes to the stable server."""
        route = f"drill{len(self.routes)}"
        self.routes.append(route)
        self.router.ensure_targets(route, {STABLE: self.ports[STABLE]}, fencing_token=0)
        self.router.set_weights(route, {STABLE: 100}, fencing_token=0, expected_generation=None)
        return route

    def pid(self, victim: str) -> int:
        state = read_state(self.stack.home)
        assert state is not None
        pids = {service.name: service.pid for service in state.services if service.pid}
        if victim == "worker":
            return Assassin._worker(pids["airflow-scheduler"], "canary")
        return pids.get(VICTIMS[victim], 0)

    def token(self, route: str) -> int:
        document = json.loads((self.stack.home.gateway / "routes" / f"{route}.json").read_text())
        return int(document["token"])


@pytest.fixture(scope="module")
def drill(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    root = tmp_path_factory.mktemp("kills")
    dags, serving = root / "dags", root / "drill-serving"
    dags.mkdir()
    (dags / "drill.py").write_text(textwrap.dedent(DAG_FILE).replace("{{{{", "{{").replace("}}}}", "}}"))
    base = next(
        base for base in range(24000, 30000, 100)
        if all(can_bind("127.0.0.1", port) for _, port in Ports.from_base(base).named())
    )  # fmt: skip
    stack = Stack(root / "home", base)
    ports = {STABLE: base + 98, CANDIDATE: base + 99}
    for name, port in ports.items():
        path = serving / "status" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(encode(ServerStatus(name=name, phase="ready", port=port))))
    os.environ[PYTHON_VARIABLE] = str(model_python)
    try:
        stack._local("up", "--dags-folder", str(dags), "--port-base", str(base))
        extra = {
            "admin_url": stack.urls["gateway_statistics"].removesuffix("/stats/prometheus"),
            "directory": str(stack.home.gateway),
            "serving_directory": str(serving),
        }
        connection = {"connection_id": "drill", "conn_type": "model_gateway", "host": "127.0.0.1", "port": 1}
        api = stack.api
        api._call("POST", "/api/v2/connections", json={**connection, "extra": json.dumps(extra)})
        until(lambda: api.dags() >= {"drill", "drill_in_worker"}, 90)
        with scripted_server(ports[STABLE]) as stable, scripted_server(ports[CANDIDATE], seed=5) as candidate:
            yield Drill(stack, api, stable, candidate, ports)
        api._client.close()
    finally:
        stack.down()
    print("\n| killed | when | candidate | ends | seconds after | failed requests | broken promises |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(ROWS))


def until(what: Callable[[], bool], seconds: float) -> float:
    """Wait until something holds; return after how long."""
    begun = time.monotonic()
    while not what():
        assert time.monotonic() - begun < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - begun


@pytest.mark.parametrize(("victim", "boundary", "error_rate"), ALL if os.environ.get("MLOPS_KILLS") == "all" else FEW)
def test_a_rollout_keeps_its_promises_when(drill: Drill, victim: str, boundary: str, error_rate: float) -> None:
    route = drill.route()
    drill.candidate.error_rate = error_rate
    # Deferred, a worker has the task for parts of a second only; a task that keeps its worker can be met.
    dag_id = "drill_in_worker" if victim == "worker" else "drill"
    router, store = drill.router, drill.store
    reached = BOUNDARIES[boundary]

    def is_there() -> bool:
        lease = store.load(route)
        return lease is not None and lease.state is not None and reached(lease.state, router.observe(route).weights)

    with ExitStack() as stack:
        traffic = stack.enter_context(Traffic(drill, route, rate=80))
        recorder = stack.enter_context(
            Recorder(traffic, router, store, route, every_seconds=0.1, token=lambda: drill.token(route))
        )
        pid = drill.pid(victim) if victim != "worker" else 0
        run_id = drill.api.trigger(dag_id, {"route": route})
        until(is_there, 60)
        killed_at = time.time()
        if victim == "gateway":
            with recorder.fault(GATEWAY):
                os.kill(pid, signal.SIGKILL)
                until(lambda: drill.pid(victim) not in {0, pid} and answered(traffic, killed_at), 60)
        else:
            os.kill(pid or drill.pid("worker"), signal.SIGKILL)
        state, _ = drill.api.follow(dag_id, run_id, timeout_seconds=200, seen=lambda _: None)
        ended_at = time.time()
        time.sleep(1.5)
    trace = recorder.trace()
    found = violations(trace, BOUNDS)
    failed = sum(answer.status not in {200, 500} for answer in trace.answers)
    last = trace.samples[-1].state
    assert last is not None
    cells = (victim, boundary, "fails" if error_rate else "good", last.phase.replace("_", " "))
    ROWS.append(
        "| " + " | ".join((*cells, f"{ended_at - killed_at:.0f}", f"{failed} of {len(trace.answers)}",
                           "; ".join(f"{one.invariant}: {one.what}" for one in found) or "none")) + " |"
    )  # fmt: skip
    print("\n".join(["", ROWS[-1], *table(trace, CANDIDATE)]))
    assert found == []
    assert last.phase == ("rolled_back" if error_rate else "promoted")
    assert state == ("failed" if error_rate else "success")


def answered(traffic: Any, since: float) -> bool:
    """Whether a request was answered well since then."""
    return any(at > since + 0.2 and status == 200 for at, status, _ in list(traffic.answers)[-50:])
