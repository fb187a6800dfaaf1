"""The shadow operator in a real Airflow, over a real Envoy, with servers that log what they predict."""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from airflow.sdk.exceptions import TaskDeferred

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.codec import decode, encode
from airflow_mlops.container.inference import build_request
from airflow_mlops.container.lines import LineFile
from airflow_mlops.container.prediction_log import Prediction, open_log
from airflow_mlops.local.watchdog import Watchdog
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.shadow import ShadowState
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.testing.gateway import Gateway
from airflow_mlops.triggers.events import from_payload, to_payload
from airflow_mlops.triggers.shadow import ShadowEvent, ShadowTrigger

pytestmark = pytest.mark.stack

LISTEN, ADMIN, STABLE, CANDIDATE = 22140, 22141, 22142, 22143
SECRET = "nobody-may-read-this"
SPEC: dict[str, Any] = {
    "answers": {"tolerance": 0.05, "max_share": 0.05},
    "errors": {"max_increase": 0.05},
    "min_pairs": 250,
    "min_seconds": 1,
    "look_seconds": 0.4,
    "timeout_seconds": 60,
    "max_unknown_seconds": 4,
}


class ModelServer(ThreadingHTTPServer):
    """Speaks the Open Inference Protocol and logs as our model servers do; the model is made up."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, log: LineFile, version: str) -> None:
        self.log, self.version = log, version
        self.shift, self.fails, self.asked = 0.0, False, 0
        super().__init__(("127.0.0.1", port), _Handler)

    def answer(self, request: dict[str, Any]) -> list[float]:
        self.asked += 1
        number = request["inputs"][0]["data"][0]
        value = (number % 80) / 100 + self.shift
        prediction = Prediction(
            id=request["id"],
            time=time.time(),
            model="m",
            version=self.version,
            features={"number": number, "name": SECRET},
            prediction=value,
            latency_ms=1.0,
        )
        self.log.append(prediction.document())
        return [value]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 65536

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, ModelServer)
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        outputs = [] if server.fails else [{"name": "probability", "data": server.answer(request)}]
        status, body = 500 if server.fails else 200, json.dumps({"outputs": outputs}).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Stay silent."""


@contextmanager
def serving(port: int, root: Path, version: str) -> Iterator[ModelServer]:
    with open_log(root, model_name="m", version=version) as log, ModelServer(port, log, version) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join(5)


@dataclass
class World:
    """A gateway with two model servers, v1 with all the traffic."""

    gateway: Gateway
    stable: ModelServer
    candidate: ModelServer
    directory: Path
    predictions: Path
    answers: list[tuple[int, str]] = field(default_factory=list)

    @property
    def router(self) -> EnvoyFilesRouter:
        return EnvoyFilesRouter(self.directory)

    @property
    def store(self) -> FileRolloutStore:
        return FileRolloutStore(self.directory)

    def ask(self, number: int) -> None:
        body = json.dumps(build_request([{"number": number}], f"r-{time.time_ns()}-{number}"))
        with closing(http.client.HTTPConnection(self.gateway.url.removeprefix("http://"), timeout=15)) as connection:
            connection.request("POST", "/v2/models/m/infer", body=body)
            answer = connection.getresponse()
            answer.read()
            self.answers.append((answer.status, answer.getheader("x-model-version", "")))

    def clean(self) -> bool:
        """Whether nothing is left of a shadow."""
        lease, view = self.store.load("m"), self.router.observe("m")
        return view.mirror is None and dict(view.weights) == {"m-v1": 100} and (lease is None or not lease.holder)


class Traffic:
    """Requests in the background, about 200 a second."""

    def __init__(self, world: World) -> None:
        self._world, self._stop = world, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        for number in itertools.count():
            if self._stop.wait(0.004):
                return
            self._world.ask(number)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)


