"""The supervisor with real MLflow and Envoy; model servers are a few lines that answer what the probe asks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ConflictError, PermanentAdapterError
from airflow_mlops.files import atomic_write_json, read_json
from airflow_mlops.local import control, processes
from airflow_mlops.local.control import UpOptions
from airflow_mlops.local.home import LocalHome, Ports
from airflow_mlops.local.state import ServiceState
from airflow_mlops.references import ModelRef
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

psutil = pytest.importorskip("psutil")
pytest.importorskip("envoy")
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]

# Stands where the model environment's interpreter would, gets the model server's arguments and answers its probe.
INTERPRETER = """#!{python}
import argparse, http.server, sys
parser = argparse.ArgumentParser()
parser.add_argument("--version")
parser.add_argument("--port", type=int)
options, _ = parser.parse_known_args()
if options.version == "13":
    sys.exit("model version 13 does not load")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/v2/models/flights/ready" else 404)
        self.end_headers()
    def log_message(self, *_):
        pass
http.server.HTTPServer(("127.0.0.1", options.port), Handler).serve_forever()
"""


def free_base() -> int:
    """First port of a block whose fixed ports are free."""
    for base in range(30000 + os.getpid() % 200 * 100, 60000, 100):
        try:
            for port in range(base, base + 12):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no block of ports is free")


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)


def running(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


class Stack:
    """A stack of this module's tests."""

    def __init__(self, root: Path) -> None:
        self.home = LocalHome(root)
        self.options = UpOptions(ports=Ports.from_base(free_base()), with_airflow=False, timeout_seconds=150)
        self.lines: list[str] = []

    def up(self) -> None:
        self.lines.clear()
        control.up(self.home, self.options, self.lines.append)

    def launch(self) -> None:
        """Start it and come back when the first processes run."""
        with pytest.raises(PermanentAdapterError, match="not everything was healthy"):
            control.up(self.home, replace(self.options, timeout_seconds=0.1), self.lines.append)
        wait_for(lambda: (seen := self.service("mlflow")) and seen.pid)

    def service(self, name: str) -> ServiceState | None:
        state = control.status(self.home)
        return next((item for item in state.services if item.name == name), None) if state else None

    def pid(self, name: str) -> int:
        service = self.service(name)
        assert service is not None
        assert service.pid is not None
        return service.pid

    def supervisor(self) -> int:
        return int(json.loads(self.home.supervisor_file.read_text())["pid"])

    def want(self, version: str) -> str:
        model = ModelRef(uri=str(self.home.root), digest="sha256:" + "0" * 64, format="mlflow", size_bytes=1)
        spec = ServerSpec(name=f"flights-v{version}", model_name="flights", version=version, model=model)
        atomic_write_json(self.home.servers_desired / f"{spec.name}.json", encode(spec))
        return spec.name

    def unwant(self, name: str) -> None:
        (self.home.servers_desired / f"{name}.json").unlink()
        wait_for(lambda: self.server(name) is None)

    def server(self, name: str) -> ServerStatus | None:
        document = read_json(self.home.servers_status / f"{name}.json")
        return decode(ServerStatus, document) if document is not None else None

    def server_is(self, name: str, phase: str) -> bool:
        status = self.server(name)
        return status is not None and status.phase == phase


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    interpreter = folder / "python"
    interpreter.write_text(INTERPRETER.format(python=sys.executable))
    interpreter.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLOPS_MODEL_PYTHON", str(interpreter))
        stack = Stack(folder / "home")
        yield stack
        control.down(stack.home, stack.lines.append)
        assert processes.leftovers(stack.home, with_jobs=True) == []


@pytest.fixture
def stack(shared: Stack) -> Stack:
    shared.up()
    return shared


@pytest.fixture
def hasty(shared: Stack, tmp_path: Path) -> Iterator[Stack]:
    """A stack of one test, which need not wait until MLflow is there."""
    stack = Stack(tmp_path / "home")
    yield stack
    control.down(stack.home, stack.lines.append)
    assert processes.leftovers(stack.home, with_jobs=True) == []


