"""What else the canary operator can be told, over a real Envoy: only plan, take another's place, tell people."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.codec import decode
from airflow_mlops.notifications.rollout import RolloutNotifier
from airflow_mlops.operators.rollout import CanaryRolloutOperator
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.state import RolloutState, awaits_approval, begin
from airflow_mlops.sensors import RolloutSensor
from airflow_mlops.testing.gateway import Traffic
from airflow_mlops.triggers.events import RolloutEvent, to_payload
from airflow_mlops.triggers.rollout import RolloutTrigger
from tests.airflow.test_rollout import CANDIDATE, SPEC, World, canary_dag, world  # noqa: F401 - a fixture
from tests.airflow.test_rollout_notices import Chat, chat  # noqa: F401 - a fixture

pytestmark = pytest.mark.stack

ONE_STEP = {**SPEC, "steps": SPEC["steps"][:1]}


def files(world: World) -> dict[str, bytes]:  # noqa: F811
    return {str(path): path.read_bytes() for path in world.directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("dry_run", [True, "{{ 'true' }}"])
def test_a_dry_run_says_what_it_would_do_and_changes_nothing(
    world: World,  # noqa: F811
    run_dag: Callable[..., Any],
    capsys: Any,
    dry_run: Any,
) -> None:
    before = files(world)
    run = run_dag(canary_dag("dry", dry_run=dry_run))
    assert run.states == {"canary": "success"}
    assert files(world) == before
    result = run.xcom("canary")
    assert (result["outcome"], result["candidate"], result["stable"]) == ("dry_run", "flights-v2", "flights-v1")
    assert result["first"]["action"] == "set_weights"
    assert result["first"]["weights"] == {"flights-v2": 20, "flights-v1": 80}
    assert result["obstacles"] == []
    said = capsys.readouterr().out
    assert "2. 50 % of the requests; at least 1 s and 80 requests at both models" in said


def test_a_dry_run_says_why_it_would_not_begin(world: World, run_dag: Callable[..., Any]) -> None:  # noqa: F811
    world.store.acquire("flights", "release/monday/canary/-1", lease_seconds=60)
    result = run_dag(canary_dag("dry_held", dry_run=True, candidate="flights-v3")).xcom("canary")
    assert result["obstacles"] == [
        "route 'flights': a rollout held by 'release/monday/canary/-1' is under way",
        "model server 'flights-v3' is starting, not ready: loads the model",
    ]


@pytest.mark.parametrize("name", ["dry_run", "supersede"])
def test_neither_yes_nor_no_is_named(world: World, run_dag: Callable[..., Any], capsys: Any, name: str) -> None:  # noqa: F811
    assert run_dag(canary_dag(f"vague_{name}", **{name: "perhaps"})).states == {"canary": "failed"}
    assert f"{name}: 'perhaps' is not accepted; expected true or false" in capsys.readouterr().out
    assert world.weights() == {"flights-v1": 100}


def held(world: World) -> tuple[int, RolloutState]:  # noqa: F811
    """Another task's rollout at its first step; returns its token and state."""
    token = world.store.acquire("flights", "release/monday/canary/-1", lease_seconds=60).token
    return token, begin_at(world, token)


def begin_at(world: World, token: int) -> RolloutState:  # noqa: F811
    """A rollout at its first step."""
    spec = decode(RolloutSpec, SPEC)
    state = begin(spec=spec, model_name="flights", candidate="flights-v2", stable="flights-v1", now=1.0)
    world.router.ensure_targets("flights", {"flights-v2": CANDIDATE}, fencing_token=token)
    world.store.save("flights", state, token=token, renew=True)
    weights = {"flights-v1": 80, "flights-v2": 20}
    world.router.set_weights("flights", weights, fencing_token=token, expected_generation=None)
    return state


class Woken(CanaryRolloutOperator):
    """A task that its trigger has woken."""

    arguments: dict[str, Any]

    def execute(self, context: Any) -> dict[str, Any]:
        return self.resume(context, **self.arguments)


def woken_dag(dag_id: str, **arguments: Any) -> Any:
    with DAG(dag_id, schedule=None) as dag:
        Woken(task_id="canary", model_name="flights", candidate="flights-v2", spec=SPEC, retries=2)
    Woken.arguments = arguments
    return dag


def test_a_rollout_takes_anothers_place(world: World, run_dag: Callable[..., Any]) -> None:  # noqa: F811
    token, state = held(world)
    with Traffic(world.gateway, "flights", rate=200) as traffic:
        run = run_dag(canary_dag("newer", supersede=True, spec=ONE_STEP))
    assert run.states == {"canary": "success"}
    assert world.weights() == {"flights-v2": 100}
    assert {status for _, status, _ in traffic.answers} == {200}

    trigger = RolloutTrigger(
        gateway_conn_id="model_gateway_default",
        route="flights",
        token=token,
        look_seconds=0.01,
        task={},
        started_at=state.started_at,
    )

    async def first() -> Any:
        return await anext(trigger.run())

    older = run_dag(woken_dag("older", event=asyncio.run(first()).payload))
    assert older.states == {"canary": "failed"}
    holder = f"newer/{run.run_id}/canary/-1"
    assert older.xcom("canary")["reason"] == f"superseded by {holder}"
    assert older.xcom("canary")["evidence_uri"]
    assert world.weights() == {"flights-v2": 100}