@pytest.fixture
def world(tmp_path: Path, connection: Callable[..., None], artifact_root: Path) -> Iterator[World]:
    directory, servers, predictions = tmp_path / "gateway", tmp_path / "serving", tmp_path / "predictions"
    (servers / "status").mkdir(parents=True)
    (servers / "desired").mkdir()
    for name, port in (("m-v1", STABLE), ("m-v2", CANDIDATE)):
        status = ServerStatus(name=name, phase="ready", port=port)
        (servers / "status" / f"{name}.json").write_text(json.dumps(encode(status)))
    connection(
        "model_gateway_default",
        conn_type="model_gateway",
        host="127.0.0.1",
        port=LISTEN,
        extra={
            "admin_url": f"http://127.0.0.1:{ADMIN}",
            "directory": str(directory),
            "serving_directory": str(servers),
        },
    )
    with ExitStack() as stack:
        gateway = stack.enter_context(Gateway(directory, listen_port=LISTEN, admin_port=ADMIN))
        stable = stack.enter_context(serving(STABLE, predictions, "1"))
        candidate = stack.enter_context(serving(CANDIDATE, predictions, "2"))
        router = EnvoyFilesRouter(directory)
        router.ensure_targets("m", {"m-v1": STABLE}, fencing_token=0)
        router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=1)
        made = World(gateway=gateway, stable=stable, candidate=candidate, directory=directory, predictions=predictions)
        deadline = time.monotonic() + 10
        while not made.answers or made.answers[-1][0] != 200:
            assert time.monotonic() < deadline
            made.ask(0)
        made.answers.clear()
        yield made


def shadow_dag(world: World, dag_id: str, **arguments: Any) -> Any:
    from airflow.sdk import DAG

    from airflow_mlops.operators import ShadowRolloutOperator

    given = {"candidate": "m-v2", "spec": SPEC, "predictions_uri": str(world.predictions), **arguments}
    with DAG(dag_id, schedule=None) as dag:
        ShadowRolloutOperator(task_id="shadow", model_name="m", **given)
    return dag


def evidence() -> list[Any]:
    from airflow_mlops.hooks.artifacts import ArtifactStore

    return list(ArtifactStore.from_config().read_evidence("m"))


@pytest.mark.parametrize("deferrable", [True, False])
def test_an_equal_candidate_passes_and_serves_nobody(
    world: World, run_dag: Callable[..., Any], artifact_root: Path, capsys: pytest.CaptureFixture[str], deferrable: bool
) -> None:
    world.candidate.shift = 0.01
    with Traffic(world):
        run = run_dag(shadow_dag(world, f"equal_{deferrable}", deferrable=deferrable))
    assert run.states == {"shadow": "success"}
    result = run.xcom("shadow")
    assert (result["outcome"], result["mode"], result["stable"]) == ("passed", "mirror", "m-v1")
    assert result["pairs"] >= 250
    assert set(world.answers) == {(200, "m-v1")}
    assert world.clean()
    (document,) = evidence()
    assert (document.verdict.value, document.notes["check"], document.notes["mode"]) == ("pass", "shadow", "mirror")
    assert all(check.sample_size for check in document.checks)
    (page,) = artifact_root.glob(f"reports/equal_{deferrable}/*/shadow/-1/shadow.html")
    assert "The candidate answers as it may." in page.read_text()
    # Nothing of any row left the prediction log.
    kept = [path.read_text() for path in artifact_root.rglob("*") if path.is_file()]
    assert not any(SECRET in text or "r-1" in text for text in [*kept, json.dumps(result), capsys.readouterr().out])


@pytest.mark.parametrize(("fault", "words"), [("shift", "pairs differ by more than 0.05"), ("fails", "copies failed")])
def test_a_bad_candidate_fails_the_task_for_good_and_harms_nobody(
    world: World, run_dag: Callable[..., Any], fault: str, words: str
) -> None:
    setattr(world.candidate, fault, 0.15 if fault == "shift" else True)
    with Traffic(world):
        run = run_dag(shadow_dag(world, f"bad_{fault}", retries=3))
    assert run.states == {"shadow": "failed"}
    result = run.xcom("shadow")
    assert result["outcome"] == "failed"
    assert words in result["reason"]
    assert set(world.answers) == {(200, "m-v1")}
    assert world.clean()
    assert [document.verdict.value for document in evidence()] == ["fail"]


def test_without_requests_nothing_passes(world: World, run_dag: Callable[..., Any]) -> None:
    run = run_dag(shadow_dag(world, "silent"))
    assert run.states == {"shadow": "failed"}
    result = run.xcom("shadow")
    assert (result["outcome"], result["verdict"], result["pairs"]) == ("inconclusive", "inconclusive", 0)
    assert "nothing new was known about m-v2 for" in result["reason"]
    assert world.clean()


