"""All traffic at once through a real Envoy, and back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics
from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.clock import SystemClock
from airflow_mlops.rollout import look
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, approve, awaits_approval, begin
from airflow_mlops.testing.gateway import Gateway, ScriptedServer, Traffic, scripted_server

pytestmark = pytest.mark.stack

LISTEN, ADMIN, OLD, NEW = 22070, 22071, 22072, 22073
SPEC = RolloutSpec(
    strategy="blue_green",
    steps=(
        CanaryStep(weight_percent=0, min_seconds=1, min_requests=150, approval=True),
        CanaryStep(weight_percent=100, min_seconds=1, min_requests=150),
    ),
    error_rate=ErrorRateCheck(max_increase=0.06),
    look_seconds=0.2,
    step_timeout_seconds=30,
    max_unknown_seconds=10,
)


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    with (
        Gateway(tmp_path / "gateway", listen_port=LISTEN, admin_port=ADMIN) as gateway,
        scripted_server(OLD),
    ):
        yield gateway


@pytest.fixture
def new() -> Iterator[ScriptedServer]:
    with scripted_server(NEW, seed=3) as server:
        yield server


def roll_out(gateway: Gateway, traffic: Traffic) -> tuple[RolloutState, float]:
    """Drive a rollout to its end, approving the switch; return it, and when it was approved."""
    router = EnvoyFilesRouter(gateway.directory)
    moves = look.Gateway(
        router=router,
        store=FileRolloutStore(gateway.directory),
        metrics=EnvoyStatistics(gateway.admin_url),
        clock=SystemClock(),
    )
    token = moves.store.acquire("m", "test", lease_seconds=60).token
    state = begin(spec=SPEC, model_name="m", candidate="m-v2", stable="m-v1", now=time.time())
    moves.store.save("m", state, token=token, renew=True)
    approved_at = 0.0
    deadline = time.monotonic() + 30
    while not state.finished and time.monotonic() < deadline:
        time.sleep(0.2)
        state, plan = moves.look("m", token=token)
        if plan.has_effects:
            moves.apply(state, token=token)
        if awaits_approval(state):
            assert "m-v2" not in traffic.targets()
            approved_at = time.time()
            moves.store.save("m", approve(state, by="ada", now=approved_at), token=token, renew=False)
    time.sleep(0.5)
    return state, approved_at


@pytest.fixture
def traffic(gateway: Gateway) -> Iterator[Traffic]:
    router = EnvoyFilesRouter(gateway.directory)
    router.ensure_targets("m", {"m-v1": OLD, "m-v2": NEW}, fencing_token=0)
    router.set_weights("m", {"m-v1": 100}, fencing_token=0, expected_generation=None)
    deadline = time.monotonic() + 5
    while gateway.ask("m")[0] != 200 and time.monotonic() < deadline:
        time.sleep(0.02)
    with Traffic(gateway, "m", rate=200) as traffic:
        yield traffic


def test_a_good_candidate_takes_all_at_once_and_no_request_fails(
    traffic: Traffic, gateway: Gateway, new: ScriptedServer
) -> None:
    state, _ = roll_out(gateway, traffic)
    assert state.phase == "promoted", state.reason
    assert state.before.requests >= 150
    assert traffic.targets(after=time.time() - 0.2).keys() == {"m-v2"}
    assert {status for _, status, _ in traffic.answers} == {200}


def test_a_bad_one_has_all_for_seconds_only(traffic: Traffic, gateway: Gateway, new: ScriptedServer) -> None:
    new.error_rate = 0.3
    state, approved_at = roll_out(gateway, traffic)
    assert state.phase == "rolled_back"
    assert "m-v2 is worse beyond chance" in state.reason
    assert traffic.targets(after=time.time() - 0.2).keys() == {"m-v1"}
    exposed = traffic.targets(after=approved_at)["m-v2"]
    print(f"{exposed} requests in {state.history[-1].at - approved_at:.1f} s")