def test_an_answer_wakes_the_task_without_its_trigger(world: World, run_dag: Callable[..., Any]) -> None:  # noqa: F811
    token, state = held(world)
    event = {
        "chosen_options": ["Reject"],
        "params_input": {"comment": "not on a Friday"},
        "responded_at": "2026-01-02T10:00:00+00:00",
        "responded_by_user": {"id": "7", "name": "Grace"},
        "timedout": False,
    }
    run = run_dag(woken_dag("answered", event=event, token=token, started_at=state.started_at))
    assert run.states == {"canary": "failed"}
    assert run.xcom("canary")["reason"] == "rejected by Grace (id 7): not on a Friday"
    assert world.weights() == {"flights-v1": 100}


def test_the_event_of_another_rollout_decides_nothing(world: World, run_dag: Callable[..., Any]) -> None:  # noqa: F811
    token, state = held(world)
    rejected = {"chosen_options": ["Reject"], "responded_by_user": {"id": "7", "name": "7"}, "timedout": False}
    event = to_payload(
        RolloutEvent(kind="answered", token=token, started_at=0.5, message="the form was answered", answer=rejected)
    )
    with Traffic(world.gateway, "flights", rate=200):
        run = run_dag(woken_dag("strange", event=event, token=token, started_at=state.started_at))
    assert run.states == {"canary": "success"}
    assert world.weights() == {"flights-v2": 100}


def test_an_approval_that_comes_too_late_changes_nothing(
    world: World,  # noqa: F811
    run_dag: Callable[..., Any],
    capsys: Any,
) -> None:
    token, state = held(world)
    event = {"chosen_options": ["Approve"], "responded_by_user": {"id": "7", "name": "7"}, "timedout": False}
    with Traffic(world.gateway, "flights", rate=200):
        run = run_dag(woken_dag("late", event=event, token=token, started_at=state.started_at))
    assert run.states == {"canary": "success"}
    assert "the answer of 7 came too late: a rollout that waits for approval" in capsys.readouterr().out


@pytest.mark.parametrize("retries", [0, 1])
def test_a_task_that_may_not_wait_any_longer_gives_the_traffic_back(
    world: World,  # noqa: F811
    run_dag: Callable[..., Any],
    retries: int,
) -> None:
    """Airflow wakes it only to fail; while it has tries left, the next one takes the rollout up."""

    class Failing(CanaryRolloutOperator):
        def execute(self, context: Any) -> Any:
            if context["ti"].try_number > 1:
                return super().execute(context)
            begin_at(world, world.store.acquire("flights", self._holder(context), lease_seconds=60).token)
            return self.resume_execution("__fail__", {"error": "Trigger timeout"}, context)

    with DAG(f"waited_{retries}", schedule=None) as dag:
        Failing(
            task_id="canary",
            model_name="flights",
            candidate="flights-v2",
            spec=SPEC,
            retries=retries,
            retry_delay=timedelta(0),
        )
    with Traffic(world.gateway, "flights", rate=200):
        run = run_dag(dag)
    lease = world.store.load("flights")
    assert lease is not None
    assert lease.state is not None
    assert (lease.holder, lease.state.started_at) == ("", 1.0)
    if retries:
        assert run.states == {"canary": "success"}
        assert world.weights() == {"flights-v2": 100}
    else:
        assert run.states == {"canary": "failed"}
        assert world.weights() == {"flights-v1": 100}
        assert lease.state.reason == "the task failed: the task could not wait any longer: Trigger timeout"


class TestOnKill:
    """Airflow calls the operator's ``on_kill`` when a task is ended that has a worker."""

    @pytest.mark.parametrize("lost", [False, True])
    def test_the_traffic_goes_back_if_the_lease_is_still_held(
        self,
        world: World,  # noqa: F811
        run_dag: Callable[..., Any],
        lost: bool,
    ) -> None:
        running: list[CanaryRolloutOperator] = []

        class Ended(CanaryRolloutOperator):
            def execute(self, context: Any) -> Any:
                running.append(self)
                return super().execute(context)

        def end() -> None:
            while world.weights().get("flights-v2") != 20:
                time.sleep(0.02)
            if lost:
                lease = world.store.load("flights")
                assert lease is not None
                world.store.release("flights", token=lease.token)
                begin_at(world, world.store.acquire("flights", "another", lease_seconds=60).token)
            running[0].on_kill()

        with DAG(f"ended_{lost}", schedule=None) as dag:
            Ended(task_id="canary", model_name="flights", candidate="flights-v2", spec=SPEC, deferrable=False)
        thread = threading.Thread(target=end)
        thread.start()
        run = run_dag(dag)
        thread.join()
        assert run.states == {"canary": "failed"}
        lease = world.store.load("flights")
        assert lease is not None
        assert lease.state is not None
        if lost:
            assert (lease.holder, lease.state.phase, world.weights()["flights-v2"]) == ("another", "progressing", 20)
        else:
            assert (lease.holder, world.weights()) == ("", {"flights-v1": 100})
            assert lease.state.reason == "the task was ended while it moved traffic"


