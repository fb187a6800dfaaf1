"""Evaluating in a pod when workers are killed: the next try has the result, and the models were scored once."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from airflow_mlops.codec import encode
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef
from tests.system.kubernetes.test_kills import killed, result_of, work, workers  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]


@pytest.fixture
def evaluation(cluster, trainer_in_the_cluster, artifact_root, small_model, made_up_flights):
    """Arguments of an evaluation that works, as JSON."""
    for folder in (artifact_root, *list(artifact_root.parents)[:3]):
        folder.chmod(0o755)
    path, digest = small_model
    model, rows = artifact_root / "model", artifact_root / "flights.parquet"
    shutil.copytree(path, model)
    flights = made_up_flights(2000, "2013-01", 1)
    shutil.copyfile(flights.uri.removeprefix("file://"), rows)
    candidate = ModelRef(
        uri=f"file://{model}", digest=digest, format="mlflow", size_bytes=manifest_of(model).size_bytes
    )
    return {
        "class": "EvaluateOnKubernetesOperator",
        "task_id": "train",  # what the workers of these tests call their only task
        "image": trainer_in_the_cluster,
        "image_pull_policy": "IfNotPresent",
        "config_file": cluster.kubeconfig,
        "namespace": cluster.namespace,
        "artifacts": {"mount_path": str(artifact_root), "host_path": str(artifact_root)},
        "pod_resources": {"cpu": "50m", "memory": "512Mi"},
        "termination_grace_period": 1,
        "poll_interval": 0.5,
        "candidate": encode(candidate),
        "champion": encode(candidate),
        "dataset": encode(flights) | {"uri": f"file://{rows}"},
        "target": "late",
        "model_name": "flights",
    }


@pytest.mark.parametrize(
    ("place", "deferrable"),
    [("after the pod was removed", False), ("back from the trigger", True)],
)
def test_a_try_after_a_killed_one_has_the_report_of_one_pod(
    work,  # noqa: F811 - the fixture
    evaluation,
    cluster,
    artifact_root,
    place,
    deferrable,
):
    operator = {**evaluation, "deferrable": deferrable}
    killed(work(operator, kill=place))
    again = result_of(work(operator))
    assert again["state"] == "success", again["messages"]
    reports = [Path(path) for path in artifact_root.glob("jobs/**/report.json")]
    assert len(reports) == len([*artifact_root.glob("jobs/**/*.claim")]) == 1
    (page,) = artifact_root.glob("reports/**/evaluation*")
    assert "<h2>Metrics</h2>" in page.read_text()
    cluster.wait_empty()
