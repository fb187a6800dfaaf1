"""A DAG says what to train and evaluate, a setting says where."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.operators.backends import evaluate, train

pytest.importorskip("airflow.providers.cncf.kubernetes")

DAGS = Path(__file__).parents[3] / "dags"
REF = {"uri": "file:///d", "digest": "sha256:" + "0" * 64, "format": "csv", "size_bytes": 1}
TRAINING = {
    "entrypoint": "train.py",
    "datasets": {"train": [REF]},
    "model_name": "flights",
    "parameters": {"depth": 3},
    "models": {"start": REF},
    "mlflow_conn_id": "mlflow_default",
}
EVALUATION = {
    "candidate": REF,
    "champion": REF,
    "dataset": REF,
    "target": "late",
    "model_name": "flights",
    "day_column": "day",
    "slices": ["origin"],
    "minimum_slice_rows": 10,
    "confidence": 0.9,
}
SETTINGS = {
    "docker": {"image": "trainer:1", "network": "host", "docker_resources": {"memory": "2Gi"}},
    "kubernetes": {
        "image": "trainer:1",
        "namespace": "ml",
        "artifacts": {"mount_path": "/srv/mlops", "claim": "artifacts"},
        "pod_resources": {"memory": "2Gi"},
        "poll_interval_seconds": 0.5,
    },
}
OPERATORS = {
    "local": ("TrainLocallyOperator", "EvaluateModelOperator"),
    "docker": ("TrainInDockerOperator", "EvaluateInDockerOperator"),
    "kubernetes": ("TrainOnKubernetesOperator", "EvaluateOnKubernetesOperator"),
}


@pytest.fixture(autouse=True)
def _configured(monkeypatch):
    for name, settings in SETTINGS.items():
        monkeypatch.setenv(f"MLOPS_{name.upper()}", json.dumps(settings))


@pytest.fixture(params=OPERATORS)
def backend(request, monkeypatch):
    monkeypatch.setenv("MLOPS_BACKEND", request.param)
    return request.param


def _make(**changes):
    with DAG("placed", schedule=None) as dag:
        train(task_id="train", **TRAINING, retries=2, **changes)
        evaluate(task_id="evaluate", **EVALUATION, retries=2, **changes)
    return dag.get_task("train"), dag.get_task("evaluate")


def test_the_same_task_becomes_the_backends_operator(backend):
    trained, evaluated = _make()
    assert (type(trained).__name__, type(evaluated).__name__) == OPERATORS[backend]
    for made, given in ((trained, TRAINING), (evaluated, EVALUATION)):
        assert {name: getattr(made, name) for name in given} == given
        assert made.retries == 2
        if backend != "local":
            assert made.image == "trainer:1"
    if backend == "docker":
        assert trained.network == evaluated.network == "host"
        assert trained.docker_resources == evaluated.docker_resources == {"memory": "2Gi"}
    if backend == "kubernetes":
        assert trained.namespace == evaluated.namespace == "ml"
        assert trained.pod_resources == evaluated.pod_resources == {"memory": "2Gi"}
        assert trained.poll_interval == evaluated.poll_interval == 0.5


def test_time_limit_and_variables_mean_the_same_everywhere(backend):
    for made in _make(timeout_seconds=90.5, environment={"A": "b"}):
        if backend == "kubernetes":
            assert made.active_deadline_seconds == 91
            assert made.env_vars["A"] == "b"
        else:
            assert made.timeout_seconds == 90.5
            assert made.environment == {"A": "b"}


def test_the_argument_comes_before_the_variable_and_the_variable_before_the_option(monkeypatch):
    monkeypatch.setenv("AIRFLOW__MLOPS__BACKEND", "docker")
    assert type(_make()[0]).__name__ == "TrainInDockerOperator"
    monkeypatch.setenv("MLOPS_BACKEND", "kubernetes")
    assert type(_make()[0]).__name__ == "TrainOnKubernetesOperator"
    assert type(_make(backend="local")[0]).__name__ == "TrainLocallyOperator"
    monkeypatch.delenv("MLOPS_KUBERNETES")
    monkeypatch.setenv("AIRFLOW__MLOPS__KUBERNETES", '{"image": "from-the-option:1"}')
    assert _make()[0].image == "from-the-option:1"


def test_a_task_may_have_settings_of_its_own(backend):
    own = {"docker": {"image": "other:2"}, "kubernetes": {"image": "other:2"}}
    for made in _make(**own):
        if backend == "docker":
            assert (made.image, made.network) == ("other:2", "host")
        if backend == "kubernetes":
            assert (made.image, made.namespace) == ("other:2", "ml")


def test_a_task_can_be_mapped(backend):
    fixed = {name: value for name, value in TRAINING.items() if name != "models"}
    with DAG("placed_many", schedule=None) as dag:
        train.partial(task_id="train", **fixed).expand(models=[{}, {"start": REF}])
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    task = DagSerialization.deserialize_dag(document).get_task("train")
    assert task.is_mapped
    assert task.task_type == OPERATORS[backend][0]


@pytest.mark.parametrize(
    ("variables", "changes", "message"),
    [
        ({"MLOPS_BACKEND": "k8s"}, {}, "MLOPS_BACKEND: 'k8s' is not accepted; expected one of 'local', 'docker', 'kub"),
        ({"AIRFLOW__MLOPS__BACKEND": "pod"}, {}, "[mlops] backend: 'pod' is not accepted; expected one of 'local'"),
        ({}, {"backend": "spark"}, "backend: 'spark' is not accepted; expected one of 'local', 'docker', 'kubernetes'"),
        ({"MLOPS_DOCKER": ""}, {"backend": "docker"}, "[mlops] docker: None is not accepted; expected its settings"),
        (
            {"MLOPS_DOCKER": "image: x"},
            {"backend": "docker"},
            "MLOPS_DOCKER: 'image: x' is not accepted; expected a JS",
        ),
        (
            {"MLOPS_DOCKER": '["x"]'},
            {"backend": "docker"},
            "MLOPS_DOCKER: '[\"x\"]' is not accepted; expected a JSON object",
        ),
        (
            {"MLOPS_DOCKER": '{"imgae": "x"}'},
            {"backend": "docker"},
            "MLOPS_DOCKER.imgae: 'x' is not accepted; expected",
        ),
        (
            {},
            {"backend": "kubernetes", "kubernetes": {"namespace": 1}},
            "MLOPS_KUBERNETES.namespace: 1 is not accepted",
        ),
    ],
)
def test_what_is_wrong_is_named_with_where_it_stood(monkeypatch, variables, changes, message):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecificationError) as caught:
        _make(**changes)
    assert message in str(caught.value)


def test_the_example_dags_parse_and_are_the_same_but_for_the_operators(backend, airflow_db):
    from airflow.dag_processing.dagbag import BundleDagBag

    bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS)
    assert not bag.import_errors
    assert set(bag.dags) == {"cd_flights", "ci_flights", "ct_flights", "monitor_flights"}
    dag = bag.dags["ct_flights"]
    assert (dag.get_task("train").task_type, dag.get_task("evaluate").task_type) == OPERATORS[backend]
    assert dag.get_task("evaluate").upstream_task_ids == {"train", "champion", "split"}
    document = json.loads(json.dumps(DagSerialization.serialize_dag(dag)))
    assert sorted(DagSerialization.deserialize_dag(document).task_ids) == sorted(dag.task_ids)


def test_choosing_loads_nothing_of_the_other_backends():
    import subprocess
    import sys

    script = (
        "import sys\nfrom airflow.sdk import DAG\nfrom airflow_mlops.operators.backends import train\n"
        f"with DAG('d', schedule=None):\n    train(task_id='t', **{TRAINING!r})\n"
        "print([name for name in ('kubernetes', 'docker') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
