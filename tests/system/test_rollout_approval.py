"""People and a canary: Airflow's own form and a real triggerer, over a real Envoy.

The run is driven by ``dag.test``, which stands for scheduler and worker; triggers run in a triggerer of their own, so a
task wakes, is ended and is cleared as in any Airflow.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.local.database import keep_trigger_numbers
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.testing.gateway import Traffic
from tests.airflow.conftest import airflow_db, artifact_root, connection, run_dag  # noqa: F401 - fixtures
from tests.airflow.test_rollout import SPEC, World, canary_dag, world  # noqa: F401 - a fixture

pytestmark = [pytest.mark.system, pytest.mark.timeout(240)]

ASKING = {
    **SPEC,
    "steps": [{"weight_percent": 30, "min_seconds": 0.5, "min_requests": 40, "approval": True}],
    "step_timeout_seconds": 60,
}


@pytest.fixture(scope="module")
def client(airflow_db: None) -> Iterator[Any]:  # noqa: F811
    """Airflow's own API, asked by its administrator."""
    from airflow.api_fastapi.app import create_app, purge_cached_app
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
    from fastapi.testclient import TestClient

    purge_cached_app()
    app = create_app(apps="core")
    token = app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username="ada", role="ADMIN"))
    with contextlib.closing(TestClient(app, base_url="http://airflow")) as client:
        client.headers["Authorization"] = f"Bearer {token}"
        yield client
    purge_cached_app()


@pytest.fixture(scope="module")
def numbers(airflow_db: None) -> None:  # noqa: F811
    """Every trigger has a number of its own, as in the embedded stack."""
    from airflow.settings import engine

    assert engine is not None
    keep_trigger_numbers(Path(str(engine.url.database)))


@pytest.fixture(scope="module")
def triggerer(airflow_db: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:  # noqa: F811
    """A triggerer in a process of its own; the path of its log."""
    log = tmp_path_factory.mktemp("triggerer") / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "airflow", "triggerer", "--skip-serve-logs"], stdout=out, stderr=out
        )
        yield log
        process.terminate()
        process.wait(30)


@pytest.fixture
def people(
    world: World,  # noqa: F811
    numbers: None,
    triggerer: Path,
    client: Any,
    run_dag: Callable[..., Any],  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> Iterator[Callable[..., Any]]:
    """Run a canary beside which ``person(dag_id)`` acts, in a thread; returns the run."""
    from airflow.models.connection import Connection
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.definitions import dag as definitions
    from airflow.settings import Session
    from sqlalchemy import delete

    # The triggerer was started before this test: it reads the connection from the database.
    given = json.loads(os.environ["AIRFLOW_CONN_MODEL_GATEWAY_DEFAULT"])
    session = Session()
    fields = {**given, "extra": json.dumps(given["extra"])}
    session.add(Connection(conn_id="model_gateway_default", **fields))
    session.commit()
    # dag.test writes once more that a task sleeps, after Airflow did; by then the triggerer may have woken it.
    write = TaskInstance.set_state
    monkeypatch.setattr(
        TaskInstance, "set_state", lambda ti, state, **more: state == "deferred" or write(ti, state, **more)
    )
    without = functools.partial(definitions._run_task)
    monkeypatch.setattr(definitions, "_run_task", lambda **more: without(**{**more, "run_triggerer": False}))
    failed: list[BaseException] = []

    def run(person: Callable[[str], Any], **arguments: Any) -> Any:
        dag_id = f"asks_{request.node.name.split('[')[0]}"

        def act() -> None:
            try:
                person(dag_id)
            except BaseException as error:  # noqa: BLE001 - raised again where pytest sees it
                failed.append(error)
                # The task has to end, or the run never does.
                with contextlib.suppress(SystemExit):
                    command("abort")

        thread = threading.Thread(target=act)
        with Traffic(world.gateway, "flights", rate=150):
            thread.start()
            found = run_dag(canary_dag(dag_id, spec=arguments.pop("spec", ASKING), **arguments))
            thread.join(20)
        if failed:
            raise failed[0]
        return found

    yield run
    session.execute(delete(Connection).where(Connection.conn_id == "model_gateway_default"))
    session.commit()


def rollout(world: World) -> RolloutState:  # noqa: F811
    lease = world.store.load("flights")
    assert lease is not None
    state = lease.state or lease.previous
    assert state is not None
    return state


def sequence(world: World) -> int:  # noqa: F811
    return rollout(world).sequence


def question(client: Any, dag_id: str) -> dict[str, Any]:
    """Wait until the task asks and sleeps."""
    return until(lambda: _open_question(client, dag_id), "nobody was asked")


def _open_question(client: Any, dag_id: str) -> Any:
    found = client.get(f"/api/v2/dags/{dag_id}/dagRuns/~/hitlDetails").json()["hitl_details"]
    waiting = [one for one in found if one["task_instance"]["state"] == "deferred" and not one["response_received"]]
    return waiting[0] if waiting else None


def until(found: Callable[[], Any], otherwise: str, seconds: float = 100) -> Any:
    deadline = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.1)
    return value