def test_a_command_approves_what_waits_for_it(world: World, run_dag: Callable[..., Any], capsys: Any) -> None:  # noqa: F811
    """Here triggers run in the task's process, where no form can be read."""

    def person() -> None:
        from airflow.cli.cli_parser import get_parser

        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            lease = world.store.load("flights")
            if lease is not None and lease.state is not None and awaits_approval(lease.state):
                break
            time.sleep(0.1)
        args = get_parser().parse_args(["mlops", "rollout", "approve", "flights"])
        args.func(args)

    asks = {**ONE_STEP, "steps": [{**SPEC["steps"][0], "approval": True}]}
    thread = threading.Thread(target=person)
    with Traffic(world.gateway, "flights", rate=200):
        thread.start()
        run = run_dag(canary_dag("asks", spec=asks))
    thread.join()
    assert run.states == {"canary": "success"}
    assert any("approved 20 %" in entry["reason"] for entry in run.xcom("canary")["history"])


def test_people_are_told_of_every_decision(
    world: World,  # noqa: F811
    run_dag: Callable[..., Any],
    chat: Chat,  # noqa: F811
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(context: Any) -> None:
        raise RuntimeError("out of paper")

    tell = RolloutNotifier(http_conn_id="chat", message="{{ rollout.phase }} {{ rollout.weights }}", with_facts=True)
    arguments = {"on_step": [broken, tell], "on_promotion": tell, "on_rollback": tell}
    with caplog.at_level(logging.ERROR), Traffic(world.gateway, "flights", rate=200):
        run = run_dag(canary_dag("told", **arguments))
    assert run.states == {"canary": "success"}
    assert [body["text"] for _, _, body in chat.got] == [
        "progressing {'flights-v2': 20, 'flights-v1': 80}",
        "progressing {'flights-v2': 50, 'flights-v1': 50}",
        "promoted {'flights-v2': 100}",
    ]
    facts = chat.got[-1][2]["rollout"]
    assert facts["sentence"].startswith(
        "flights-v2 was promoted on route flights: flights-v2 takes all traffic, proven"
    )
    assert facts["evidence_uri"] == run.xcom("canary")["evidence_uri"]
    assert facts["report_address"].endswith("/canary/-1/rollout")


def test_people_are_told_of_a_rollback(world: World, run_dag: Callable[..., Any], chat: Chat) -> None:  # noqa: F811
    world.candidate.error_rate = 0.3
    with Traffic(world.gateway, "flights", rate=200):
        run_dag(canary_dag("told_back", on_rollback=[RolloutNotifier(http_conn_id="chat")]))
    ((_, _, body),) = chat.got
    assert body["text"].startswith("flights-v2 was rolled back on route flights to flights-v1: ")
    assert "worse beyond chance" in body["text"]


def test_checks_before_and_after_are_tasks(world: World, run_dag: Callable[..., Any]) -> None:  # noqa: F811
    """A failed check before keeps all traffic where it is; the sensor behind says how the rollout ended."""

    def pipeline(dag_id: str, *, fit: bool, candidate_errors: float = 0.0) -> Any:
        world.candidate.error_rate = candidate_errors

        @task
        def check_before() -> None:
            if not fit:
                raise ValueError("the candidate's answers are not the model's")

        @task(trigger_rule="all_done")
        def clean_up(outcome: str) -> str:
            return f"cleans up after {outcome}"

        with DAG(dag_id, schedule=None) as dag:
            canary = CanaryRolloutOperator(
                task_id="canary", model_name="flights", candidate="flights-v2", spec=ONE_STEP
            )
            ended = RolloutSensor(
                task_id="ended",
                model_name="flights",
                candidate="flights-v2",
                expected="any",
                trigger_rule="all_done",
                poke_interval=0.2,
                timeout=1,
            )
            check_before() >> canary >> ended
            clean_up(ended.output["outcome"])
        return dag

    before = run_dag(pipeline("unfit", fit=False))
    assert before.states["check_before"] == "failed"
    assert before.states["canary"] == "upstream_failed"
    assert world.weights() == {"flights-v1": 100}
    with Traffic(world.gateway, "flights", rate=200):
        after = run_dag(pipeline("harmful", fit=True, candidate_errors=0.3))
    assert (after.states["canary"], after.states["ended"]) == ("failed", "success")
    assert after.xcom("clean_up") == "cleans up after rolled_back"
