"""Starting, checking and stopping model servers through Airflow, with real servers and a route in files."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlops.adapters.serving.processes import ProcessFleet
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.codec import encode
from airflow_mlops.files import atomic_write_json
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators.serving import (
    CheckModelServerOperator,
    StartModelServerOperator,
    StopModelServersOperator,
)
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus
from airflow_mlops.testing.model_server import RunningServer, start_model_server
from airflow_mlops.triggers.events import from_payload, to_payload
from airflow_mlops.triggers.serving import ModelServerReadyTrigger, ServerEvent, Waiting, look

FIRST_PORT = 23040
WAITING = Waiting(server="flights-v3", since=100.0, deadline=200.0)


def status(phase: str, **fields: Any) -> ServerStatus:
    return ServerStatus(**({"name": "flights-v3", "phase": phase, "port": 8200, "since": 150.0} | fields))


@pytest.mark.parametrize(
    ("seen", "now", "phase", "message"),
    [
        (None, 150.0, None, ""),
        (status("starting"), 150.0, None, ""),
        (status("ready"), 150.0, "ready", ""),
        (status("ready", since=99.0), 150.0, None, ""),
        (status("crashed", message="digest"), 150.0, None, ""),
        (status("crashed", message="digest", restarts=2), 150.0, "crashed", "crashed 3 times; its last words: digest"),
        (status("crashed", message="old", restarts=2, since=99.0), 150.0, None, ""),
        (status("starting", message="loads"), 200.0, "timeout", "it is starting: loads"),
        (None, 200.0, "timeout", "nobody reports on it; does the supervisor run?"),
    ],
)
def test_the_waiting_ends_when_it_should(seen, now, phase, message):
    event = look(seen, WAITING, now)
    assert (event.phase if event else None) == phase
    if event is not None:
        assert message in event.message


def test_crashes_before_the_waiting_began_do_not_count():
    waiting = Waiting(server="flights-v3", since=0.0, deadline=200.0, restarts=5)
    assert look(status("crashed", restarts=6), waiting, 150.0) is None
    assert look(status("crashed", restarts=7), waiting, 150.0).phase == "crashed"


def test_trigger_and_event_survive_the_journey():
    trigger = ModelServerReadyTrigger(gateway_conn_id="g", waiting=encode(WAITING), poll_seconds=0.1)
    path, arguments = trigger.serialize()
    assert path == "airflow_mlops.triggers.serving.ModelServerReadyTrigger"
    assert ModelServerReadyTrigger(**json.loads(json.dumps(arguments))).serialize() == (path, arguments)
    event = ServerEvent(server="flights-v3", phase="ready", port=8200)
    assert from_payload(ServerEvent, json.loads(json.dumps(to_payload(event)))) == event


class Supervisor(threading.Thread):
    """Does for one test what the embedded stack's supervisor does: desired servers run, their status is told."""

    def __init__(self, python: Path, root: Path) -> None:
        super().__init__(daemon=True)
        self.fleet = ProcessFleet(root / "serving")
        self._python, self._root = python, root
        self._stop_asked = threading.Event()
        self._running: dict[str, tuple[ServerSpec, RunningServer, int]] = {}
        self._ports = iter(range(FIRST_PORT, FIRST_PORT + 10))

    def run(self) -> None:
        while not self._stop_asked.wait(0.1):
            wanted = set(self.fleet.list())
            for name in wanted - self._running.keys():
                self._start(self.fleet.spec(name), next(self._ports), restarts=0)
            for name in self._running.keys() - wanted:
                self._running.pop(name)[1].stop(signal.SIGKILL)
            for name in list(self._running):
                self._look(name)
        for _, server, _ in self._running.values():
            server.stop(signal.SIGKILL)

    def _start(self, spec: ServerSpec, port: int, *, restarts: int) -> None:
        server = start_model_server(
            self._python,
            Path(spec.model.uri.removeprefix("file://")),
            spec.model.digest,
            port=port,
            home=self._root / "home",
            version=spec.version,
        )
        self._running[spec.name] = (spec, server, restarts)
        self._tell(ServerStatus(name=spec.name, phase="starting", port=port, since=time.time(), restarts=restarts))

    def _look(self, name: str) -> None:
        spec, server, restarts = self._running[name]
        port = int(server.url.rsplit(":", 1)[1])
        if server.process.poll() is not None:
            words = server.log.read_text().strip()
            self._tell(
                ServerStatus(name=name, phase="crashed", port=port, since=time.time(), restarts=restarts, message=words)
            )
            time.sleep(0.3)
            self._start(spec, port, restarts=restarts + 1)
        elif self.fleet.status(name).phase == "starting" and server.answers():
            self._tell(ServerStatus(name=name, phase="ready", port=port, since=time.time(), restarts=restarts))

    def _tell(self, told: ServerStatus) -> None:
        atomic_write_json(self._root / "serving" / "status" / f"{told.name}.json", encode(told))

    def stop(self) -> None:
        self._stop_asked.set()
        self.join()


