"""Evaluating in a pod, as far as it goes without a cluster."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_mlops.operators import EvaluateOnKubernetesOperator

pytest.importorskip("airflow.providers.cncf.kubernetes")

REF = {"uri": "file:///d", "digest": "sha256:" + "0" * 64, "format": "csv", "size_bytes": 1}
ROWS = {**REF, "rows": 1}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"slices": "origin"}, "slices: 'origin' is not accepted; expected a list of column names"),
        ({"confidence": 1.5}, "1.5 is not accepted"),
        ({"dataset": "x"}, "datasets.test: 'x' is not accepted; expected an encoded DatasetRef"),
        ({"candidate": {"uri": "file:///m"}}, "models.candidate[0].digest: None is not accepted"),
        ({"champion": {**REF, "uri": "s3://b/m"}}, "models.champion[0].uri: 's3://b/m' is not accepted"),
    ],
)
def test_what_is_wrong_is_said_before_the_cluster_is_asked(run_dag, artifact_root, changes, expected):
    messages = []
    arguments = {"candidate": REF, "dataset": ROWS, "target": "late", "model_name": "flights", **changes}
    with DAG("evaluate_refused", schedule=None) as dag:
        EvaluateOnKubernetesOperator(
            task_id="evaluate",
            image="trainer:1",
            on_failure_callback=lambda context: messages.append(
                f"{type(context['exception']).__name__}: {context['exception']}"
            ),
            **arguments,
        )
    assert run_dag(dag).states == {"evaluate": "failed"}
    assert messages[0].startswith("AirflowFailException: ")
    assert expected in messages[0]


def test_it_is_one_pod_that_tracks_nothing_and_takes_no_script():
    for name in ("mlflow_conn_id", "entrypoint", "parallelism"):
        with pytest.raises(TypeError, match=name), DAG("evaluate_strict", schedule=None):
            EvaluateOnKubernetesOperator(
                task_id="e", candidate=REF, dataset=ROWS, target="late", model_name="m", **{name: "x"}
            )
