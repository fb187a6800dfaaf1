"""Waiting for trainings that somebody else started, in the real cluster."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from airflow_mlops.codec import decode
from airflow_mlops.container.attempt import AttemptFolder, attempt_command
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.references import ModelRef
from airflow_mlops.training.contract import JobRequest, Tracking
from airflow_mlops.training.pods import (
    ATTEMPT_LABEL,
    DIRECTORY_ANNOTATION,
    JOB_LABEL,
    MODEL_LABEL,
    TASK_LABEL,
    PodResources,
    PodVolume,
    label_value,
    pod_overlay,
)
from tests.system.kubernetes.conftest import GOOD

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

MODES = {"poke": {}, "reschedule": {"mode": "reschedule"}, "deferrable": {"deferrable": True}}
ALL = pytest.mark.parametrize("mode", MODES)
BOTH = pytest.mark.parametrize("mode", ["poke", "deferrable"])
JOB = "other_dag/manual__1/train"
RAISING = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        raise ValueError("the learning rate is negative")
"""
TRACKED = Tracking(uri="http://mlflow.invalid", run_id="4711")


class Training:
    """A training as another Airflow's worker would start it; its pod may also only seem to run it."""

    def __init__(self, cluster, image, script, artifact_root, text=GOOD):
        self.cluster, self.image, self.root = cluster, image, artifact_root
        self.script = script(text)
        self.folder = AttemptFolder(artifact_root / "jobs" / f"other-{uuid.uuid4().hex[:8]}")

    def start(self, attempt="a1", *, pretend=False, directory=None):
        """Make the attempt's directory and pod; a pretended one sleeps."""
        name = f"{self.folder.path.name}-{attempt}"
        runs = self.root / "runs"
        request = JobRequest(
            kind="train",
            job_id="other",
            output_uri=f"file://{self.folder.directory(attempt).path}",
            tracking=TRACKED,
            parameters={"runs": str(runs)},
        )
        self.folder.prepare(attempt, request)
        code = self.folder.path / "train.py"
        code.write_bytes(Path(self.script).read_bytes())
        self.command = attempt_command("python", str(self.folder.directory(attempt).path), str(code))
        pod = pod_overlay(
            container="base",
            command=["sleep", "600"] if pretend else self.command,
            labels={
                JOB_LABEL: label_value(str(self.folder.path), "job"),
                TASK_LABEL: label_value(ArtifactStore.from_config().uri(), f"{JOB}/-1"),
                ATTEMPT_LABEL: attempt,
                MODEL_LABEL: "flights",
            },
            annotations={DIRECTORY_ANNOTATION: directory or str(self.folder.directory(attempt).path)},
            resources=PodResources(cpu="50m", memory="128Mi"),
            artifacts=PodVolume(mount_path=str(self.root), host_path=str(self.root)),
            group=self.folder.open(),
        )
        pod["metadata"]["name"] = name
        pod["spec"] |= {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
        pod["spec"]["containers"][0] |= {"image": self.image, "imagePullPolicy": "IfNotPresent"}
        self.cluster.api.create_namespaced_pod(self.cluster.namespace, pod)
        return name

    def run_here(self):
        """Do what the pod pretends to do."""
        subprocess.run([sys.executable, *self.command[1:]], check=False, capture_output=True, cwd=self.folder.path)

    def delete(self, name):
        self.cluster.api.delete_namespaced_pod(name, self.cluster.namespace, grace_period_seconds=0)
        deadline = time.monotonic() + 60
        while name in [pod.metadata.name for pod in self.cluster.pods()]:
            assert time.monotonic() < deadline
            time.sleep(0.05)


@pytest.fixture
def training(cluster, image, script, artifact_root, arguments):
    return lambda text=GOOD: Training(cluster, image, script, artifact_root, text)


@pytest.fixture
def wait(run_dag, cluster):
    """Run a DAG with one sensor; return the run and the messages of its failures."""

    def run(mode="poke", **changes):
        from airflow.sdk import DAG

        from airflow_mlops.sensors import TrainingSensor

        messages: list[str] = []

        def keep(context):
            messages.append(f"{type(context['exception']).__name__}: {context['exception']}")

        given = {
            "config_file": cluster.kubeconfig,
            "namespace": cluster.namespace,
            "poke_interval": 0.2,
            "timeout": 60,
            **MODES[mode],
            **({"model_name": "flights"} if not {"job", "label_selector", "model_name"} & set(changes) else {}),
            **changes,
        }
        with DAG(f"sensor_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            TrainingSensor(task_id="wait", on_failure_callback=keep, **given)
        return run_dag(dag), messages

    return run


@pytest.fixture
def once_seen(monkeypatch):
    """Do something in the background once a sensor has seen a training."""
    from airflow_mlops.sensors import TrainingSensor

    seen, threads = threading.Event(), []
    remember = TrainingSensor._remember

    def remembered(self, context, sighting):
        result = remember(self, context, sighting)
        if result is not None:
            seen.set()
        return result

    monkeypatch.setattr(TrainingSensor, "_remember", remembered)

    def do(action):
        threads.append(threading.Thread(target=lambda: seen.wait(60) and action()))
        threads[-1].start()

    yield do
    seen.set()
    for thread in threads:
        thread.join()


@BOTH
def test_a_training_that_begins_later_is_found_and_its_verified_model_returned(wait, training, mode):
    other = training()
    thread = threading.Timer(1, other.start)
    thread.start()
    run, messages = wait(mode, job=JOB)
    thread.join()
    assert run.states == {"wait": "success"}, messages
    returned = run.xcom("wait")
    assert set(returned) == {"model", "metrics", "summary", "job_uri", "mlflow_run_id"}
    assert (returned["metrics"], returned["mlflow_run_id"]) == ({"auc": 0.7}, TRACKED.run_id)
    model = ArtifactStore.from_config().localize(decode(ModelRef, returned["model"]))
    assert (model / "weights.txt").read_text() == "0.5"
    assert run.xcom("wait", key="model") == returned["model"]


def test_what_another_task_trained_is_found_by_that_tasks_name_and_returned_as_it_was(wait, train, arguments):
    trained, messages = train(arguments(on_finish_action="keep_pod"))
    assert trained.states == {"train": "success"}, messages
    run, messages = wait("deferrable", job=f"{trained.dag_run.dag_id}/{trained.run_id}/train")
    assert run.states == {"wait": "success"}, messages
    assert run.xcom("wait") == trained.xcom("train")


@BOTH
def test_a_failed_training_fails_the_sensor_with_the_trainings_own_message(wait, training, mode):
    training(RAISING).start()
    run, (message,) = wait(mode)
    print(f"\n[{mode}] {message}")
    assert run.states == {"wait": "failed"}
    assert message.startswith("AirflowFailException: the script failed: ValueError: the learning rate is negative")


@ALL
def test_a_pod_that_vanishes_after_it_was_seen_does_not_matter_if_its_result_is_there(wait, training, once_seen, mode):
    other = training()
    name = other.start(pretend=True)
    once_seen(lambda: (other.run_here(), other.delete(name)))
    run, messages = wait(mode)
    assert run.states == {"wait": "success"}, messages
    assert run.xcom("wait")["job_uri"] == f"file://{other.folder.directory('a1').path}"


@BOTH
def test_a_pod_that_is_removed_after_its_script_failed_still_says_why(wait, training, once_seen, mode):
    other = training(RAISING)
    name = other.start(pretend=True)
    once_seen(lambda: (other.run_here(), other.delete(name)))
    run, (message,) = wait(mode)
    assert run.states == {"wait": "failed"}
    assert message.startswith("AirflowFailException: the script failed: ValueError: the learning rate is negative")


@BOTH
def test_a_pod_that_vanishes_without_a_result_is_a_failure(wait, training, once_seen, mode):
    other = training()
    name = other.start(pretend=True)
    once_seen(lambda: other.delete(name))
    run, (message,) = wait(mode)
    print(f"\n[{mode}] {message}")
    assert run.states == {"wait": "failed"}
    assert re.search(r"^AirflowException: pod .*/a1: the pod is gone: it was deleted before it had left", message)


@BOTH
def test_nothing_to_be_seen_is_waited_for_until_time_is_over(wait, cluster, mode):
    run, (message,) = wait(mode, model_name="nobody-trains-this", timeout=1)
    assert run.states == {"wait": "failed"}
    assert message.startswith("AirflowSensorTimeout: ")


def test_a_later_try_of_the_training_counts(wait, training, once_seen):
    other = training()
    first = other.start("a1", pretend=True)

    def again():
        other.folder.prepare("a2", other.folder.directory("a1").request())  # the worker is about to make the pod
        other.delete(first)
        time.sleep(1)
        other.start("a2")

    once_seen(again)
    run, messages = wait("poke")
    assert run.states == {"wait": "success"}, messages
    assert run.xcom("wait")["job_uri"].endswith("/a2")


def test_what_an_older_run_left_does_not_count(wait, training):
    training(RAISING).start()
    later = (datetime.now(tz=UTC) + timedelta(hours=1)).isoformat()
    run, (message,) = wait("poke", created_after=later, timeout=1)
    assert run.states == {"wait": "failed"}
    assert message.startswith("AirflowSensorTimeout: ")


def test_a_pod_cannot_point_to_what_is_not_in_the_store(wait, training):
    training().start(pretend=True, directory="/etc/attempts/a1")
    _, (message,) = wait("poke")
    print(f"\n{message}")
    assert re.search(r"^AirflowFailException: .*name /etc, which is not in the artefact store", message)