def test_a_canary_on_the_route_keeps_a_shadow_away(
    world: World, run_dag: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world.store.acquire("m", "release/monday/canary/-1", lease_seconds=60)
    run = run_dag(shadow_dag(world, "second", retries=3))
    assert run.states == {"shadow": "failed"}
    assert "a rollout held by 'release/monday/canary/-1' is under way" in capsys.readouterr().out
    assert world.router.observe("m").mirror is None


def test_a_replay_needs_no_gateway(world: World, run_dag: Callable[..., Any], artifact_root: Path) -> None:
    for number in range(300):
        world.ask(number)
    shutil.rmtree(world.directory)
    asked = world.candidate.asked
    replay = {"rows": 280, "requests_per_second": 500}
    run = run_dag(shadow_dag(world, "replayed", mode="replay", stable="m-v1", replay=replay))
    assert run.states == {"shadow": "success"}
    result = run.xcom("shadow")
    assert (result["outcome"], result["mode"], result["pairs"]) == ("passed", "replay", 280)
    assert world.candidate.asked - asked == 280
    assert [document.notes["replay"]["rows"] for document in evidence()] == [280]
    (page,) = artifact_root.glob("reports/replayed/*/shadow/-1/shadow.html")
    assert "logged requests, sent to m-v2 once more" in page.read_text()


def test_a_replay_finds_a_candidate_that_fails(world: World, run_dag: Callable[..., Any]) -> None:
    for number in range(100):
        world.ask(number)
    world.candidate.fails = True
    run = run_dag(shadow_dag(world, "replay_fails", mode="replay", replay={"requests_per_second": 500}))
    assert run.states == {"shadow": "failed"}
    assert run.xcom("shadow")["outcome"] == "failed"
    assert "the candidate alone failed in 20" in run.xcom("shadow")["reason"]


def test_a_replay_of_too_few_requests_passes_nothing(world: World, run_dag: Callable[..., Any]) -> None:
    for number in range(100):
        world.ask(number)
    run = run_dag(shadow_dag(world, "few", mode="replay", replay={"requests_per_second": 500}))
    assert run.states == {"shadow": "failed"}
    assert run.xcom("shadow")["outcome"] == "inconclusive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mode": "both"}, "mode: 'both' is not accepted; expected 'mirror' or 'replay'"),
        ({"candidate": "m-v9"}, "model server 'm-v9' is not known; start it before its shadow"),
        ({"candidate": "m-v1"}, "a target without traffic; it has 100 %"),
        ({"spec": {**SPEC, "labels": {}}}, "labels_uri: None is not accepted"),
        ({"mode": "replay", "spec": {**SPEC, "latency": {"slower_ms": 5}}}, "spec.latency"),
        ({"replay": {"rows": 5}}, "expected None in mode 'mirror'"),
    ],
)
def test_bad_input_fails_before_anything_is_copied(
    world: World,
    run_dag: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    change: dict[str, Any],
    message: str,
) -> None:
    run = run_dag(shadow_dag(world, "bad_input", **change))
    assert run.states == {"shadow": "failed"}
    assert message in capsys.readouterr().out
    assert world.clean()


def begun(world: World, holder: str = "d/r/t/-1", *, lease_seconds: float = 60) -> ShadowState:
    """A shadow that copies, as its task left it to the trigger."""
    token = world.store.acquire("m", holder, lease_seconds=lease_seconds).token
    world.router.ensure_targets("m", {"m-v2": CANDIDATE}, fencing_token=token)
    world.router.set_mirror("m", "m-v2", 100, fencing_token=token, expected_generation=None)
    spec = decode(ShadowSpec, SPEC)
    return ShadowState(model_name="m", candidate="m-v2", stable="m-v1", spec=spec, token=token, started_at=time.time())


class _TriggerOfTask(ShadowTrigger):
    """A trigger whose task has a known state; outside of a triggerer nobody can be asked."""

    state_of_task: str | None = None

    async def _task_state(self) -> str | None:
        return self.state_of_task


def trigger_of(world: World, state: ShadowState) -> _TriggerOfTask:
    logs = {"predictions": str(world.predictions), "labels": None, "candidate_version": "2", "stable_version": "1"}
    task = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
    return _TriggerOfTask(
        gateway_conn_id="model_gateway_default", holder="d/r/t/-1", state=encode(state), logs=logs, task=task
    )


@pytest.mark.parametrize(("state", "ended"), [("failed", True), (None, True), ("deferred", False), ("running", False)])
def test_ending_the_waiting_task_by_hand_ends_the_copies(world: World, state: str | None, ended: bool) -> None:
    trigger = trigger_of(world, begun(world))
    trigger.state_of_task = state
    asyncio.run(trigger.on_kill())
    assert world.clean() is ended


