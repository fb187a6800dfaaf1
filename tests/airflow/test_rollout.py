"""The canary operator in a real Airflow, over a real Envoy, with scripted model servers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.codec import decode, encode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.live import read_live
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.testing.gateway import Gateway, ScriptedServer, Traffic, scripted_server
from airflow_mlops.triggers.events import RolloutEvent, from_payload
from airflow_mlops.triggers.rollout import RolloutTrigger

pytestmark = pytest.mark.stack

# Other files use this world, too, in other processes at the same time.
_FIRST = 22040 + 4 * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
LISTEN, ADMIN, STABLE, CANDIDATE = range(_FIRST, _FIRST + 4)
SPEC: dict[str, Any] = {
    "steps": [
        {"weight_percent": 20, "min_seconds": 1, "min_requests": 40},
        {"weight_percent": 50, "min_seconds": 1, "min_requests": 80},
    ],
    "error_rate": {"max_increase": 0.06},
    "latency": {"slow_ms": 250, "max_increase": 0.1},
    "look_seconds": 0.3,
    "step_timeout_seconds": 20,
    "max_unknown_seconds": 5,
}


@dataclass
class World:
    """A gateway with two model servers, v1 with all the traffic."""

    gateway: Gateway
    stable: ScriptedServer
    candidate: ScriptedServer
    directory: Path

    @property
    def router(self) -> EnvoyFilesRouter:
        return EnvoyFilesRouter(self.directory)

    @property
    def store(self) -> FileRolloutStore:
        return FileRolloutStore(self.directory)

    def weights(self) -> dict[str, int]:
        return dict(self.router.observe("flights").weights)


def wait_until_served(gateway: Gateway) -> None:
    """Envoy reads the new route a moment after it was written; until then it answers that nothing serves."""
    deadline = time.monotonic() + 10
    while (answer := gateway.ask("flights")[0]) != 200:
        assert time.monotonic() < deadline, answer
        time.sleep(0.01)


@pytest.fixture
def world(tmp_path: Path, connection: Callable[..., None], artifact_root: Path) -> Iterator[World]:
    directory, serving = tmp_path / "gateway", tmp_path / "serving"
    (serving / "status").mkdir(parents=True)
    (serving / "desired").mkdir()
    for name, port in (("flights-v1", STABLE), ("flights-v2", CANDIDATE)):
        status = ServerStatus(name=name, phase="ready", port=port)
        (serving / "status" / f"{name}.json").write_text(json.dumps(encode(status)))
    starting = ServerStatus(name="flights-v3", phase="starting", message="loads the model")
    (serving / "status" / "flights-v3.json").write_text(json.dumps(encode(starting)))
    connection(
        "model_gateway_default",
        conn_type="model_gateway",
        host="127.0.0.1",
        port=LISTEN,
        extra={
            "admin_url": f"http://127.0.0.1:{ADMIN}",
            "directory": str(directory),
            "serving_directory": str(serving),
        },
    )
    gateway = Gateway(directory, listen_port=LISTEN, admin_port=ADMIN)
    with gateway, scripted_server(STABLE) as stable, scripted_server(CANDIDATE, seed=7) as candidate:
        router = EnvoyFilesRouter(directory)
        router.ensure_targets("flights", {"flights-v1": STABLE}, fencing_token=0)
        router.set_weights("flights", {"flights-v1": 100}, fencing_token=0, expected_generation=1)
        wait_until_served(gateway)
        yield World(gateway=gateway, stable=stable, candidate=candidate, directory=directory)


def canary_dag(dag_id: str, *, spec: Any = None, candidate: str = "flights-v2", **arguments: Any) -> Any:
    from airflow.sdk import DAG

    from airflow_mlops.operators.rollout import CanaryRolloutOperator

    with DAG(dag_id, schedule=None) as dag:
        CanaryRolloutOperator(
            task_id="canary", model_name="flights", candidate=candidate, spec=spec or SPEC, **arguments
        )
    return dag


@pytest.mark.parametrize("deferrable", [True, False])
def test_a_good_candidate_is_promoted(world: World, run_dag: Callable[..., Any], deferrable: bool) -> None:
    with Traffic(world.gateway, "flights", rate=200):
        run = run_dag(canary_dag(f"good_{deferrable}", deferrable=deferrable))
    assert run.states == {"canary": "success"}
    result = run.xcom("canary")
    assert result["outcome"] == "promoted"
    assert world.weights() == {"flights-v2": 100}
    assert [entry["weights"].get("flights-v2") for entry in result["history"]] == [20, 50, 100]
    assert [entry["verdict"] for entry in result["history"]] == ["inconclusive", "pass", "pass"]
    live = read_live(ArtifactStore.from_config(), f"good_{deferrable}", run.run_id, "canary", -1)
    assert live is not None
    assert (live.phase, dict(live.weights)) == ("promoted", {"flights-v2": 100})
    assert min(arm.requests for arm in live.arms) >= 80
    assert [metric.name for metric in live.metrics] == ["error_rate", "latency"]


def test_failing_answers_roll_back(world: World, run_dag: Callable[..., Any]) -> None:
    world.candidate.error_rate = 0.2
    with Traffic(world.gateway, "flights", rate=200) as traffic:
        time.sleep(0.3)
        run = run_dag(canary_dag("failing"))
        time.sleep(0.5)
        ended = time.time()
        time.sleep(0.5)
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}
    assert traffic.targets(after=ended).keys() == {"flights-v1"}
    result = run.xcom("canary")
    assert result["outcome"] == "rolled_back"
    assert "worse beyond chance" in result["reason"]
    # Never more than the step's share was exposed, chance aside.
    begun, gone = (entry["at"] for entry in result["history"])
    exposed = [target for at, _, target in traffic.answers if begun < at < gone]
    share = exposed.count("flights-v2") / len(exposed)
    print(f"harm proven {gone - begun:.1f} s after the start; {exposed.count('flights-v2')} of {len(exposed)} exposed")
    assert share <= 0.2 + 5 * (0.2 * 0.8 / len(exposed)) ** 0.5


def test_slow_answers_roll_back(world: World, run_dag: Callable[..., Any]) -> None:
    world.candidate.delay_seconds = 0.4
    with Traffic(world.gateway, "flights", rate=200, workers=16):
        run = run_dag(canary_dag("slow"))
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}
    assert "took longer than 250 ms at flights-v2" in run.xcom("canary")["reason"]


def test_every_decision_is_recorded_and_shown(world: World, run_dag: Callable[..., Any], artifact_root: Path) -> None:
    with Traffic(world.gateway, "flights", rate=200):
        run = run_dag(canary_dag("recorded"))
    documents = ArtifactStore.from_config().read_evidence("flights")
    assert [document.notes["weights"].get("flights-v2") for document in documents] == [20, 50, 100]
    assert {document.origin.task_id for document in documents} == {"canary"}
    assert all(check.sample_size for check in documents[-1].checks)
    assert ArtifactStore.from_config().read_json(run.xcom("canary")["evidence_uri"])["verdict"] == "pass"
    (page,) = artifact_root.glob("reports/recorded/*/canary/-1/rollout.html")
    assert "The candidate has all traffic." in page.read_text()
    assert run.xcom("canary", key="_link_ReportLink").endswith("/canary/-1/rollout")


def test_traffic_goes_back_even_when_that_cannot_be_recorded(
    world: World, run_dag: Callable[..., Any], artifact_root: Path
) -> None:
    def break_evidence() -> None:
        while world.weights() != {"flights-v1": 80, "flights-v2": 20}:
            time.sleep(0.05)
        shutil.rmtree(artifact_root / "evidence")
        (artifact_root / "evidence").write_text("no folder any more")
        world.candidate.error_rate = 0.5

    breaker = threading.Thread(target=break_evidence)
    breaker.start()
    with Traffic(world.gateway, "flights", rate=150):
        run = run_dag(canary_dag("unrecorded"))
    breaker.join()
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}
    lease = world.store.load("flights")
    assert lease is not None
    assert lease.state is not None
    assert (lease.holder, lease.state.phase) == ("", "rolled_back")


def test_nothing_goes_forward_that_cannot_be_recorded(
    world: World, run_dag: Callable[..., Any], artifact_root: Path
) -> None:
    (artifact_root / "evidence").write_text("no folder")
    run = run_dag(canary_dag("unrecorded_start"))
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}


def test_a_first_release_takes_all_traffic_and_says_why(world: World, run_dag: Callable[..., Any]) -> None:
    (world.directory / "routes" / "flights.json").unlink()
    run = run_dag(canary_dag("first", candidate="flights-v1"))
    result = run.xcom("canary")
    assert (result["outcome"], world.weights()) == ("promoted", {"flights-v1": 100})
    assert "no stable model to compare with" in result["reason"]


def test_a_second_rollout_of_the_route_fails_and_names_the_first(
    world: World, run_dag: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.acquire("flights", "release/monday/canary/-1", lease_seconds=60)
    run = run_dag(canary_dag("second", retries=3))
    assert run.states == {"canary": "failed"}
    assert "a rollout held by 'release/monday/canary/-1' is under way" in capsys.readouterr().out
    assert world.weights() == {"flights-v1": 100}


def test_without_traffic_nothing_is_promoted(world: World, run_dag: Callable[..., Any]) -> None:
    run = run_dag(canary_dag("silent"))
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}
    assert "nothing was known about flights-v2 for 5 s" in run.xcom("canary")["reason"]


def test_a_foreign_edit_stops_the_rollout_and_rolls_back(world: World, run_dag: Callable[..., Any]) -> None:
    def edit() -> None:
        while world.weights() != {"flights-v1": 80, "flights-v2": 20}:
            time.sleep(0.05)
        path = world.directory / "envoy" / "rds.yaml"
        path.write_text(path.read_text().replace("weight: 20", "weight: 77"))

    editor = threading.Thread(target=edit)
    editor.start()
    with Traffic(world.gateway, "flights", rate=100):
        run = run_dag(canary_dag("edited"))
    editor.join()
    assert run.states == {"canary": "failed"}
    assert "somebody else changed the route" in run.xcom("canary")["reason"]
    assert "rds.yaml was edited" in run.xcom("canary")["reason"]
    assert world.router.observe("flights").foreign_edits == ()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": {**SPEC, "steps": []}}, "RolloutSpec.steps: () is not accepted; expected at least one step"),
        ({"spec": {**SPEC, "stepps": []}}, "did you mean 'steps'"),
        ({"spec": "missing.yaml"}, "there is no file at"),
        ({"candidate": "flights-v3"}, "model server 'flights-v3' is starting, not ready: loads the model"),
        ({"candidate": "flights-v9"}, "model server 'flights-v9' is not known; start it before its rollout"),
    ],
)
def test_bad_input_fails_before_any_traffic_moves(
    world: World,
    run_dag: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    message: str,
) -> None:
    run = run_dag(canary_dag("bad_input", **change))
    assert run.states == {"canary": "failed"}
    assert message in capsys.readouterr().out
    assert world.weights() == {"flights-v1": 100}
    lease = world.store.load("flights")
    assert lease is None or lease.holder == ""


RUNNER = """
import sys, json, datetime
from airflow.sdk import DAG
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow_mlops.operators.rollout import CanaryRolloutOperator