def answers(port: int, path: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_a_healthy_stack_answers_and_up_again_changes_nothing(stack: Stack) -> None:
    ports = stack.options.ports
    assert ports is not None
    assert answers(ports.mlflow, "/health")
    assert answers(ports.gateway_admin, "/ready")
    before = (stack.supervisor(), stack.pid("mlflow"), stack.pid("envoy"))
    stack.up()
    assert stack.lines[0] == f"the stack in {stack.home.root} is running already"
    assert f"MLflow              http://127.0.0.1:{ports.mlflow}" in stack.lines
    assert (stack.supervisor(), stack.pid("mlflow"), stack.pid("envoy")) == before


def test_everything_listens_on_the_loopback_interface_only(stack: Stack) -> None:
    pids = processes.leftovers(stack.home)
    listening = [c for pid in pids for c in psutil.Process(pid).net_connections(kind="inet") if c.status == "LISTEN"]
    assert {connection.laddr.ip for connection in listening} == {"127.0.0.1"}


def test_a_running_stack_refuses_other_settings(stack: Stack) -> None:
    with pytest.raises(ConflictError, match=r"running with other settings \(ports\); take it down first"):
        control.up(stack.home, UpOptions(ports=Ports(), with_airflow=False), stack.lines.append)


def test_a_second_supervisor_gives_up(stack: Stack) -> None:
    command = [sys.executable, "-m", "airflow_mlops.local.supervisor", "--home", str(stack.home.root)]
    second = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert second.returncode == 3
    assert "another supervisor runs already" in second.stderr


def test_a_killed_service_comes_back_without_what_it_left(stack: Stack) -> None:
    first = stack.pid("mlflow")
    family = processes.session_of(first)
    assert len(family) > 1, "MLflow's server runs in a child"
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: (seen := stack.service("mlflow")) and seen.restarts and seen.is_healthy)
    assert not any(running(pid) for pid in family)
    ports = stack.options.ports
    assert ports is not None
    assert answers(ports.mlflow, "/health")


def test_model_servers_follow_the_documents(stack: Stack) -> None:
    name = stack.want("1")
    wait_for(lambda: stack.server_is(name, "ready"))
    status = stack.server(name)
    assert status is not None
    assert status.port in stack.home.settings().ports.server_range  # type: ignore[union-attr]
    assert status.pid is not None
    os.kill(status.pid, signal.SIGKILL)
    wait_for(lambda: (now := stack.server(name)) and now.phase == "ready" and now.restarts == 1)
    again = stack.server(name)
    assert again is not None
    assert again.port == status.port, "routes name the port"
    assert again.pid is not None
    stack.unwant(name)
    wait_for(lambda: not running(again.pid or 0))


def test_a_model_server_that_cannot_start_says_why(stack: Stack) -> None:
    name = stack.want("13")
    try:
        wait_for(lambda: stack.server_is(name, "crashed"))
        status = stack.server(name)
        assert status is not None
        assert "ended with exit status 1" in status.message
        assert "model version 13 does not load" in status.message
        with pytest.raises(
            PermanentAdapterError, match=r"crashes again and again(.|\n)*server-flights-v13: (.|\n)*does not load"
        ):
            stack.up()
    finally:
        stack.unwant(name)


def test_a_damaged_document_harms_nobody_else(stack: Stack) -> None:
    path = stack.home.servers_desired / "flights-v2.json"
    path.write_text('{"name": "flights-v2", "modle_name": 1}')
    wait_for(lambda: stack.server_is("flights-v2", "crashed"))
    status = stack.server("flights-v2")
    assert status is not None
    assert "did you mean 'model_name'" in status.message
    good = stack.want("3")
    wait_for(lambda: stack.server_is(good, "ready"))
    path.unlink()
    stack.unwant(good)
    wait_for(lambda: stack.server("flights-v2") is None)


