"""A warm pod as far as it goes without a cluster: the group's shape, what clearing takes along, what is refused."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.codec import encode
from airflow_mlops.operators import RunInWarmPodOperator, StartWarmPodOperator
from airflow_mlops.training.warm import WarmPodRef

pytest.importorskip("airflow.providers.cncf.kubernetes")

REF = encode(
    WarmPodRef(namespace="ml", name="p", uid="u", container="base", python="python", setup="warm.start_warm_pod")
)


@pytest.fixture
def dag():
    from airflow_mlops.operators.warm_pod import WarmPod

    @task
    def before(): ...

    @task
    def after(): ...

    with DAG("warm", schedule=None) as made:
        with WarmPod("warm", image="trainer:1", config_file="/k") as pod:
            first = pod.step("first", command=["true"])
            first >> pod.step("second", entrypoint="second.py")
            RunInWarmPodOperator.partial(task_id="each", entrypoint="each.py", **pod.step_arguments).expand(
                parameters=[{"number": 1}, {"number": 2}]
            )
            task(lambda: None, task_id="aside")()
        before() >> pod >> after()
    return made


def test_setup_and_teardown_enclose_every_task_of_the_group(dag):
    start, stop = (dag.get_task(f"warm.{name}_warm_pod") for name in ("start", "stop"))
    assert start.is_setup
    assert stop.is_teardown
    assert start.upstream_task_ids == {"before"}
    assert start.downstream_task_ids == {"warm.first", "warm.second", "warm.each", "warm.aside", "warm.stop_warm_pod"}
    assert stop.upstream_task_ids == {"warm.second", "warm.each", "warm.aside", "warm.start_warm_pod"}
    assert dag.get_task("after").upstream_task_ids == {"warm.second", "warm.each", "warm.aside"}
    assert dag.get_task("warm.first").config_file == "/k"
    assert start.config_file == "/k"


def test_clearing_one_step_takes_setup_and_teardown_along_and_nothing_else(dag):
    from airflow.serialization.serialized_objects import DagSerialization

    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    stored = DagSerialization.deserialize_dag(document)
    cleared = stored.partial_subset(task_ids={"warm.second"}, include_upstream=False, include_downstream=False)
    assert set(cleared.task_ids) == {"warm.second", "warm.start_warm_pod", "warm.stop_warm_pod"}


def test_the_ui_clears_them_together(dag, run_dag, artifact_root):
    from airflow.serialization.serialized_objects import DagSerialization

    run = run_dag(dag)  # there is no cluster; what was not reached can be cleared all the same
    assert run.states["warm.start_warm_pod"] == "failed"
    stored = DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag))
    cleared = stored.clear(dry_run=True, run_id=run.run_id, task_ids=["warm.second"])
    assert {ti.task_id for ti in cleared} == {"warm.second", "warm.start_warm_pod", "warm.stop_warm_pod"}


@pytest.fixture
def failure(run_dag, artifact_root):
    """Run one task that must fail, and return what it says."""

    def run(operator, **arguments):
        messages = []
        with DAG("warm_refused", schedule=None) as dag:
            operator(
                task_id="t",
                config_file="/nowhere",
                on_failure_callback=lambda context: messages.append(
                    f"{type(context['exception']).__name__}: {context['exception']}"
                ),
                **arguments,
            )
        assert run_dag(dag).states == {"t": "failed"}
        return messages[0]

    return run


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"pod": "p", "command": ["true"]}, "pod: 'p' is not accepted; expected what StartWarmPodOperator returned"),
        ({"pod": {**REF, "node": "n"}, "command": ["true"]}, "node"),
        ({"pod": REF}, "entrypoint: None is not accepted; expected either an entrypoint or a command, not both"),
        ({"pod": REF, "entrypoint": "a.py", "command": ["true"]}, "expected either an entrypoint or a command"),
        ({"pod": REF, "command": "ls -l"}, "command: 'ls -l' is not accepted; expected a list of words"),
        ({"pod": REF, "command": []}, "command: [] is not accepted; expected a list of words"),
        ({"pod": REF, "command": ["a"], "parameters": {"b": 1}}, "parameters: {'b': 1} is not accepted"),
        ({"pod": REF, "command": ["a"], "kind": "bake"}, "kind: 'bake' is not accepted; expected one of train, eval"),
        ({"pod": REF, "entrypoint": "a", "datasets": {"x": []}}, "datasets.x: [] is not accepted"),
    ],
)
def test_a_step_that_is_wrong_is_refused_before_the_cluster_is_asked(failure, arguments, expected):
    message = failure(RunInWarmPodOperator, **arguments)
    assert message.startswith("AirflowFailException: ")
    assert expected in message


@pytest.mark.parametrize("lifetime", [None, 0, -5, True, "3600"])
def test_a_pod_that_would_live_for_ever_is_refused(failure, lifetime):
    message = failure(StartWarmPodOperator, image="trainer:1", active_deadline_seconds=lifetime)
    assert message.startswith("AirflowFailException: active_deadline_seconds: ")
    assert "seconds after which the cluster ends the pod, whatever happens" in message


def test_a_store_that_no_pod_can_share_is_refused(failure, monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", "memory://bucket/mlops")
    message = failure(StartWarmPodOperator, image="trainer:1")
    assert "[mlops] artifact_root: 'memory://bucket/mlops' is not accepted" in message