with DAG("killed", schedule=None) as dag:
    CanaryRolloutOperator(
        task_id="canary", model_name="flights", candidate="flights-v2", spec=json.loads(sys.argv[1]),
    )
bag = DagBag(dag_folder=None, collect_dags=False)
bag.bag_dag(dag)
sync_bag_to_db(bag, "tests", None)
moment = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
run = dag.test(logical_date=moment, run_after=moment)
sys.exit(0 if run.state == "success" else 1)
"""


@pytest.mark.timeout(400)  # two more processes import Airflow and start its API
def test_a_killed_process_loses_nothing(world: World, airflow_db: None, tmp_path: Path) -> None:
    """Worker and trigger live in one process here; it is killed between two looks of the second step."""
    spec = {**SPEC, "max_unknown_seconds": 60}
    command = [sys.executable, "-c", RUNNER, json.dumps(spec)]
    with Traffic(world.gateway, "flights", rate=150) as traffic, (tmp_path / "log").open("wb") as log:
        first = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 150
        while world.weights().get("flights-v2") != 50:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()[-3000:]
            assert first.poll() is None, (tmp_path / "log").read_text()[-3000:]
            time.sleep(0.02)
        first.kill()
        first.wait()
        lease = world.store.load("flights")
        assert lease is not None
        assert lease.state is not None
        assert (lease.holder.split("/")[0], lease.state.step_index) == ("killed", 1)
        second = subprocess.run(command, stdout=log, stderr=log, timeout=150, check=False)
    assert second.returncode == 0, (tmp_path / "log").read_text()[-3000:]
    assert world.weights() == {"flights-v2": 100}
    after = world.store.load("flights")
    assert after is not None
    assert after.state is not None
    # The same rollout went on: it was neither begun again nor did it take a step back.
    assert after.state.started_at == lease.state.started_at
    assert [entry.weights.get("flights-v2") for entry in after.state.history] == [20, 50, 100]
    assert [answer for answer in traffic.answers if answer[1] != 200] == []


class _TriggerOfTask(RolloutTrigger):
    """A trigger whose task has a known state; outside of a triggerer nobody can be asked."""

    state: str | None = None

    async def _task_state(self) -> str | None:
        return self.state


@pytest.mark.parametrize(
    ("state", "phase"),
    [
        ("failed", "rolled_back"),
        (None, "rolled_back"),
        *((state, "progressing") for state in ("deferred", "running", "scheduled", "queued")),
    ],
)
def test_ending_the_waiting_task_by_hand_gives_the_traffic_back(world: World, state: str | None, phase: str) -> None:
    router, store = world.router, world.store
    token = store.acquire("flights", "somebody", lease_seconds=60).token
    router.ensure_targets("flights", {"flights-v2": CANDIDATE}, fencing_token=token)
    begun = begin(
        spec=decode(RolloutSpec, SPEC), model_name="flights", candidate="flights-v2", stable="flights-v1", now=1.0
    )
    store.save("flights", begun, token=token, renew=True)
    router.set_weights("flights", {"flights-v1": 80, "flights-v2": 20}, fencing_token=token, expected_generation=None)
    trigger = _TriggerOfTask(
        gateway_conn_id="model_gateway_default",
        route="flights",
        token=token,
        look_seconds=1.0,
        task={"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1},
    )
    trigger.state = state
    asyncio.run(trigger.on_kill())
    lease = store.load("flights")
    assert lease is not None
    assert lease.state is not None
    assert lease.state.phase == phase
    assert world.weights().get("flights-v2", 0) == (0 if phase == "rolled_back" else 20)
    assert lease.holder == ("" if phase == "rolled_back" else "somebody")


def test_the_trigger_survives_serialisation(world: World) -> None:
    from airflow.serialization.serialized_objects import BaseSerialization

    arguments = {
        "gateway_conn_id": "g",
        "route": "flights",
        "token": 3,
        "look_seconds": 2.0,
        "task": {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1},
        "started_at": 5.0,
        "asked": "0193-form",
    }
    path, kwargs = RolloutTrigger(**arguments).serialize()
    assert path == "airflow_mlops.triggers.rollout.RolloutTrigger"
    assert RolloutTrigger(**BaseSerialization.deserialize(BaseSerialization.serialize(kwargs))).serialize() == (
        path,
        arguments,
    )


def test_a_trigger_that_cannot_judge_wakes_its_task(world: World, connection: Callable[..., None]) -> None:
    connection("model_gateway_default", conn_type="model_gateway", extra={"directory": "relative"})
    trigger = RolloutTrigger(
        gateway_conn_id="model_gateway_default", route="flights", token=1, look_seconds=0.01, task={}
    )

    async def first() -> Any:
        return await anext(trigger.run())

    event = from_payload(RolloutEvent, asyncio.run(first()).payload)
    assert event.kind == "broken"
    assert "expected the absolute path of the gateway's folder" in event.message