def answer(client: Any, dag_id: str, option: str) -> None:
    ti = question(client, dag_id)["task_instance"]
    path = f"/api/v2/dags/{dag_id}/dagRuns/{ti['dag_run_id']}/taskInstances/canary/-1/hitlDetails"
    given = client.patch(path, json={"chosen_options": [option], "params_input": {"comment": "seen by the board"}})
    assert given.status_code == 200, given.text


def command(verb: str, *words: str) -> None:
    from airflow.cli.cli_parser import get_parser

    args = get_parser().parse_args(["mlops", "rollout", verb, "flights", *words])
    args.func(args)


def test_a_person_approves_by_the_form(world: World, people: Any, client: Any) -> None:  # noqa: F811
    seen: list[Any] = []

    def person(dag_id: str) -> None:
        seen.append(question(client, dag_id))
        seen.append(world.weights())
        answer(client, dag_id, "Approve")

    run = people(person)
    assert run.states == {"canary": "success"}
    asked, weights = seen
    assert weights == {"flights-v1": 70, "flights-v2": 30}
    assert asked["subject"] == "Route flights: may flights-v2 take more traffic from flights-v1?"
    assert "| check | verdict | found | interval | bound | in words |" in asked["body"]
    assert "| error_rate.proof | pass |" in asked["body"]
    assert (asked["options"], asked["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert world.weights() == {"flights-v2": 100}
    reasons = [entry["reason"] for entry in run.xcom("canary")["history"]]
    assert "ada (seen by the board) approved 30 %" in reasons


def test_a_person_rejects_by_the_form(world: World, people: Any, client: Any) -> None:  # noqa: F811
    run = people(lambda dag_id: answer(client, dag_id, "Reject"))
    assert run.states == {"canary": "failed"}
    assert world.weights() == {"flights-v1": 100}
    assert run.xcom("canary")["reason"] == "rejected by ada: seen by the board"


def test_a_command_approves_and_the_form_asks_nobody_any_more(world: World, people: Any, client: Any) -> None:  # noqa: F811
    def person(dag_id: str) -> None:
        question(client, dag_id)
        command("approve", "--comment", "by phone")

    run = people(person)
    assert run.states == {"canary": "success"}
    assert any("(by phone) approved 30 %" in entry["reason"] for entry in run.xcom("canary")["history"])
    (form,) = client.get(f"/api/v2/dags/{run.dag_run.dag_id}/dagRuns/~/hitlDetails").json()["hitl_details"]
    assert (form["response_received"], form["chosen_options"], form["responded_by_user"]) == (True, ["Approve"], None)


def test_harm_rolls_back_while_the_question_is_open(world: World, people: Any, client: Any) -> None:  # noqa: F811
    def person(dag_id: str) -> None:
        question(client, dag_id)
        world.candidate.error_rate = 0.3

    run = people(person)
    assert run.states == {"canary": "failed"}
    assert "worse beyond chance" in run.xcom("canary")["reason"]
    assert world.weights() == {"flights-v1": 100}


def test_a_command_aborts_and_the_task_ends_with_its_reason(world: World, people: Any, client: Any) -> None:  # noqa: F811
    def person(dag_id: str) -> None:
        question(client, dag_id)
        command("abort", "--comment", "odd answers")
        assert world.weights() == {"flights-v1": 100}

    run = people(person, retries=3)
    assert run.states == {"canary": "failed"}
    assert run.xcom("canary")["reason"].endswith(": odd answers")
    lease = world.store.load("flights")
    assert lease is not None
    assert lease.holder == ""


def test_marking_the_sleeping_task_failed_gives_the_traffic_back(world: World, people: Any, client: Any) -> None:  # noqa: F811
    def person(dag_id: str) -> None:
        run_id = question(client, dag_id)["task_instance"]["dag_run_id"]
        # A trigger that the triggerer has not taken up yet hears of nothing; then the watchdog is what is left.
        asleep = sequence(world)
        until(lambda: sequence(world) > asleep, "nobody looks")
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/canary"
        given = client.patch(path, json={"new_state": "failed"})
        assert given.status_code == 200, given.text
        until(lambda: world.weights() == {"flights-v1": 100}, "the candidate kept its traffic")

    run = people(person)
    assert run.states == {"canary": "failed"}
    lease = world.store.load("flights")
    assert lease is not None
    assert lease.state is not None
    assert (lease.holder, lease.state.reason) == ("", "the task was ended by hand (its state is failed)")


def test_a_cleared_task_asks_again(world: World, people: Any, client: Any) -> None:  # noqa: F811
    """It takes its rollout up, or begins anew if the trigger was faster; either way somebody judges."""

    def person(dag_id: str) -> None:
        run_id = question(client, dag_id)["task_instance"]["dag_run_id"]
        # dag.test still writes the task's state after the task has gone to sleep.
        asleep = sequence(world)
        until(lambda: sequence(world) > asleep + 3, "nobody looks")
        given = client.post(
            f"/api/v2/dags/{dag_id}/clearTaskInstances",
            json={
                "dry_run": False,
                "dag_run_id": run_id,
                "task_ids": ["canary"],
                "only_failed": False,
            },
        )
        assert given.status_code == 200, given.text
        until(lambda: question(client, dag_id)["task_instance"]["try_number"] == 2, "nobody was asked again")
        answer(client, dag_id, "Approve")

    run = people(person)
    assert run.states == {"canary": "success"}
    assert world.weights() == {"flights-v2": 100}
