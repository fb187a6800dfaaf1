"""Traffic goes back when nobody judges any more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter
from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.local.watchdog import Watchdog, main
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import begin
from airflow_mlops.rollout.watchdog import return_expired
from airflow_mlops.testing.rollout import ManualClock, memory_gateway


def under_way(router: Any, store: Any, now: float) -> int:
    token = store.acquire("m", "dag/run/task/-1", lease_seconds=60).token
    router.ensure_targets("m", {"m-v1": 8201, "m-v2": 8202}, fencing_token=token)
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
    state = begin(spec=spec, model_name="m", candidate="m-v2", stable="m-v1", now=now)
    store.save("m", state, token=token, renew=True)
    router.set_weights("m", {"m-v1": 90, "m-v2": 10}, fencing_token=token, expected_generation=None)
    return int(token)


def test_a_living_rollout_is_left_alone() -> None:
    gateway, router, store, _, clock = memory_gateway()
    under_way(router, store, clock.now())
    clock.advance(59)
    assert return_expired("m", router=router, store=store, clock=gateway.clock) is None
    assert dict(router.observe("m").weights) == {"m-v1": 90, "m-v2": 10}


def test_an_expired_one_gives_its_traffic_back_and_loses_the_right_to_move_it() -> None:
    gateway, router, store, _, clock = memory_gateway()
    token = under_way(router, store, clock.now())
    clock.advance(61)
    said = return_expired("m", router=router, store=store, clock=gateway.clock)
    assert said == ("all traffic of m went back to m-v1: dag/run/task/-1 recorded no verdict until its lease ended")
    assert dict(router.observe("m").weights) == {"m-v1": 100}
    lease = store.load("m")
    assert lease is not None
    assert lease.token > token
    assert lease.holder == ""
    assert return_expired("m", router=router, store=store, clock=gateway.clock) is None


def test_a_watchdog_that_died_half_way_is_finished_by_the_next() -> None:
    gateway, router, store, _, clock = memory_gateway()
    under_way(router, store, clock.now())
    clock.advance(61)
    store.acquire("m", "watchdog", lease_seconds=30)  # and then it died
    clock.advance(31)
    assert return_expired("m", router=router, store=store, clock=gateway.clock) is not None
    assert dict(router.observe("m").weights) == {"m-v1": 100}


def test_a_promotion_that_was_not_tidied_up_stays() -> None:
    gateway, router, store, _, clock = memory_gateway()
    token = store.acquire("m", "a", lease_seconds=60).token
    router.ensure_targets("m", {"m-v2": 8202}, fencing_token=token)
    spec = RolloutSpec(steps=(CanaryStep(weight_percent=10),))
    store.save("m", begin(spec=spec, model_name="m", candidate="m-v2", stable=None, now=0), token=token, renew=True)
    router.set_weights("m", {"m-v2": 100}, fencing_token=token, expected_generation=None)
    clock.advance(61)
    assert return_expired("m", router=router, store=store, clock=gateway.clock) is None
    assert dict(router.observe("m").weights) == {"m-v2": 100}
    lease = store.load("m")
    assert lease is not None
    assert lease.holder == ""


def test_the_embedded_stack_watches_all_routes_and_survives_a_damaged_one(tmp_path: Path) -> None:
    long_ago = ManualClock(time=1000.0)
    under_way(EnvoyFilesRouter(tmp_path), FileRolloutStore(tmp_path, clock=long_ago), 1000.0)
    (tmp_path / "rollouts" / "a.json").write_text("{")
    watchdog = Watchdog(tmp_path, every_seconds=0.01)
    assert watchdog.look() == [
        "all traffic of m went back to m-v1: dag/run/task/-1 recorded no verdict until its lease ended"
    ]
    watchdog.start()
    watchdog.stop()
    assert dict(EnvoyFilesRouter(tmp_path).observe("m").weights) == {"m-v1": 100}


def test_the_command_looks_once_and_its_status_says_whether_all_could_be_watched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    look = ["--gateway-dir", str(tmp_path)]
    assert main(look) == 1  # a volume that is not the gateway's must not look like peace
    assert "a gateway's folder" in capsys.readouterr().err
    long_ago = ManualClock(time=1000.0)
    under_way(EnvoyFilesRouter(tmp_path), FileRolloutStore(tmp_path, clock=long_ago), 1000.0)
    assert main(look) == 0
    assert dict(EnvoyFilesRouter(tmp_path).observe("m").weights) == {"m-v1": 100}
    assert main(look) == 0
    assert "every rollout is decided" in capsys.readouterr().out
    (tmp_path / "rollouts" / "a.json").write_text("{")
    assert main(look) == 1
    assert capsys.readouterr().err.endswith("not watched: a\n")
