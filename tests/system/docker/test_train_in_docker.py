"""Training through Airflow in containers of a real engine."""

from __future__ import annotations

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

from airflow_mlops.codec import decode, encode
from airflow_mlops.manifest import manifest_of, verify
from airflow_mlops.operators import TrainInDockerOperator, TrainLocallyOperator
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.resources import DockerResources

pytestmark = [pytest.mark.system, pytest.mark.timeout(900)]

GOOD = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        print("rows:", job.paths("train")[0].read_text().splitlines()[1:], flush=True)
        time.sleep(job.parameters.get("seconds", 0))
        (job.output / "model").mkdir()
        (job.output / "model" / "MLmodel").write_text("flavors: {}")
        job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"})
"""


@pytest.fixture
def dataset(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a\n1\n2\n")
    ref = DatasetRef(uri=f"file://{file}", digest=manifest_of(file).digest, format="csv", size_bytes=6, rows=2)
    return encode(ref)


@pytest.fixture
def leftovers(engine, tmp_path):
    """Return the containers that share files below the test's folder; none of them outlives the test."""

    def find():
        found = engine.containers(all=True, filters={"label": "airflow-mlops.job"})
        return [one["Id"] for one in found if any(mount["Source"].startswith(str(tmp_path)) for mount in one["Mounts"])]

    yield find
    for container in find():
        engine.remove_container(container, force=True, v=True)


@pytest.fixture
def train(run_dag, artifact_root, dataset, tmp_path, trainer_image, leftovers):
    """Run one training task; keyword arguments change the operator's."""
    tmp_path.chmod(0o755)  # a container of a root worker is not root
    numbers = iter(range(100))

    def run(script=GOOD, *, operator=TrainInDockerOperator, **changes):
        file = tmp_path / "train.py"
        file.write_text(textwrap.dedent(script))
        arguments = {
            "entrypoint": str(file),
            "datasets": {"train": [dataset]},
            "model_name": "flights",
            "image": trainer_image,
            "docker_resources": {"cpus": 1.0, "memory": "256Mi"},
        }
        with DAG(f"docker_{tmp_path.name}_{next(numbers)}", schedule=None) as dag:
            operator(task_id="train", **{**arguments, **changes})
        return run_dag(dag)

    return run


def failure(run, capsys, caplog):
    assert run.states == {"train": "failed"}
    return caplog.text + capsys.readouterr().out


def test_model_is_published_and_nothing_is_left(train, engine, trainer_image, artifact_root, leftovers, capsys, caplog):
    run = train()
    text = caplog.text + capsys.readouterr().out
    assert run.states == {"train": "success"}, text
    returned = run.xcom("train")
    model = decode(ModelRef, returned["model"])
    verify(Path(model.uri.removeprefix("file://")), model.digest)
    assert model.uri.startswith(f"file://{artifact_root}/jobs/")
    assert returned["metrics"] == {"auc": 0.7}
    assert returned["image"] == engine.inspect_image(trainer_image)["Id"]
    assert "rows: ['1', '2']" in text
    assert leftovers() == []


def test_failure_shows_the_last_lines(train, leftovers, capsys, caplog):
    text = failure(train("print('no luck'); raise SystemExit(3)"), capsys, caplog)
    assert "the script ended with exit code 3; last lines of" in text
    assert "no luck" in text
    assert leftovers() == []


def test_out_of_memory_is_named(train, leftovers, capsys, caplog):
    hungry = "held = []\nwhile True: held.append(bytearray(1 << 20))"
    text = failure(train(hungry, docker_resources=DockerResources(memory="64Mi")), capsys, caplog)
    assert "the job ran out of memory and was killed: its limit is 64 MiB. Give it more with docker_resources" in text
    assert leftovers() == []