def test_after_a_killed_supervisor_up_recovers(stack: Stack) -> None:
    name = stack.want("4")
    wait_for(lambda: stack.server_is(name, "ready"))
    before = stack.server(name)
    assert before is not None
    left = processes.leftovers(stack.home)
    assert len(left) >= 3
    os.kill(stack.supervisor(), signal.SIGKILL)
    wait_for(lambda: not control.is_supervised(stack.home))
    broken = control.status(stack.home)
    assert broken is not None
    assert not broken.is_healthy
    assert "processes of it are left: run up or down" in broken.services[0].message
    stack.up()
    assert f"stopping {len(left)} processes that a killed supervisor left behind" in stack.lines
    assert not any(running(pid) for pid in left)
    after = stack.server(name)
    assert after is not None
    assert (after.phase, after.port) == ("ready", before.port)
    stack.unwant(name)


def test_down_leaves_nothing_even_after_a_killed_supervisor_and_may_be_repeated(hasty: Stack) -> None:
    hasty.launch()
    everything = [*processes.leftovers(hasty.home), hasty.supervisor()]
    assert len(everything) >= 3
    os.kill(hasty.supervisor(), signal.SIGKILL)
    wait_for(lambda: not control.is_supervised(hasty.home))
    assert control.down(hasty.home, hasty.lines.append) is True
    assert not any(running(pid) for pid in everything)
    assert control.down(hasty.home, hasty.lines.append) is False


def test_down_stops_everything_in_order(stack: Stack) -> None:
    name = stack.want("5")
    wait_for(lambda: stack.server_is(name, "ready"))
    everything = [*processes.leftovers(stack.home), stack.supervisor()]
    assert control.down(stack.home, stack.lines.append) is True
    assert not any(running(pid) for pid in everything)
    state = control.status(stack.home)
    assert state is not None
    assert {item.phase for item in state.services} == {"stopped"}
    assert stack.server_is(name, "stopped")
    (stack.home.servers_desired / f"{name}.json").unlink()


def test_two_stacks_run_side_by_side(stack: Stack, hasty: Stack) -> None:
    hasty.launch()
    wait_for(lambda: (envoy := hasty.service("envoy")) and envoy.is_healthy)
    assert control.down(hasty.home, hasty.lines.append) is True
    assert control.status(stack.home).is_healthy  # type: ignore[union-attr]


def test_what_does_not_get_healthy_in_time_is_named_with_its_log(hasty: Stack) -> None:
    with pytest.raises(PermanentAdapterError) as caught:
        control.up(hasty.home, replace(hasty.options, timeout_seconds=0.1), hasty.lines.append)
    assert "not everything was healthy within 0.1 s" in str(caught.value)
    assert "`airflow mlops local down`" in str(caught.value)


def test_down_stops_a_supervisor_that_is_only_just_starting(hasty: Stack) -> None:
    with pytest.raises(PermanentAdapterError):
        control.up(hasty.home, replace(hasty.options, timeout_seconds=0.0), hasty.lines.append)
    (starting,) = processes.leftovers(hasty.home)
    assert control.down(hasty.home, hasty.lines.append) is True
    assert not running(starting)


def test_a_taken_port_stops_before_anything_starts(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    assert stack.options.ports is not None
    with socket.socket() as server:
        server.bind(("127.0.0.1", stack.options.ports.mlflow))
        server.listen()
        with pytest.raises(ConflictError, match="--mlflow-port"):
            stack.up()
    assert not control.is_supervised(stack.home)
    assert processes.records(stack.home) == ()


def test_a_stack_whose_folder_was_removed_stops_by_itself(hasty: Stack) -> None:
    hasty.launch()
    everything = [*processes.leftovers(hasty.home), hasty.supervisor()]
    shutil.rmtree(hasty.home.root, ignore_errors=True)
    wait_for(lambda: not any(running(pid) for pid in everything))
    assert not hasty.home.state_file.exists()
