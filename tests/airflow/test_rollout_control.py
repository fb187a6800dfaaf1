"""``airflow mlops rollout status|approve|abort|plan``, through Airflow's own command line, over a gateway's folder."""

from __future__ import annotations

import getpass
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.codec import decode, encode
from airflow_mlops.rollout.serving import ServerStatus
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin

SPEC: dict[str, Any] = {
    "steps": [{"weight_percent": 20, "min_seconds": 1, "approval": True}, {"weight_percent": 50, "min_seconds": 1}],
    "step_timeout_seconds": 20,
}
USER = getpass.getuser()


class Gateway:
    """A gateway's folder with one rollout, held by a task; nobody answers requests."""

    def __init__(self, root: Path) -> None:
        self.router, self.store = EnvoyFilesRouter(root), FileRolloutStore(root)
        lease = self.store.acquire("flights", "release/monday/canary/-1", lease_seconds=180)
        self.token = lease.token
        self.router.ensure_targets("flights", {"flights-v1": 8201, "flights-v2": 8202}, fencing_token=self.token)
        self.save(
            begin(
                spec=decode(RolloutSpec, SPEC),
                model_name="flights",
                candidate="flights-v2",
                stable="flights-v1",
                now=1.0,
            )
        )
        weights = {"flights-v1": 80, "flights-v2": 20}
        self.router.set_weights("flights", weights, fencing_token=self.token, expected_generation=None)

    @property
    def state(self) -> RolloutState:
        lease = self.store.load("flights")
        assert lease is not None
        assert lease.state is not None
        return lease.state

    def save(self, state: RolloutState) -> None:
        self.store.save("flights", state, token=self.token, renew=True)

    def ask(self) -> None:
        """Let the first step wait for approval."""
        self.save(replace(self.state, proven="all is well", sequence=self.state.sequence + 1))

    def weights(self) -> dict[str, int]:
        return dict(self.router.observe("flights").weights)


@pytest.fixture
def folder(tmp_path: Path, connection: Callable[..., None]) -> Path:
    serving = tmp_path / "serving"
    (serving / "status").mkdir(parents=True)
    status = ServerStatus(name="flights-v2", phase="ready", port=8202)
    (serving / "status" / "flights-v2.json").write_text(json.dumps(encode(status)))
    connection(
        "gateway_of_ours",
        conn_type="model_gateway",
        host="127.0.0.1",
        extra={
            "admin_url": "http://127.0.0.1:1",
            "directory": str(tmp_path / "gateway"),
            "serving_directory": str(serving),
        },
    )
    return tmp_path / "gateway"


@pytest.fixture
def gateway(folder: Path) -> Gateway:
    return Gateway(folder)


@pytest.fixture
def rollout(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Any, str, str]]:
    """Run a command; returns exit status, output and errors."""
    from airflow.cli.cli_parser import get_parser

    # The command sets it for its process, which is this one.
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")

    def run(verb: str, *words: str) -> tuple[Any, str, str]:
        given = ["mlops", "rollout", verb, *words, "--gateway-conn-id", "gateway_of_ours"]
        args = get_parser().parse_args(given)
        capsys.readouterr()
        status: Any = 0
        try:
            args.func(args)
        except SystemExit as exit_:
            status = exit_.code
        return status, *capsys.readouterr()

    return run


class TestStatus:
    def test_one_line_says_where_it_is(self, rollout: Any, gateway: Gateway) -> None:
        status, out, _ = rollout("status")
        head, line, reason = out.splitlines()
        assert status == 0
        assert head.split() == [
            *("ROUTE", "PHASE", "STEP", "CANDIDATE", "STABLE", "WEIGHTS", "VERDICT", "MISSING", "HOLDER", "LEASE"),
        ]
        assert line.startswith("flights  progressing  1/2   flights-v2  flights-v1  flights-v1 80 %, flights-v2 20 %")
        assert "release/monday/canary/-1" in line
        assert line.endswith(" s")
        assert reason == "flights: flights-v2 starts with 20 % beside flights-v1"
        gateway.ask()
        assert "flights  awaits approval  1/2" in rollout("status", "flights")[1]

    def test_as_json_of_all_routes(self, rollout: Any, gateway: Gateway) -> None:
        gateway.store.acquire("alerts", "other/run/canary/-1", lease_seconds=60)
        alerts, flights = json.loads(rollout("status", "--json")[1])
        assert (alerts["route"], alerts["phase"], alerts["holder"]) == ("alerts", "starting", "other/run/canary/-1")
        assert (flights["phase"], flights["weights"]) == ("progressing", {"flights-v1": 80, "flights-v2": 20})
        assert 170 < flights["seconds_left"] <= 180

    def test_it_tells_of_another_hand(self, rollout: Any, gateway: Gateway, folder: Path) -> None:
        path = folder / "envoy" / "rds.yaml"
        path.write_text(path.read_text().replace("weight: 20", "weight: 77"))
        assert "rds.yaml was edited" in rollout("status")[1]
        gateway.router.set_weights("flights", {"flights-v1": 100}, fencing_token=1, expected_generation=None)
        assert "flights: the rollout wants flights-v2 20 %, flights-v1 80 %" in rollout("status")[1]

    def test_nothing_is_no_error(self, rollout: Any, folder: Path) -> None:
        assert rollout("status")[:2] == (0, "no route of this gateway has a rollout\n")

    def test_an_unknown_route_is(self, rollout: Any, gateway: Gateway) -> None:
        status, _, error = rollout("status", "fligths")
        assert status == 1
        assert error == "route: 'fligths' is not accepted; expected a route with a rollout: flights\n"


