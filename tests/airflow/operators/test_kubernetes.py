"""Training in a pod, as far as it goes without a cluster: what is refused, and how it is said."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_mlops.operators import TrainOnKubernetesOperator

pytest.importorskip("airflow.providers.cncf.kubernetes")

REF = {"uri": "file:///d", "digest": "sha256:" + "0" * 64, "format": "csv", "size_bytes": 1, "rows": 1}


@pytest.fixture
def kubeconfig(tmp_path, free_port):
    """A cluster that does not answer."""
    path = tmp_path / "kubeconfig"
    server = {"server": f"http://127.0.0.1:{free_port}"}
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": server}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def failure(run_dag, artifact_root, kubeconfig, tmp_path):
    """Run a training that must fail, and return what it says."""

    def run(**changes):
        messages = []
        arguments = {
            "image": "trainer:1",
            "entrypoint": "flights.train",
            "datasets": {"train": REF},
            "model_name": "flights",
            "config_file": kubeconfig,
            "namespace": "ml",
            **changes,
        }
        with DAG("kubernetes_refused", schedule=None) as dag:
            TrainOnKubernetesOperator(
                task_id="train",
                on_failure_callback=lambda context: messages.append(
                    f"{type(context['exception']).__name__}: {context['exception']}"
                ),
                **arguments,
            )
        assert run_dag(dag).states == {"train": "failed"}
        return messages[0]

    return run


@pytest.mark.parametrize("parallelism", [1, 3])
@pytest.mark.parametrize("deferrable", [False, True])
def test_a_cluster_that_does_not_answer_is_worth_another_try(failure, deferrable, parallelism):
    message = failure(deferrable=deferrable, parallelism=parallelism)
    assert message.startswith("AirflowException: ")
    assert "the API server does not answer" in message


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"datasets": {}}, "datasets: {} is not accepted; expected a mapping from role to datasets"),
        ({"datasets": {"train": "x"}}, "datasets.train: 'x' is not accepted; expected an encoded DatasetRef"),
        ({"datasets": {"train": []}}, "datasets.train: [] is not accepted; expected at least one DatasetRef"),
        (
            {"datasets": {"train": {**REF, "uri": "s3://b/d"}}},
            "datasets.train[0].uri: 's3://b/d' is not accepted; expected a path (file://…) on storage",
        ),
        ({"pod_resources": {"memory": "2GB"}}, "PodResources.memory: '2GB' is not accepted; expected a size in bytes"),
        ({"pod_resources": {"memmory": "2Gi"}}, "memmory"),
        ({"artifacts": {"mount_path": "/a"}}, "expected either a claim or a host_path"),
        ({"parallelism": 0}, "parallelism: 0 is not accepted; expected how many pods train, a whole number"),
        ({"parallelism": "3"}, "parallelism: '3' is not accepted"),
        ({"parallelism": 2, "callbacks": [object]}, "expected none where parallelism is above 1: they see one pod"),
    ],
)
def test_what_is_wrong_is_said_before_the_cluster_is_asked(failure, changes, expected):
    message = failure(**changes)
    assert message.startswith("AirflowFailException: ")
    assert expected in message


def test_a_store_that_no_pod_can_share_is_refused(failure, monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__ARTIFACT_ROOT", "memory://bucket/mlops")
    message = failure()
    assert "[mlops] artifact_root: 'memory://bucket/mlops' is not accepted" in message
    assert "a bucket can be mounted as one" in message


def test_a_tracking_server_that_a_pod_cannot_reach_is_refused_before_a_run_is_opened(failure, monkeypatch, free_port):
    monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_DEFAULT", f"mlflow://127.0.0.1:{free_port}")
    message = failure(mlflow_conn_id="mlflow_default")
    assert message.startswith("AirflowFailException: host of the connection 'mlflow_default': ")
    assert "expected an address that means the same in a pod" in message
