"""What five short steps cost in one warm pod, against a pod for each: same image, same script, interleaved runs.

Run by ``python -m tests.benchmarks`` where a cluster answers; it takes the fixtures of the cluster's tests.
"""

from __future__ import annotations

import itertools
import os
import shutil
import statistics
import uuid

import pytest

pytestmark = [
    pytest.mark.timeout(3000),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

RUNS = int(os.environ.get("MLOPS_BENCH_RUNS", "5"))
STEPS = 5
#: What says how a pod looks, and not what runs in it.
POD = (
    *("image", "image_pull_policy", "config_file", "namespace", "pod_resources", "artifacts"),
    "termination_grace_period",
)


def chain(tasks):
    for first, second in itertools.pairwise(tasks):
        first >> second


def in_a_warm_pod(given, folder):
    """Five steps in one pod, with its setup and its teardown."""
    from airflow_mlops.operators.warm_pod import WarmPod

    del folder
    what = {name: given[name] for name in ("entrypoint", "datasets", "parameters")}
    with WarmPod("warm", **{name: given[name] for name in POD}) as pod:
        chain([pod.step(f"step_{number}", **what) for number in range(STEPS)])


def in_pods(given, folder):
    """Five trainings with a pod and a verified result for each."""
    from airflow_mlops.operators import TrainOnKubernetesOperator

    del folder
    pods = {name: value for name, value in given.items() if name not in ("task_id", "poll_interval")}
    chain([TrainOnKubernetesOperator(task_id=f"step_{number}", **pods) for number in range(STEPS)])


def in_plain_pods(given, folder):
    """Five plain pods that run the same attempts of the same script; nobody looks at their results."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

    from airflow_mlops.codec import decode
    from airflow_mlops.container.attempt import AttemptFolder, attempt_command
    from airflow_mlops.references import DatasetRef
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.pods import PodResources, PodVolume, pod_overlay

    tasks = []
    for number in range(STEPS):
        job = AttemptFolder(folder / f"plain-{uuid.uuid4().hex}")
        datasets = {role: (decode(DatasetRef, ref),) for role, ref in given["datasets"].items()}
        job.prepare(
            "1", JobRequest(kind="train", job_id="p", output_uri="x", datasets=datasets, parameters=given["parameters"])
        )
        overlay = pod_overlay(
            container="base",
            command=attempt_command("python", str(job.directory("1").path), shutil.copy(given["entrypoint"], job.path)),
            labels={},
            annotations={},
            resources=PodResources(**given["pod_resources"]),
            artifacts=PodVolume(**given["artifacts"]),
            group=job.open(),
        )
        own = {name: given[name] for name in POD if name not in ("pod_resources", "artifacts")}
        spec = PodGenerator.deserialize_model_dict(overlay)
        # As often as ours looks whether a pod has started; Airflow's own five seconds would flatter the warm one.
        look = {"startup_check_interval_seconds": 1}
        tasks.append(KubernetesPodOperator(task_id=f"step_{number}", full_pod_spec=spec, **own, **look))
    chain(tasks)


SIDES = {"ours": in_a_warm_pod, "`TrainOnKubernetesOperator`": in_pods, "plain `KubernetesPodOperator`": in_plain_pods}


@pytest.fixture
def elapsed(run_dag, arguments, artifact_root):
    """Run one side and return its seconds from the first task's start to the last one's end."""

    def run(define):
        from airflow.sdk import DAG

        with DAG(f"bench_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            define(arguments(), artifact_root)
        done = run_dag(dag)
        assert set(done.states.values()) == {"success"}, done.states
        tasks = done.dag_run.get_task_instances()
        return (max(one.end_date for one in tasks) - min(one.start_date for one in tasks)).total_seconds()

    return run


def test_five_steps_in_one_pod_against_five_pods(elapsed):
    seconds = {name: [] for name in SIDES}
    for define in SIDES.values():  # what is loaded once is not measured
        elapsed(define)
    for _ in range(RUNS):
        for name, define in SIDES.items():
            seconds[name].append(elapsed(define))
    medians = {name: 1000 * statistics.median(given) for name, given in seconds.items()}
    ours = medians.pop("ours")
    for name, peer in medians.items():
        held = "held" if ours < peer else "NOT HELD"
        print(
            f"\n| {STEPS} steps in a `WarmPod`, {RUNS} runs, elapsed | {STEPS} times {name} | {ours:.0f} ms "
            f"| {peer:.0f} ms | {ours - peer:.0f} ms | {ours / peer:.2f} | less: {held} |"
        )
