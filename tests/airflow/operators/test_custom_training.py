"""Training by custom resources, as far as it goes without a cluster: what is refused, and how it is said."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_mlops.operators import TrainWithKubeflowOperator, TrainWithRayOperator

pytest.importorskip("airflow.providers.cncf.kubernetes")

REF = {"uri": "file:///d", "digest": "sha256:" + "0" * 64, "format": "csv", "size_bytes": 1, "rows": 1}
OPERATORS = pytest.mark.parametrize("operator", [TrainWithKubeflowOperator, TrainWithRayOperator])


@pytest.fixture
def failure(run_dag, artifact_root, silent_cluster):
    """Run a training that must fail, and return what it says."""

    def run(operator, **changes):
        messages = []
        arguments = {
            "image": "trainer:1",
            "entrypoint": "flights.train",
            "datasets": {"train": REF},
            "model_name": "flights",
            "config_file": silent_cluster,
            "namespace": "ml",
            **({"runtime": "torch"} if operator is TrainWithKubeflowOperator else {}),
            **changes,
        }
        with DAG("custom_refused", schedule=None) as dag:
            operator(
                task_id="train",
                on_failure_callback=lambda context: messages.append(
                    f"{type(context['exception']).__name__}: {context['exception']}"
                ),
                **arguments,
            )
        assert run_dag(dag).states == {"train": "failed"}
        return messages[0]

    return run


@OPERATORS
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cluster_that_does_not_answer_is_worth_another_try(failure, operator, deferrable):
    message = failure(operator, deferrable=deferrable)
    assert message.startswith("AirflowException: ")
    assert "the API server does not answer" in message


@pytest.mark.parametrize(
    ("operator", "changes", "expected"),
    [
        (TrainWithKubeflowOperator, {"datasets": {}}, "datasets: {} is not accepted"),
        (TrainWithKubeflowOperator, {"nodes": 0}, "nodes: 0 is not accepted; expected a number of at least 1"),
        (
            TrainWithKubeflowOperator,
            {"pod_resources": {"priority_class": "high"}},
            "pod_resources.priority_class: 'high' is not accepted; expected None: a TrainJob's runtime sets",
        ),
        (TrainWithKubeflowOperator, {"runtime_kind": "Runtime"}, "runtime_kind: 'Runtime' is not accepted"),
        (TrainWithRayOperator, {"pod_resources": {"memory": "2GB"}}, "PodResources.memory: '2GB' is not accepted"),
        (TrainWithRayOperator, {"worker_resources": {"gpu": 1}}, "worker_resources.gpu: 1 is not accepted"),
        (TrainWithRayOperator, {"workers": -1}, "workers: -1 is not accepted; expected a number of at least 0"),
        (TrainWithRayOperator, {"artifacts": {"mount_path": "/a"}}, "expected either a claim or a host_path"),
    ],
)
def test_what_is_wrong_is_said_before_the_cluster_is_asked(failure, operator, changes, expected):
    message = failure(operator, **changes)
    assert message.startswith("AirflowFailException: ")
    assert expected in message