@pytest.fixture
def root(tmp_path: Path, connection: Callable[..., None], artifact_root: Path) -> Path:
    (tmp_path / "serving").mkdir()
    extra = {
        "admin_url": "http://127.0.0.1:23099",
        "directory": str(tmp_path / "gateway"),
        "serving_directory": str(tmp_path / "serving"),
    }
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=23098, extra=extra)
    return tmp_path


@pytest.fixture
def supervisor(root: Path, model_python: Path) -> Iterator[Supervisor]:
    running = Supervisor(model_python, root)
    running.start()
    yield running
    running.stop()


@pytest.fixture
def model(small_model: tuple[Path, str]) -> dict[str, Any]:
    return reference(small_model[0])


def reference(directory: Path) -> dict[str, Any]:
    manifest = manifest_of(directory)
    return encode(
        ModelRef(uri=f"file://{directory}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    )


#: A reference for tests that never read the model.
SOME = {"uri": "file:///models/3", "digest": "sha256:" + "a" * 64, "format": "mlflow", "size_bytes": 1}


def context() -> dict[str, Any]:
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1, xcom_push=lambda **_: None)
    return {"ti": ti}


def start(model: dict[str, Any] = SOME, **changes: Any) -> StartModelServerOperator:
    arguments = {"model_name": "flights", "version": "3", "model": model, "deferrable": False, "poll_seconds": 0.05}
    return StartModelServerOperator(task_id="start", **(arguments | changes))


def check(model: dict[str, Any], **changes: Any) -> CheckModelServerOperator:
    arguments = {"model_name": "flights", "server": "flights-v3", "model": model}
    return CheckModelServerOperator(task_id="check", **(arguments | changes))


@pytest.mark.stack
def test_a_server_is_started_checked_and_stopped(root, supervisor, model, run_dag):
    from airflow.sdk import DAG

    with DAG("serve", schedule=None) as dag:
        started = start(model, deferrable=True)
        checked = check(model, server=started.output["server"])
        checked >> StopModelServersOperator(task_id="stop", model_name="flights")
    run = run_dag(dag)
    assert run.states == {"start": "success", "check": "success", "stop": "success"}
    assert run.xcom("start") == {
        "server": "flights-v3",
        "port": FIRST_PORT,
        "url": f"http://127.0.0.1:{FIRST_PORT}/v2/models/flights/infer",
    }
    assert run.xcom("start", key="_link_EndpointLink") == f"http://127.0.0.1:{FIRST_PORT}/v2/models/flights"
    result = run.xcom("check")
    assert result["verdict"] == "pass"
    reasons = {item["name"]: item["reason"] for item in result["checks"]}
    assert "of 20 rows differ by at most 0" in reasons["smoke.predictions"]
    assert "over 11 answers" in reasons["smoke.latency"]
    (evidence,) = ArtifactStore.from_config().read_evidence("flights")
    assert (evidence.decision, evidence.notes["check"]) == ("rollout", "smoke")
    assert evidence.references["candidate"] == model
    assert run.xcom("stop") == {"stopped": ["flights-v3"], "kept": []}
    assert list(supervisor.fleet.list()) == []


@pytest.mark.stack
def test_a_server_that_answers_otherwise_than_offline_fails_with_the_numbers(root, supervisor, model, tmp_path):
    start(model).execute(context())
    other = shutil.copytree(Path(model["uri"].removeprefix("file://")), tmp_path / "other")
    document = json.loads((other / "smoke.json").read_text())
    document["predictions"][4] += 0.25
    (other / "smoke.json").write_text(json.dumps(document))
    with pytest.raises(
        AirflowFailException, match=r"fail: .* differ by at most 0.25 \(row 4\); up to 1e-06 is accepted"
    ):
        check(reference(other)).execute(context())
    (evidence,) = ArtifactStore.from_config().read_evidence("flights")
    assert not evidence.verdict.promotes


@pytest.mark.stack
def test_a_model_that_changed_does_not_start_and_the_message_says_why(root, supervisor, model):
    wrong = model | {"digest": "sha256:" + "b" * 64}
    with pytest.raises(AirflowFailException, match=r"'flights-v3' did not become ready: crashed 3 times.*digest is"):
        start(wrong, ready_timeout_seconds=60).execute(context())


def test_without_a_supervisor_it_says_so_when_time_is_over(root):
    with pytest.raises(AirflowException, match=r"did not become ready within 0.2 s: nobody reports on it; does the"):
        start(ready_timeout_seconds=0.2).execute(context())


def test_a_damaged_report_is_waited_out_in_the_triggerer_until_the_deadline(root):
    ProcessFleet(root / "serving").ensure(
        ServerSpec(name="flights-v3", model_name="flights", version="3", model=ModelRef(**SOME))
    )
    trigger = ModelServerReadyTrigger(
        gateway_conn_id="model_gateway_default",
        waiting=encode(Waiting(server="flights-v3", since=0.0, deadline=time.time() + 0.3)),
        poll_seconds=0.05,
    )
    (root / "serving" / "status").mkdir()
    (root / "serving" / "status" / "flights-v3.json").write_text('{"phase": "asleep"}')

    async def first() -> dict[str, Any]:
        async for event in trigger.run():
            return event.payload
        raise AssertionError("no event")

    event = from_payload(ServerEvent, asyncio.run(first()))
    assert event.phase == "timeout"
    assert "status/flights-v3.json: ServerStatus.name: None is not accepted" in event.message


def test_the_same_server_twice_is_one(root):
    (root / "serving" / "status").mkdir()
    told = ServerStatus(name="flights-v3", phase="ready", port=8200, since=time.time() + 60)
    atomic_write_json(root / "serving" / "status" / "flights-v3.json", encode(told))
    first = start().execute(context())
    assert start().execute(context()) == first
    assert list(ProcessFleet(root / "serving").list()) == ["flights-v3"]


def test_a_report_from_before_does_not_count_for_a_new_server(root):
    (root / "serving" / "status").mkdir()
    told = ServerStatus(name="flights-v3", phase="ready", port=8200, since=time.time() - 60)
    atomic_write_json(root / "serving" / "status" / "flights-v3.json", encode(told))
    with pytest.raises(AirflowException, match="did not become ready"):
        start(ready_timeout_seconds=0.2).execute(context())


def test_the_same_version_with_other_faults_is_an_error_that_names_them(root):
    ProcessFleet(root / "serving").ensure(
        ServerSpec(name="flights-v3", model_name="flights", version="3", model=ModelRef(**SOME))
    )
    with pytest.raises(AirflowFailException, match=r"runs already with fault_error_rate 0.0 instead of 0.2"):
        start(faults={"error_rate": 0.2}).execute(context())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"faults": {"eror_rate": 0.1}},
            "faults.eror_rate: 0.1 is not accepted; expected no such fault; one of error_rate",
        ),
        ({"faults": {"error_rate": 2}}, "fault_error_rate: 2.0 is not accepted; expected a number from 0 to 1"),
        ({"faults": {"delay_ms": 1.5}}, "fault_delay_ms: 1.5 is not accepted; expected a whole number"),
        ({"version": "3 beta"}, "ServerSpec.name: 'flights-v3 beta' is not accepted"),
        ({"model": {"uri": "file:///m"}}, "ServerSpec.model.digest: None is not accepted"),
        ({"gateway_conn_id": "nowhere"}, "nowhere"),
    ],
)
def test_wrong_arguments_of_the_start_are_named(root, changes, message):
    with pytest.raises(Exception, match=message):
        start(**changes).execute(context())


