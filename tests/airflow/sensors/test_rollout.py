"""The sensor of a rollout's end, over a gateway's folder."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_mlops.adapters.traffic.file_store import FileRolloutStore
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.rollout.state import RolloutState, begin
from airflow_mlops.rollout.step import abort
from airflow_mlops.sensors import RolloutSensor
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.triggers.rollout_end import RolloutEnded, RolloutEndTrigger

STATE = begin(
    spec=RolloutSpec(steps=(CanaryStep(weight_percent=10),)), model_name="m", candidate="m-v2", stable="m-v1", now=5.0
)
PROMOTED = replace(STATE, phase="promoted", sequence=1)
BACK = abort(STATE, 9.0, "errors at m-v2 are worse beyond chance")


@pytest.fixture
def store(tmp_path: Path, connection: Callable[..., None]) -> FileRolloutStore:
    connection("model_gateway_default", conn_type="model_gateway", extra={"directory": str(tmp_path)})
    return FileRolloutStore(tmp_path)


def end(store: FileRolloutStore, state: RolloutState) -> None:
    token = store.acquire("m", "a", lease_seconds=60).token
    store.save("m", state, token=token, renew=True)
    store.release("m", token=token)


def sensor(dag_id: str, **arguments: Any) -> DAG:
    with DAG(dag_id, schedule=None) as dag:
        RolloutSensor(task_id="ended", model_name="m", poke_interval=0.1, **{"timeout": 20, **arguments})
    return dag


@pytest.mark.parametrize("deferrable", [True, False])
def test_it_waits_for_the_end(store: FileRolloutStore, run_dag: Any, deferrable: bool) -> None:
    token = store.acquire("m", "a", lease_seconds=60).token
    store.save("m", STATE, token=token, renew=True)

    def later() -> None:
        time.sleep(1)
        end(store, PROMOTED)

    thread = threading.Thread(target=later)
    thread.start()
    run = run_dag(sensor(f"waits_{deferrable}", candidate="m-v2", deferrable=deferrable))
    thread.join()
    assert run.states == {"ended": "success"}
    result = run.xcom("ended")
    assert (result["outcome"], result["weights"], result["candidate"]) == ("promoted", {"m-v2": 100}, "m-v2")
    assert run.xcom("ended", "outcome") == "promoted"


@pytest.mark.parametrize(
    ("state", "expected", "outcome"),
    [
        (BACK, "promoted", "failed"),
        (BACK, "rolled_back", "success"),
        (BACK, "any", "success"),
        (PROMOTED, "rolled_back", "failed"),
    ],
)
def test_the_end_has_to_be_the_expected_one(
    store: FileRolloutStore, run_dag: Any, capsys: Any, state: RolloutState, expected: str, outcome: str
) -> None:
    end(store, state)
    run = run_dag(sensor(f"expects_{expected}_{state.phase}", expected=expected, deferrable=True, retries=2))
    assert run.states == {"ended": outcome}
    if state is BACK and outcome == "failed":
        said = "the rollout of m-v2 on route m was rolled back, not promoted: errors at m-v2 are worse beyond chance"
        assert said in capsys.readouterr().out


@pytest.mark.parametrize("deferrable", [True, False])
def test_time_runs_out(store: FileRolloutStore, run_dag: Any, capsys: Any, deferrable: bool) -> None:
    store.acquire("m", "release/monday/canary/-1", lease_seconds=60)
    run = run_dag(sensor(f"late_{deferrable}", timeout=0.5, deferrable=deferrable))
    assert run.states == {"ended": "failed"}
    said = "was not over within 0.5 seconds; last seen: held by release/monday/canary/-1; nothing is stored yet"
    assert said in capsys.readouterr().out


def test_wrong_words_are_named(store: FileRolloutStore, run_dag: Any, capsys: Any) -> None:
    assert run_dag(sensor("wrong", expected="promted")).states == {"ended": "failed"}
    assert "expected: 'promted' is not accepted; expected one of 'promoted', 'rolled_back'" in capsys.readouterr().out


def test_a_gateway_that_cannot_be_read_ends_the_waiting(connection: Any) -> None:
    connection("model_gateway_default", conn_type="model_gateway", extra={"directory": "relative"})
    trigger = RolloutEndTrigger(
        gateway_conn_id="model_gateway_default", route="m", candidate=None, deadline=0.0, poll_seconds=0.01
    )
    path, arguments = trigger.serialize()
    assert path == f"{RolloutEndTrigger.__module__}.{RolloutEndTrigger.__name__}"
    assert RolloutEndTrigger(**arguments).serialize() == (path, arguments)

    async def first() -> Any:
        return await anext(trigger.run())

    event = from_payload(RolloutEnded, asyncio.run(first()).payload)
    assert event.kind == "refused"
    assert "expected the absolute path" in event.message