def test_a_shadow_that_nobody_watches_is_ended_by_the_watchdog(world: World) -> None:
    begun(world, lease_seconds=0.1)
    time.sleep(0.2)
    (said,) = Watchdog(world.directory).look()
    assert said == "the requests of m are copied no more: d/r/t/-1 recorded nothing until its lease ended"
    assert world.clean()


def test_a_person_sees_and_aborts_a_shadow_at_the_command_line(
    world: World, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.cli.cli_parser import get_parser

    # The command says to Airflow what its process is, which is this one.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")
    begun(world)
    for words, said in (
        (("status", "m"), "m: 100 % of the requests are copied to m-v2, whose answers reach nobody"),
        (("abort", "m"), "m: no more requests are copied to m-v2; the task of its shadow fails"),
    ):
        args = get_parser().parse_args(["mlops", "rollout", *words])
        args.func(args)
        assert said in capsys.readouterr().out
    assert world.clean()


def test_a_trigger_that_takes_over_counts_every_pair_once(world: World) -> None:
    """Its predecessor died; the logs tell it everything."""
    state = begun(world)
    time.sleep(0.5)
    for number in range(300):
        world.ask(number)

    async def first_event() -> ShadowEvent:
        async for event in trigger_of(world, state).run():
            return from_payload(ShadowEvent, event.payload)
        raise AssertionError("no event")

    with Traffic(world):
        event = asyncio.run(first_event())
    found = decode(ShadowState, event.state)
    assert (event.kind, found.phase) == ("act", "passed")
    assert 300 <= found.pairs.pairs <= len(world.answers)


def test_a_trigger_whose_lease_is_gone_says_so(world: World) -> None:
    state = begun(world)
    world.store.release("m", token=state.token)

    async def first_event() -> ShadowEvent:
        async for event in trigger_of(world, state).run():
            return from_payload(ShadowEvent, event.payload)
        raise AssertionError("no event")

    event = asyncio.run(first_event())
    assert event.kind == "lost"
    assert "the lease was lost" in event.message


def operator_and_context(world: World) -> tuple[Any, dict[str, Any]]:
    """The operator outside of a run, so that its tries can be told apart; it may be tried three times."""
    task = shadow_dag(world, "tried").get_task("shadow")
    pushed: dict[str, Any] = {}
    ti = SimpleNamespace(
        dag_id="tried", run_id="r", task_id="shadow", map_index=-1, try_number=1, max_tries=2, pushed=pushed
    )
    ti.xcom_push = lambda key, value: pushed.update({key: value})
    return task, {"ti": ti}


def test_a_retry_takes_the_shadow_up_where_it_is(world: World) -> None:
    task, context = operator_and_context(world)
    with pytest.raises(TaskDeferred) as first:
        task.execute(context)
    assert world.router.observe("m").mirror is not None
    time.sleep(0.1)
    with pytest.raises(TaskDeferred) as second:
        task.execute(context)
    states = [decode(ShadowState, deferred.value.trigger.state) for deferred in (first, second)]
    assert states[0].started_at == states[1].started_at
    assert states[0].token == states[1].token
    assert world.router.observe("m").mirror is not None


def test_what_was_decided_but_not_recorded_is_recorded_by_the_next_try(world: World, artifact_root: Path) -> None:
    task, context = operator_and_context(world)
    with pytest.raises(TaskDeferred) as deferred:
        task.execute(context)
    decided = replace(decode(ShadowState, deferred.value.trigger.state), phase="passed", reason="all is well")
    event = to_payload(ShadowEvent(kind="act", message="all is well", state=encode(decided)))
    (artifact_root / "evidence").write_text("no folder")
    with pytest.raises(OSError, match="evidence"):
        task.resume(context, event)
    # The copies ended all the same, and the route is still this task's.
    assert world.router.observe("m").mirror is None
    assert not world.clean()
    (artifact_root / "evidence").unlink()
    assert task.execute(context)["outcome"] == "passed"
    assert [document.verdict.value for document in evidence()] == ["pass"]
    assert world.clean()


def test_ending_the_task_at_its_worker_ends_the_copies(world: World) -> None:
    task, context = operator_and_context(world)
    with pytest.raises(TaskDeferred):
        task.execute(context)
    task.on_kill()
    assert world.clean()
