"""Waiting for a training, as far as it goes without a cluster: what is refused, and how it is said."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_mlops.sensors import TrainingSensor

pytest.importorskip("airflow.providers.cncf.kubernetes")


@pytest.fixture
def wait(run_dag, artifact_root, silent_cluster):
    """Run a sensor; return its state and what it says."""

    def run(**changes):
        messages = []
        given = {"config_file": silent_cluster, "namespace": "ml", "timeout": 0.5, "poke_interval": 0.1, **changes}
        with DAG("training_sensor", schedule=None) as dag:
            TrainingSensor(
                task_id="wait",
                on_failure_callback=lambda context: messages.append(
                    f"{type(context['exception']).__name__}: {context['exception']}"
                ),
                **given,
            )
        return run_dag(dag).states["wait"], messages

    return run


@pytest.mark.parametrize("deferrable", [False, True])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "label_selector: None is not accepted; expected labels, or a model_name or a job"),
        ({"job": "dag/run"}, "job: 'dag/run' is not accepted; expected dag_id/run_id/task_id"),
        ({"job": "dag//task"}, "job: 'dag//task' is not accepted"),
        ({"model_name": "m", "created_after": "yesterday"}, "created_after: 'yesterday' is not accepted"),
        ({"model_name": "m", "created_after": "2026-01-01T00:00:00"}, "expected an ISO 8601 time with its zone"),
    ],
)
def test_what_is_wrong_is_said_before_the_cluster_is_asked(wait, given, expected, deferrable):
    state, (message,) = wait(**given, deferrable=deferrable)
    assert state == "failed"
    assert message.startswith("AirflowFailException: ")
    assert expected in message


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cluster_that_does_not_answer_is_waited_for(wait, deferrable):
    state, (message,) = wait(model_name="flights", deferrable=deferrable)
    assert (state, message.split(":")[0]) == ("failed", "AirflowSensorTimeout")


@pytest.mark.parametrize("deferrable", [False, True])
def test_a_failure_may_skip_what_follows(wait, deferrable):
    assert wait(deferrable=deferrable, soft_fail=True) == ("skipped", [])