def test_a_missing_serving_folder_is_named(root):
    shutil.rmtree(root / "serving")
    with pytest.raises(AirflowFailException, match="there is no serving folder here, so no supervisor"):
        start().execute(context())


def test_a_server_that_is_not_ready_cannot_be_checked(root, model):
    with pytest.raises(AirflowException, match="model server 'flights-v3' is not ready, it is unknown"):
        check(model).execute(context())


def test_a_port_on_which_nobody_answers_is_tried_again(root, model):
    (root / "serving" / "status").mkdir()
    told = ServerStatus(name="flights-v3", phase="ready", port=23097, since=1.0)
    atomic_write_json(root / "serving" / "status" / "flights-v3.json", encode(told))
    with pytest.raises(AirflowException, match=r"http://127.0.0.1:23097 did not answer: ConnectError") as caught:
        check(model).execute(context())
    assert not isinstance(caught.value, AirflowFailException)


def test_a_model_without_a_sample_cannot_be_checked(root, tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "MLmodel").write_text("flavors: {}\n")
    with pytest.raises(AirflowFailException, match=r"the model holds no smoke\.json"):
        check(reference(tmp_path / "model")).execute(context())


@pytest.fixture
def three_servers(root: Path) -> ProcessFleet:
    """Versions 1 to 3, of which version 2 has the traffic; and the server of another model."""
    fleet = ProcessFleet(root / "serving")
    for name, model_name, version in (
        ("flights-v1", "flights", "1"),
        ("flights-v2", "flights", "2"),
        ("flights-v3", "flights", "3"),
        ("flights-v2-v1", "flights-v2", "1"),
    ):
        fleet.ensure(ServerSpec(name=name, model_name=model_name, version=version, model=ModelRef(**SOME)))
    router = EnvoyFilesRouter(root / "gateway")
    view = router.ensure_targets("flights", {"flights-v1": 8201, "flights-v2": 8202}, fencing_token=0)
    router.set_weights("flights", {"flights-v2": 100}, fencing_token=0, expected_generation=view.generation)
    return fleet


def stop(**changes: Any) -> dict[str, Any]:
    return StopModelServersOperator(task_id="stop", model_name="flights", **changes).execute(context())


def test_servers_without_traffic_are_stopped_and_taken_off_the_route(three_servers, root):
    assert stop() == {"stopped": ["flights-v1", "flights-v3"], "kept": ["flights-v2"]}
    assert list(three_servers.list()) == ["flights-v2", "flights-v2-v1"]
    view = EnvoyFilesRouter(root / "gateway").observe("flights")
    assert (view.weights, set(view.targets)) == ({"flights-v2": 100}, {"flights-v2"})
    assert stop() == {"stopped": [], "kept": ["flights-v2"]}


def test_named_servers_are_kept(three_servers):
    assert stop(keep=["flights-v2", "flights-v3"]) == {"stopped": ["flights-v1"], "kept": ["flights-v2", "flights-v3"]}


def test_a_server_with_traffic_is_never_stopped(three_servers):
    with pytest.raises(AirflowFailException, match="not stopped, because flights-v2 has 100 % of the traffic"):
        stop(keep=["flights-v3"])
    assert len(list(three_servers.list())) == 4
