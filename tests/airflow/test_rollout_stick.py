"""``airflow mlops rollout stick``, through Airflow's own command line, over a gateway's folder."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_mlops.adapters.serving.processes import ProcessFleet
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.exceptions import LeaseHeldError, TransientAdapterError
from airflow_mlops.rollout.look import Gateway
from airflow_mlops.rollout.routing import Match, Sticky
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.rollout.stickiness import keep_callers
from airflow_mlops.rollout.testers import send_testers
from airflow_mlops.testing.rollout import MemoryRouter, memory_gateway


@pytest.fixture
def folder(tmp_path: Path, connection: Callable[..., None]) -> Path:
    extra = {"admin_url": "http://127.0.0.1:1", "directory": str(tmp_path / "gateway"), "serving_directory": "/none"}
    connection("model_gateway_default", conn_type="model_gateway", host="127.0.0.1", port=1, extra=extra)
    EnvoyFilesRouter(tmp_path / "gateway").ensure_targets("m", {"m-v1": 8201}, fencing_token=0)
    return tmp_path / "gateway"


@pytest.fixture(autouse=True)
def _of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command says to Airflow what its process is, which is this one."""
    monkeypatch.setenv("_AIRFLOW_PROCESS_CONTEXT", "")
    monkeypatch.delenv("_AIRFLOW_PROCESS_CONTEXT")


def stick(*words: str) -> object:
    return command("stick", *words)


def command(*words: str) -> object:
    """Run a command; return its exit status."""
    from airflow.cli.cli_parser import get_parser

    args = get_parser().parse_args(["mlops", "rollout", *words])
    try:
        args.func(args)
    except SystemExit as ended:
        return ended.code
    return 0


@pytest.mark.parametrize(
    ("words", "sticky", "said"),
    [
        (("--header", "x-user"), Sticky(header="x-user"), "m: callers stay at one model by x-user"),
        (("--cookie", "session"), Sticky(cookie="session"), "m: callers stay at one model by cookie session"),
        (("--off",), None, "m: every request goes by chance"),
    ],
)
def test_callers_are_kept_as_asked(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sticky: Sticky | None, said: str
) -> None:
    assert stick("m", *words) == 0
    assert EnvoyFilesRouter(folder).observe("m").sticky == sticky
    assert said in capsys.readouterr().out
    lease = FileRolloutStore(folder).load("m")
    assert lease is not None
    assert lease.holder == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("m",), "expected either a header or a cookie"),
        (("m", "--header", "a", "--cookie", "b"), "expected either a header or a cookie"),
        (("m", "--header", "a", "--off"), "expected nothing beside it"),
        (("m", "--header", "two words"), "the name of a header or cookie"),
        (("unknown", "--header", "a"), "one with model servers; it has none"),
    ],
)
def test_what_cannot_be_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    assert stick(*words) != 0
    captured = capsys.readouterr()
    assert message in captured.out + captured.err


def test_not_while_a_rollout_is_under_way(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FileRolloutStore(folder).acquire("m", "release/monday/canary/-1", lease_seconds=60)
    assert stick("m", "--header", "x-user") != 0
    captured = capsys.readouterr()
    assert "a rollout held by 'release/monday/canary/-1' is under way" in captured.out + captured.err
    assert EnvoyFilesRouter(folder).observe("m").sticky is None


def test_a_rollout_that_was_left_half_way_stays_the_watchdogs(tmp_path: Path) -> None:
    gateway = Gateway(
        router=EnvoyFilesRouter(tmp_path),
        store=FileRolloutStore(tmp_path),
        metrics=memory_gateway()[0].metrics,
        clock=memory_gateway()[0].clock,
    )
    gateway.router.ensure_targets("m", {"m-v1": 8201}, fencing_token=0)
    token = gateway.store.acquire("m", "dead", lease_seconds=0.0).token
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=20, min_seconds=1),))
    state = begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=1.0)
    gateway.store.save("m", state, token=token, renew=True)
    with pytest.raises(TransientAdapterError, match="the watchdog ends it first"):
        keep_callers(gateway, "m", Sticky(header="a"), by="me")
    lease = gateway.store.load("m")
    assert lease is not None
    assert lease.holder == "stickiness by me"


def test_a_router_that_cannot_says_so() -> None:
    gateway, router, *_ = memory_gateway()
    router.ensure_targets("m", {"m-v1": 1}, fencing_token=0)
    assert isinstance(gateway.router, MemoryRouter)
    with pytest.raises(Exception, match="MemoryRouter cannot"):
        keep_callers(gateway, "m", Sticky(header="a"), by="me")


def test_testers_are_sent_as_asked_until_the_weights_change(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    router = EnvoyFilesRouter(folder)
    assert command("match", "m", "--target", "m-v1", "--header", "x-tester=yes", "--header", "x-team=a = b") == 0
    assert "m: requests with x-team: a = b and x-tester: yes go to m-v1 until a rollout" in capsys.readouterr().out
    assert router.observe("m").match == Match(target="m-v1", headers={"x-tester": "yes", "x-team": "a = b"})
    assert command("match", "m", "--off") == 0
    assert "m: no request is sent by its headers" in capsys.readouterr().out
    assert router.observe("m").match is None
    lease = FileRolloutStore(folder).load("m")
    assert lease is not None
    assert lease.holder == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("m",), "the model server that gets these requests"),
        (("m", "--target", "m-v1"), "expected 1 to 8 headers"),
        (("m", "--target", "m-v1", "--header", "x-tester"), "NAME=VALUE"),
        (("m", "--target", "m-v1", "--header", "x-tester="), "printable"),
        (("m", "--target", "m-v1", "--header", "a=b", "--off"), "expected nothing beside it"),
        (("m", "--target", "m-v9", "--header", "a=b"), "model server 'm-v9' is not known"),
    ],
)
def test_testers_that_cannot_be_sent_are_told_why(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], message: str
) -> None:
    (folder.parent / "serving").mkdir()
    assert command("match", *words) != 0
    captured = capsys.readouterr()
    assert message in captured.out + captured.err
    assert EnvoyFilesRouter(folder).observe("m").match is None


def test_no_tester_is_sent_while_a_rollout_is_under_way(tmp_path: Path) -> None:
    gateway, router, *_ = memory_gateway()
    router.ensure_targets("m", {"m-v1": 1}, fencing_token=0)
    gateway.store.acquire("m", "a rollout", lease_seconds=60)
    with pytest.raises(LeaseHeldError, match="a rollout"):
        send_testers(gateway, ProcessFleet(tmp_path), "m", Match(target="m-v1", headers={"a": "b"}), by="me")