class TestApprove:
    def test_the_step_that_waits(self, rollout: Any, gateway: Gateway) -> None:
        gateway.ask()
        status, out, _ = rollout("approve", "flights", "--comment", "seen by the board")
        assert status == 0
        assert f"{USER} (seen by the board) approved 20 %; its next look goes on" in out
        assert gateway.state.approved_by == f"{USER} (seen by the board)"
        assert gateway.weights() == {"flights-v1": 80, "flights-v2": 20}

    def test_one_that_does_not_wait(self, rollout: Any, gateway: Gateway) -> None:
        status, _, error = rollout("approve", "flights")
        assert status == 1
        assert "expected a rollout that waits for approval; this one of flights judges 20 %" in error


class TestAbort:
    def test_all_traffic_goes_back_for_good(self, rollout: Any, gateway: Gateway) -> None:
        status, out, _ = rollout("abort", "flights", "--comment", "odd answers")
        assert status == 0
        reason = f"aborted by {USER}: odd answers"
        assert out == f"flights: all traffic went back to flights-v1: {reason}\n"
        assert gateway.weights() == {"flights-v1": 100}
        assert (gateway.state.phase, gateway.state.reason) == ("rolled_back", reason)
        lease = gateway.store.load("flights")
        assert lease is not None
        assert lease.holder == "release/monday/canary/-1"
        assert rollout("approve", "flights")[0] == 1

    def test_when_nobody_holds_it(self, rollout: Any, gateway: Gateway) -> None:
        lease = gateway.store.load("flights")
        path = next(Path(gateway.store._folder).glob("*.json"))
        document = json.loads(path.read_text())
        path.write_text(json.dumps({**document, "expires_at": 1.0}))
        assert rollout("abort", "flights")[0] == 0
        after = gateway.store.load("flights")
        assert lease is not None
        assert after is not None
        assert (gateway.weights(), after.holder) == ({"flights-v1": 100}, "")
        status, _, error = rollout("abort", "flights")
        assert status == 1
        assert "expected a route with a rollout under way; that of flights-v2 is rolled_back: aborted by" in error


class TestPlan:
    def test_what_it_would_do_and_nothing_is_done(self, rollout: Any, folder: Path, tmp_path: Path) -> None:
        router = EnvoyFilesRouter(folder)
        router.ensure_targets("flights", {"flights-v1": 8201}, fencing_token=0)
        router.set_weights("flights", {"flights-v1": 100}, fencing_token=0, expected_generation=1)
        (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
        before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        words = ("plan", str(tmp_path / "spec.yaml"), "--route", "flights", "--candidate")
        status, out, _ = rollout(*words, "flights-v2")
        assert status == 0
        not_yet = "the weights of this step are not in effect yet"
        assert out.splitlines()[:2] == [
            "route flights, now flights-v1 100 %: flights-v2 beside flights-v1",
            f"first: set weights [flights-v2 20 %, flights-v1 80 %] — inconclusive: {not_yet}",
        ]
        assert "1. 20 % of the requests; at least 1 s and 100 requests at both models; then it waits until" in out
        assert "all traffic" in out.splitlines()[5]
        assert "it would not begin now: no measurements: " in out
        assert "model server 'flights-v9' is not known" in rollout(*words, "flights-v9")[1]
        assert json.loads(rollout(*words, "flights-v2", "--json")[1])["first"]["action"] == "set_weights"
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before

    def test_a_held_route_is_said(self, rollout: Any, gateway: Gateway, tmp_path: Path) -> None:
        (tmp_path / "spec.yaml").write_text(json.dumps(SPEC))
        _, out, _ = rollout("plan", str(tmp_path / "spec.yaml"), "--route", "flights", "--candidate", "flights-v2")
        assert "a rollout held by 'release/monday/canary/-1' is under way" in out


def test_a_connection_in_the_database_is_found(
    rollout: Any, gateway: Gateway, airflow_db: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.models.connection import Connection
    from airflow.settings import Session
    from sqlalchemy import delete

    extra = json.loads(os.environ["AIRFLOW_CONN_GATEWAY_OF_OURS"])["extra"]
    monkeypatch.delenv("AIRFLOW_CONN_GATEWAY_OF_OURS")
    session = Session()
    session.add(Connection(conn_id="gateway_of_ours", conn_type="model_gateway", extra=json.dumps(extra)))
    session.commit()
    try:
        assert rollout("status", "flights")[0] == 0
    finally:
        session.execute(delete(Connection).where(Connection.conn_id == "gateway_of_ours"))
        session.commit()
