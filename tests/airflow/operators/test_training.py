"""Training through Airflow: real tasks, a real process per job."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

import airflow_mlops
from airflow_mlops.codec import decode, encode
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.manifest import manifest_of, verify
from airflow_mlops.operators import TrainLocallyOperator
from airflow_mlops.references import DatasetRef, ModelRef

ROOT = str(Path(airflow_mlops.__file__).parent.parent)
GOOD = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["count"], "a") as count:
            count.write("run\\n")
        print("rows:", job.paths("train")[0].read_text().splitlines()[1:])
        time.sleep(job.parameters.get("seconds", 0))
        (job.output / "model").mkdir()
        (job.output / "model" / "MLmodel").write_text("flavors: {}")
        job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"}, summary={"tracked": bool(job.tracking)})
"""


@pytest.fixture
def dataset(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a\n1\n2\n")
    ref = DatasetRef(uri=f"file://{file}", digest=manifest_of(file).digest, format="csv", size_bytes=6, rows=2)
    return encode(ref)


@pytest.fixture
def train(run_dag, artifact_root, dataset, tmp_path):
    """Run one training task; keyword arguments change the operator's."""
    numbers = iter(range(100))

    def run(script=GOOD, *, operator=TrainLocallyOperator, **changes):
        file = tmp_path / "train.py"
        file.write_text(textwrap.dedent(script))
        arguments = {
            "entrypoint": str(file),
            "datasets": {"train": [dataset]},
            "model_name": "flights",
            "parameters": {"count": str(tmp_path / "count")},
            "python": sys.executable,
            "environment": {"PYTHONPATH": ROOT},
        }
        with DAG(f"train_{tmp_path.name}_{next(numbers)}", schedule=None) as dag:
            operator(task_id="train", **{**arguments, **changes})
        return run_dag(dag)

    return run


def failure(run, capsys, caplog):
    assert run.states == {"train": "failed"}
    return caplog.text + capsys.readouterr().out


def test_model_is_published_and_verifies(train, artifact_root, capsys, caplog):
    run = train()
    assert run.states == {"train": "success"}
    returned = run.xcom("train")
    model = decode(ModelRef, returned["model"])
    verify(Path(model.uri.removeprefix("file://")), model.digest)
    assert model.uri.startswith(f"file://{artifact_root}/jobs/")
    assert returned["metrics"] == {"auc": 0.7}
    assert returned["summary"] == {"tracked": False}
    assert returned["mlflow_run_id"] is None
    assert len(json.dumps(returned)) < 2000
    assert "rows: ['1', '2']" in caplog.text + capsys.readouterr().out


def test_arguments_are_rendered_and_may_come_from_tasks(run_dag, artifact_root, dataset, tmp_path):
    from airflow.sdk import task

    file = tmp_path / "train.py"
    file.write_text(textwrap.dedent(GOOD))
    with DAG(f"train_{tmp_path.name}_xcom", schedule=None, params={"name": "flights"}) as dag:

        @task
        def snapshots():
            return [dataset]

        @task
        def settings():
            return {"count": str(tmp_path / "count")}

        TrainLocallyOperator(
            task_id="train",
            entrypoint=str(file),
            datasets={"train": snapshots()},
            model_name="{{ params.name }}",
            parameters=settings(),
            python=sys.executable,
            environment={"PYTHONPATH": ROOT},
        )
    assert run_dag(dag).states["train"] == "success"


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("import sys; print('no memory for', 'rows'); sys.exit(3)", "exit code 3; last lines of"),
        ("import os; os.kill(os.getpid(), 9)", "killed by signal 9 (SIGKILL); possibly the machine ran out of memory"),
        ("print('done')", "left no result.json; it must call job.finish()"),
        ("open('result.json', 'w').write('done')", "result.json is not JSON"),
        (GOOD.replace('artifacts={"model": "model"}', "artifacts={}"), "names no artefact 'model'; it names: none"),
        (GOOD.replace("MLmodel", "weights"), "no MLmodel file, so this is not a model in MLflow's format"),
    ],
)
def test_bad_jobs_fail_with_their_reason(train, capsys, caplog, script, message):
    assert message in failure(train(script), capsys, caplog)


def test_missing_script_is_named(train, capsys, caplog):
    text = failure(train(entrypoint="/nowhere/train.py"), capsys, caplog)
    assert "entrypoint: '/nowhere/train.py' is not accepted; expected the path of a Python file that exists" in text


def test_missing_model_environment_is_named(train, capsys, caplog):
    text = failure(train(python=None), capsys, caplog)
    assert "[mlops] model_python" in text
    assert "AIRFLOW__MLOPS__MODEL_PYTHON" in text


def test_parameter_of_an_unknown_type_is_named(train, capsys, caplog):
    text = failure(train(parameters={"when": {1, 2}}), capsys, caplog)
    assert "JobRequest.parameters.when: {1, 2} is not accepted; expected a JSON value" in text


