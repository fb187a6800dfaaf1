"""``@task.validate``, ``@task.train`` and ``@task.gate`` in a DAG."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG, task
from airflow.serialization.serialized_objects import DagSerialization

from airflow_mlops.codec import encode
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators.decorators import gate_task

REPOSITORY = Path(__file__).parents[3]
SUITE = {
    "name": "flights",
    "backend": "pandera",
    "rules": [
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "late", "min_value": 0, "max_value": 1}}
    ],
}
POLICY = {"minimum_rows": {"rows": 500, "positives": 50}, "absolute": [{"metric": "roc_auc", "minimum": 0.6}]}


@pytest.mark.stack
@pytest.mark.timeout(180)
def test_a_function_says_what_varies(run_dag, artifact_root, model_python, monkeypatch, tmp_path, made_up_flights):
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    flights = encode(made_up_flights(2000, "2013-01", 1))
    with DAG(f"taskflow_{tmp_path.name}", schedule=None) as dag:

        @task.validate(suite=SUITE)
        def check(month, *, run_id=None):
            assert run_id
            return {**flights, "partition": month}

        @task.train(entrypoint=str(REPOSITORY / "dags/flights/train.py"), model_name="flights")
        def train(dataset):
            return {"datasets": {"train": [dataset]}, "parameters": {"label_noise": 0.1}}

        trained = train(check("2013-01")["dataset"])

        @task
        def last(model):
            return model["digest"]

        last(trained["model"])
    run = run_dag(dag)
    assert run.states == {"check": "success", "train": "success", "last": "success"}
    assert run.xcom("check")["verdict"] == "pass"
    assert run.xcom("check")["dataset"]["partition"] == "2013-01"
    assert run.xcom("last") == run.xcom("train")["model"]["digest"]


def test_a_gate_is_mapped_over_evaluations(run_dag, artifact_root, tmp_path):
    given = [_evaluation(artifact_root, auc) for auc in (0.7, 0.5)]
    with DAG(f"mapped_{tmp_path.name}", schedule=None) as dag:

        @task.gate(policy=POLICY, model_name="m", on_fail="skip")
        def gate(evaluation):
            """Judge one of them."""
            return evaluation

        gate.expand(evaluation=given)
    run = run_dag(dag)
    assert run.states == {"gate[0]": "success", "gate[1]": "skipped"}
    assert [run.xcom("gate", map_index=index)["verdict"] for index in (0, 1)] == ["pass", "fail"]
    assert run.xcom("gate", "verdict", map_index=0) == "pass"


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "what train returned: None is not accepted; expected a mapping with some of datasets, parameters"),
        ({"dataset": 1}, "what train returned: dataset: 1 is not accepted; expected a mapping with some of datasets"),
        ({"entrypoint": "/x.py"}, "datasets: None is not accepted; expected a value, from @task.train or from the fun"),
        ({"entrypoint": "/nowhere.py", "datasets": {}}, "entrypoint: '/nowhere.py' is not accepted"),
    ],
)
def test_what_a_function_must_not_return_is_named(run_dag, artifact_root, tmp_path, capsys, caplog, returned, message):
    with DAG(f"wrong_{tmp_path.name}", schedule=None) as dag:

        @task.train(model_name="m", retries=0)
        def train():
            return returned

        train()
    assert run_dag(dag).states == {"train": "failed"}
    assert message in caplog.text + capsys.readouterr().out


def test_what_is_returned_is_no_template(run_dag, artifact_root, tmp_path, capsys, caplog):
    with DAG(f"plain_{tmp_path.name}", schedule=None) as dag:

        @task.gate(policy=POLICY, model_name="m")
        def gate():
            return {"evaluation_uri": "{{ dag.dag_id }}"}

        gate()
    assert run_dag(dag).states == {"gate": "failed"}
    assert "evaluation.evaluation_digest: None is not accepted" in caplog.text + capsys.readouterr().out


def test_they_survive_serialisation_and_check_their_arguments():
    with DAG("serialised", schedule=None) as dag:
        task.validate(suite={})(_named("check"))()
        task.train(_named("train"))()
        gate_task(policy={}, model_name="m", ask="always")(_named("judge")).expand(given=[1, 2])
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    tasks = {one.task_id: one for one in DagSerialization.deserialize_dag(document).tasks}
    assert {name: one.operator_name for name, one in tasks.items()} == {
        "check": "@task.validate",
        "train": "@task.train",
        "judge": "@task.gate",
    }
    assert tasks["judge"].is_mapped
    assert {"op_kwargs", "evaluation", "policy"} <= set(tasks["judge"].template_fields)
    assert sorted(tasks["check"].extra_links) == ["Evidence", "Report"]
    with DAG("wrong", schedule=None):
        with pytest.raises(TypeError, match=r"@task\.gate: evaluation is what the function returns"):
            gate_task(policy={}, model_name="m", evaluation={})(_named("judge"))()
        with pytest.raises(TypeError, match=r"unexpected keyword argument|Invalid arguments"):
            gate_task(policy={}, model_name="m", polcy={})(_named("judge"))()


def test_training_goes_where_the_setting_says(monkeypatch):
    image = {"image": "mlops-trainer:1"}
    monkeypatch.setenv("MLOPS_DOCKER", json.dumps(image))
    monkeypatch.setenv("MLOPS_BACKEND", "docker")
    with DAG("backends", schedule=None) as dag:
        task.train(model_name="m")(_named("in_docker"))()
        task.train(model_name="m", backend="local")(_named("here"))()
    assert dag.get_task("in_docker").image == "mlops-trainer:1"
    assert not hasattr(dag.get_task("here"), "image")


def test_a_function_trains_in_a_pod_by_one_argument():
    pytest.importorskip("airflow.providers.cncf.kubernetes")
    from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator

    settings = {"image": "mlops-trainer:1", "poll_interval_seconds": 0.5}
    with DAG("pods", schedule=None) as dag:
        task.train(model_name="m", backend="kubernetes", kubernetes=settings, timeout_seconds=90)(_named("pod"))(1)
        task.train(model_name="m", backend="kubernetes", kubernetes=settings)(_named("pods")).expand(given=[1, 2])
    made = dag.get_task("pod")
    assert isinstance(made, TrainOnKubernetesOperator)
    assert (made.image, made.poll_interval, made.active_deadline_seconds) == ("mlops-trainer:1", 0.5, 90)
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    tasks = {one.task_id: one for one in DagSerialization.deserialize_dag(document).tasks}
    assert {name: (one.operator_name, one.is_mapped) for name, one in tasks.items()} == {
        "pod": ("@task.train", False),
        "pods": ("@task.train", True),
    }
    assert {"op_kwargs", "datasets", "image"} <= set(tasks["pod"].template_fields)


def _named(name):
    def function(given=None):
        return given

    function.__name__ = name
    return function


def _evaluation(root, auc):
    estimate = {"value": auc, "low": auc - 0.01, "high": auc + 0.01, "method": "made up"}
    report = {
        "target": "late",
        "confidence": 0.95,
        "days": 28,
        "candidate": {"rows": 4000, "positives": 200, "metrics": {"roc_auc": estimate}},
        "reference": {"rows": 1, "label_rate": 0.2, "mean_prediction": 0.2, "brier": 0.1, "by_day": []},
    }
    path = root / f"report-{auc}.json"
    path.write_text(json.dumps(report))
    found = manifest_of(path).digest
    candidate = {"uri": "file:///m", "digest": found, "format": "mlflow", "size_bytes": 1}
    return {"evaluation_uri": f"file://{path}", "evaluation_digest": found, "candidate": candidate, "dataset": None}
