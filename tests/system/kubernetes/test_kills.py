"""Workers that are killed between any two calls, in the real cluster: the next try ends well, with one training."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import uuid
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

WORKER = Path(__file__).with_name("worker.py")
ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def workers(airflow_db):
    """Where workers come from."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture
def work(workers, tmp_path):
    """Run a worker; return its exit code, its result and its log."""
    dag_id = f"killed_{uuid.uuid4().hex[:8]}"
    result, log = tmp_path / "result.json", tmp_path / "worker.log"

    def run(operator, kill=None):
        order = {
            "dag_id": dag_id,
            "operator": operator,
            "kill": kill,
            "result": str(result),
            "log": str(log),
            "environment": {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW__MLOPS__")},
        }
        workers.stdin.write(json.dumps(order) + "\n")
        workers.stdin.flush()
        while not (answer := workers.stdout.readline().strip()).lstrip("-").isdigit():
            assert workers.poll() is None, "the workers are gone"
        return int(answer), result, log

    return run


def killed(done):
    code, _, log = done
    assert code == -signal.SIGKILL, f"{code}: {log.read_text()[-5000:]}"


def result_of(done):
    code, result, log = done
    assert code == 0, log.read_text()[-5000:]
    return json.loads(result.read_text())


SYNC = [
    "before looking",
    "before preparing",
    "after preparing",
    "before submitting",
    "after submitting",
    "when the pod runs",
    "when the pod has ended",
    "after the pod was removed",
    "after the result was verified",
]
DEFERRABLE = ["before submitting", "after submitting", "before deferring", "back from the trigger"]


@pytest.mark.parametrize(
    ("place", "deferrable"),
    [*((place, False) for place in SYNC), *((place, True) for place in DEFERRABLE)],
    ids=lambda value: value if isinstance(value, str) else ("deferrable" if value else "sync"),
)
def test_a_try_after_a_killed_one_succeeds_and_the_script_ran_once(work, arguments, cluster, runs, place, deferrable):
    operator = arguments(parameters={"seconds": 2}, deferrable=deferrable)
    killed(work(operator, kill=place))
    again = result_of(work(operator))
    assert again["state"] == "success", again["messages"]
    assert len(runs()) == 1
    cluster.wait_empty()


def test_a_worker_that_is_killed_twice_still_has_one_training(work, arguments, cluster, runs):
    operator = arguments(parameters={"seconds": 2})
    for place in ("after submitting", "when the pod has ended"):
        killed(work(operator, kill=place))
    assert result_of(work(operator))["state"] == "success"
    assert len(runs()) == 1
    cluster.wait_empty()


def test_after_a_failed_training_the_next_try_trains_again_and_finds_the_checkpoint(work, arguments, cluster, runs):
    text = """
        from pathlib import Path
        from airflow_mlops.container import training_job
        with training_job() as job:
            with open(job.parameters["runs"], "a") as runs:
                runs.write(job.output.name + "\\n")
            checkpoint = Path(job.request.resume_uri.removeprefix("file://"), "epoch")
            if not checkpoint.exists():
                checkpoint.write_text("7")
                raise RuntimeError("the node has gone away")
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            job.finish(metrics={"epoch": float(checkpoint.read_text())}, artifacts={"model": "model"})
    """
    operator = arguments(text)
    first = result_of(work(operator))
    assert first["state"] == "failed"
    assert "the node has gone away" in first["messages"][0]
    assert result_of(work(operator))["state"] == "success"
    assert len(set(runs())) == 2


def test_an_evicted_training_goes_on_from_its_checkpoint_in_the_next_try(work, arguments, cluster, runs):
    from kubernetes.client import ApisApi

    text = """
        import time
        from pathlib import Path
        from airflow_mlops.container import training_job
        with training_job() as job:
            checkpoint = Path(job.request.resume_uri.removeprefix("file://"), "epoch")
            done = int(checkpoint.read_text()) if checkpoint.exists() else 0
            for epoch in range(done, 2):
                checkpoint.write_text(str(epoch + 1))
                with open(job.parameters["runs"], "a") as runs:
                    runs.write(f"epoch {epoch}\\n")
                time.sleep(60 * (1 - epoch))
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            job.finish(metrics={"from": float(done)}, artifacts={"model": "model"})
    """
    operator, apis = arguments(text), ApisApi(cluster.api.api_client)

    def evict():
        pod = cluster.wait(lambda pod: pod.status.phase == "Running" and runs())
        name = pod.metadata.name
        groups = {group.name: group.preferred_version.group_version for group in apis.get_api_versions().groups}
        body = {"apiVersion": groups["policy"], "kind": "Eviction", "metadata": {"name": name}}
        cluster.api.create_namespaced_pod_eviction(name, cluster.namespace, body)

    thread = threading.Thread(target=evict)
    thread.start()
    first = result_of(work(operator))
    thread.join()
    assert first["state"] == "failed"
    assert "the pod is gone" in first["messages"][0] or "was evicted" in first["messages"][0], first["messages"]
    assert result_of(work(operator))["state"] == "success"
    assert runs() == ["epoch 0", "epoch 1"]