@pytest.mark.parametrize(
    ("datasets", "message"),
    [
        ({"train": "rows.csv"}, "datasets.train: 'rows.csv' is not accepted; expected an encoded DatasetRef or a list"),
        ({"train": []}, "datasets.train: [] is not accepted; expected at least one dataset"),
        (
            {"train": [{"url": "file:///x"}]},
            "datasets.train[0].url: 'file:///x' is not accepted; expected no such field",
        ),
        ({}, "datasets: {} is not accepted; expected a mapping from role to datasets"),
    ],
)
def test_wrong_datasets_are_named(train, capsys, caplog, datasets, message):
    assert message in failure(train(datasets=datasets), capsys, caplog)


def test_changed_data_stop_the_task(train, tmp_path, dataset, capsys, caplog):
    (tmp_path / "rows.csv").write_text("a\n9\n9\n")
    text = failure(train(), capsys, caplog)
    assert f"digest is {manifest_of(tmp_path / 'rows.csv').digest}, but {dataset['digest']} was expected" in text


def test_too_slow_job_is_stopped(train, tmp_path, artifact_root, capsys, caplog):
    text = failure(
        train(parameters={"count": str(tmp_path / "count"), "seconds": 60}, timeout_seconds=1.5), capsys, caplog
    )
    assert "took longer than timeout_seconds=1.5 and was stopped" in text
    (lock,) = artifact_root.rglob("job.lock")
    assert not JobDirectory(lock.parent).is_running


def test_kill_stops_the_job_and_only_the_job(train, tmp_path, artifact_root):
    class Killed(TrainLocallyOperator):
        def execute(self, context):
            threading.Thread(target=self._kill_when_running, daemon=True).start()
            return super().execute(context)

        def _kill_when_running(self):
            while not (tmp_path / "count").exists():
                time.sleep(0.02)
            self.on_kill()

    run = train(operator=Killed, parameters={"count": str(tmp_path / "count"), "seconds": 60})
    assert run.states == {"train": "failed"}
    (lock,) = artifact_root.rglob("job.lock")
    assert not JobDirectory(lock.parent).is_running


def test_worker_killed_while_training_leaves_a_job_that_the_next_try_finds(
    airflow_db, artifact_root, dataset, tmp_path
):
    """Two tries of one task instance, the first in a process that is killed while the job runs."""
    file = tmp_path / "train.py"
    file.write_text(textwrap.dedent(GOOD))
    code = f"""
from types import SimpleNamespace
from airflow_mlops.operators import TrainLocallyOperator
operator = TrainLocallyOperator(
    task_id="train", entrypoint={str(file)!r}, datasets={{"train": [{dataset!r}]}}, model_name="flights",
    parameters={{"count": {str(tmp_path / "count")!r}, "seconds": 2}}, python={sys.executable!r},
    environment={{"PYTHONPATH": {ROOT!r}}},
)
ti = SimpleNamespace(dag_id="d", run_id="r", task_id="train", try_number=1, map_index=-1, xcom_push=lambda **_: None)
print(operator.execute(dict(ti=ti)))
"""
    first = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 60
    while not (tmp_path / "count").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "'metrics': {'auc': 0.7}" in second.stdout
    assert (tmp_path / "count").read_text() == "run\n"


def test_operator_survives_serialisation_and_mapping(dataset):
    with DAG("serialised", schedule=None) as dag:
        TrainLocallyOperator(
            task_id="one", entrypoint="train.py", datasets={"train": [dataset]}, model_name="m", parameters={"a": 1}
        )
        TrainLocallyOperator.partial(
            task_id="many", entrypoint="train.py", datasets={"train": [dataset]}, model_name="m"
        ).expand(parameters=[{"seed": 1}, {"seed": 2}])
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert sorted(again.task_ids) == ["many", "one"]


def test_tracked_training_opens_a_run_and_closes_it(train, mlflow_server, connection, tmp_path):
    from mlflow import MlflowClient

    connection("mlflow_default", conn_type="mlflow", host=mlflow_server)
    run = train(mlflow_conn_id="mlflow_default")
    assert run.states == {"train": "success"}
    returned = run.xcom("train")
    assert returned["summary"] == {"tracked": True}
    found = MlflowClient(mlflow_server).get_run(returned["mlflow_run_id"])
    assert found.info.status == "FINISHED"
    assert found.data.tags["mlops.run_id"] == run.run_id
    assert returned["mlflow_run_id"] in run.xcom("train", key="_link_MLflowRunLink")
    run = train("raise SystemExit(1)", mlflow_conn_id="mlflow_default")
    assert run.states == {"train": "failed"}


def test_unreachable_mlflow_is_named(train, connection, free_port, capsys, caplog):
    connection("mlflow_default", conn_type="mlflow", host=f"http://127.0.0.1:{free_port}")
    text = failure(train(mlflow_conn_id="mlflow_default"), capsys, caplog)
    assert f"MLflow at http://127.0.0.1:{free_port} does not answer" in text