def test_files_that_change_after_the_job_stop_the_task(train, capsys, caplog):
    class Tampering(TrainInDockerOperator):
        def job_runner(self):
            runner = super().job_runner()
            collect = runner.collect

            def tamper(directory):
                (directory / "model" / "MLmodel").write_text("flavors: {evil}")
                return collect(directory)

            runner.collect = tamper
            return runner

    assert "MLmodel: digest is sha256:" in failure(train(operator=Tampering), capsys, caplog)


def test_kill_stops_and_removes_the_container(train, artifact_root, leftovers):
    class Killed(TrainInDockerOperator):
        def execute(self, context):
            threading.Thread(target=self._kill_when_running, daemon=True).start()
            return super().execute(context)

        def _kill_when_running(self):
            while "rows" not in "".join(log.read_text() for log in artifact_root.rglob("job.log")):
                time.sleep(0.1)
            self.on_kill()

    assert train(operator=Killed, parameters={"seconds": 120}).states == {"train": "failed"}
    assert leftovers() == []


def test_too_slow_job_is_stopped(train, leftovers, capsys, caplog):
    text = failure(train(parameters={"seconds": 120}, timeout_seconds=4), capsys, caplog)
    assert "took longer than timeout_seconds=4 and was stopped" in text
    assert leftovers() == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"docker_resources": {"memroy": "1Gi"}}, "docker_resources.memroy: '1Gi' is not accepted; expected no such f"),
        ({"docker_resources": {"memory": "1g"}}, "DockerResources.memory: '1g' is not accepted; expected a size in"),
        ({"docker_url": "unix:///nowhere.sock"}, "no Docker engine answers at unix:///nowhere.sock"),
        ({"user": "nobody"}, "user: 'nobody' is not accepted; expected numbers, uid or uid:gid"),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_wrong_arguments_are_named(train, leftovers, changes, message, capsys, caplog):
    if "user" in changes and os.geteuid() != 0:
        pytest.skip("only root gives files away")
    assert message in failure(train(**changes), capsys, caplog)
    assert leftovers() == []


def test_worker_killed_while_training_leaves_a_container_that_the_next_try_finds(
    airflow_db,
    artifact_root,
    dataset,
    tmp_path,
    trainer_image,
    leftovers,
):
    """Two tries of one task instance, the first in a process that is killed while the container runs."""
    tmp_path.chmod(0o755)
    file = tmp_path / "train.py"
    file.write_text(textwrap.dedent(GOOD))
    code = f"""
from types import SimpleNamespace
from airflow_mlops.operators import TrainInDockerOperator
operator = TrainInDockerOperator(
    task_id="train", entrypoint={str(file)!r}, datasets={{"train": [{dataset!r}]}}, model_name="flights",
    parameters={{"seconds": 5}}, image={trainer_image!r},
)
ti = SimpleNamespace(dag_id="d", run_id="r", task_id="train", try_number=1, map_index=-1, xcom_push=lambda **_: None)
print(operator.execute(dict(ti=ti)))
"""
    first = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    deadline = time.monotonic() + 120
    while not (logs := [log for log in artifact_root.rglob("job.log") if "rows" in log.read_text()]):
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    running = leftovers()
    assert len(running) == 1
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert second.returncode == 0, second.stdout + second.stderr
    assert "'metrics': {'auc': 0.7}" in second.stdout
    assert logs[0].read_text().count("rows") == 1
    assert leftovers() == []


def test_operator_survives_serialisation_and_mapping(dataset):
    same = {"entrypoint": "train.py", "datasets": {"train": [dataset]}, "model_name": "m"}
    with DAG("serialised", schedule=None) as dag:
        TrainLocallyOperator(task_id="here", **same)
        TrainInDockerOperator(task_id="one", image="i", docker_resources=DockerResources(cpus=1.0), **same)
        TrainInDockerOperator.partial(task_id="many", image="i", **same).expand(
            docker_resources=[{"memory": "1Gi"}, {"memory": "2Gi"}]
        )
    again = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert sorted(again.task_ids) == ["here", "many", "one"]
