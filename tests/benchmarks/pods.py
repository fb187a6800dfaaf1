"""What a verified training costs over a plain pod: same image, same script, same cluster, interleaved runs.

Run by ``python -m tests.benchmarks`` where a cluster answers; it takes the fixtures of the cluster's tests.
"""

from __future__ import annotations

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

RUNS = int(os.environ.get("MLOPS_BENCH_RUNS", "20"))
HOLD_MILLISECONDS = 50.0
#: Both sides look this often: with Airflow's seconds, chance decides which look sees the end.
LOOK_SECONDS = 0.1


@pytest.fixture
def plain(run_dag, artifact_root):
    """Run the same attempt of the same script in a plain pod."""
    from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
    from airflow.sdk import DAG

    from airflow_mlops.codec import decode
    from airflow_mlops.container.attempt import AttemptFolder, attempt_command
    from airflow_mlops.references import DatasetRef
    from airflow_mlops.training.contract import JobRequest
    from airflow_mlops.training.pods import PodResources, PodVolume, pod_overlay

    def run(arguments):
        from airflow.providers.cncf.kubernetes.pod_generator import PodGenerator

        folder = AttemptFolder(artifact_root / f"plain-{uuid.uuid4().hex}")
        datasets = {role: (decode(DatasetRef, ref),) for role, ref in arguments["datasets"].items()}
        parameters = arguments["parameters"]
        folder.prepare(
            "1", JobRequest(kind="train", job_id="p", output_uri="x", datasets=datasets, parameters=parameters)
        )
        directory = str(folder.directory("1").path)
        script = shutil.copy(arguments["entrypoint"], folder.path)
        overlay = pod_overlay(
            container="base",
            command=attempt_command("python", directory, script),
            labels={},
            annotations={},
            resources=PodResources(**arguments["pod_resources"]),
            artifacts=PodVolume(**arguments["artifacts"]),
            group=folder.open(),
        )
        ours = {"entrypoint", "datasets", "model_name", "pod_resources", "artifacts", "parameters"}
        with DAG(f"plain_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            KubernetesPodOperator(
                **{name: value for name, value in arguments.items() if name not in ours},
                full_pod_spec=PodGenerator.deserialize_model_dict(overlay),
                termination_message_policy="FallbackToLogsOnError",
            )
        return run_dag(dag)

    return run


def seconds(run):
    (ti,) = run.dag_run.get_task_instances()
    assert str(ti.state) == "success"
    # A task that comes back from its trigger starts anew; the run knows the whole time.
    return (run.dag_run.end_date - run.dag_run.start_date).total_seconds()


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
def test_the_price_of_a_verified_result(train, plain, arguments, deferrable):
    ours, theirs = [], []
    for _ in range(RUNS):
        given = arguments(deferrable=deferrable, poll_interval=LOOK_SECONDS, startup_check_interval_seconds=1)
        theirs.append(seconds(plain(given)))
        run, messages = train(given)
        assert not messages
        ours.append(seconds(run))
    peer, ms = statistics.median(theirs), 1000 * (statistics.median(ours) - statistics.median(theirs))
    measure = f"`TrainOnKubernetesOperator`, {'deferrable' if deferrable else 'sync'}, {RUNS} runs, elapsed"
    held = "held" if ms <= HOLD_MILLISECONDS else "NOT HELD"
    print(
        f"\n| {measure} | plain `KubernetesPodOperator` | {1000 * peer + ms:.0f} ms | {1000 * peer:.0f} ms "
        f"| {ms:.0f} ms | {1 + ms / 1000 / peer:.2f} | ≤ {HOLD_MILLISECONDS:.0f} ms more: {held} |"
    )
