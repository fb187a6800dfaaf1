"""Workers of a warm pod that are killed between any two calls: the next try follows the same process."""

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
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

WORKER = Path(__file__).with_name("warm_worker.py")
ROOT = Path(__file__).parents[3]
STEP = """
    import os, time
    from pathlib import Path
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(job.output.name + "\\n")
        print("step begins", flush=True)
        deadline = time.monotonic() + 300
        while not Path(job.parameters["release"]).exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        print("step ends", flush=True)
        job.output.joinpath("out.txt").write_text(os.environ["HOSTNAME"])
        job.finish(metrics={"pid": os.getpid()}, artifacts={"out": "out.txt"})
"""
#: Each worker dies at the next of these.
PLACES = ["after the pod was made", "after preparing", "in the middle", "after the result was verified"]


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
def work(workers, tmp_path, cluster, arguments, artifact_root):
    """Run a worker; return its exit code, what it reports and its log."""
    dag_id = f"warm_{uuid.uuid4().hex[:8]}"
    result, log = tmp_path / "result.json", tmp_path / "worker.log"
    given = arguments(STEP)
    group = ("image", "image_pull_policy", "config_file", "namespace", "pod_resources", "artifacts")

    def run(release, kill=None):
        order = {
            "dag_id": dag_id,
            "group": {name: given[name] for name in group} | {"termination_grace_period": 1},
            "step": {"entrypoint": given["entrypoint"], "parameters": {**given["parameters"], "release": str(release)}},
            "kill": kill,
            "result": str(result),
            "log": str(log),
            "environment": {name: value for name, value in os.environ.items() if name.startswith("AIRFLOW__MLOPS__")},
        }
        workers.stdin.write(json.dumps(order) + "\n")
        workers.stdin.flush()
        while not (answer := workers.stdout.readline().strip()).lstrip("-").isdigit():
            assert workers.poll() is None, "the workers are gone"
        return int(answer), json.loads(result.read_text()) if result.exists() else None, log.read_text()

    return run


@pytest.fixture
def release(artifact_root, tmp_path):
    """Let the step end once somebody has shown that it began; return the file for which it waits."""
    file, log = artifact_root / "release", tmp_path / "worker.log"
    done = threading.Event()

    def watch():
        while not done.wait(0.2):
            if log.exists() and "step begins" in log.read_text():
                file.touch()
                return

    thread = threading.Thread(target=watch)
    thread.start()
    yield file
    done.set()
    thread.join()


def test_whoever_comes_after_a_killed_worker_follows_the_same_process_in_the_same_pod(work, cluster, runs, release):
    pods = set()
    for place in PLACES:
        code, _, log = work(release, place)
        assert code == -signal.SIGKILL, log[-5000:]
        pods |= {pod.metadata.uid for pod in cluster.pods()}
        assert "step ends" not in log or place == PLACES[-1]
    code, last, log = work(release)
    assert code == 0, log[-5000:]
    assert last["states"] == {"warm.step": "success", "warm.stop_warm_pod": "success"}, last["messages"]
    assert len(runs()) == 1
    assert log.count("step begins") == log.count("step ends") == 1, "one worker followed the process, from its start"
    assert len(pods | {pod.metadata.uid for pod in cluster.pods()}) == 1
    cluster.wait_empty()
