"""One training in several real pods: the same model as in one, and failures that name who is to blame."""

from __future__ import annotations

import asyncio
import json
import random
import re
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from airflow_mlops.adapters.pods.jobs import JobClient
from airflow_mlops.codec import decode, encode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.indexed import Patience
from airflow_mlops.triggers.training_jobs import FollowedJob, TrainingJobTrigger
from tests.system.kubernetes.test_kills import killed, result_of, work, workers  # noqa: F401 - fixtures

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

# The test bed's pods do not reach each other (Docker's firewall drops bridged packets); on the node's network they do.
NETWORK = {"hostnetwork": True, "dnspolicy": "ClusterFirstWithHostNet"}
BOTH = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])

#: Logistic regression by gradient steps over all rows, of which each rank reads its share.
LOGISTIC = """
    import csv, json, math, os, time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(f"{job.rank}\\n")
        (path,) = job.paths("train")
        with path.open() as stream:
            rows = [[float(value) for value in row] for row in csv.reader(stream)][job.rank :: job.world_size]
        print(f"rank {job.rank} has {len(rows)} rows", flush=True)
        (count,) = job.all_reduce([len(rows)])
        while not os.path.exists(job.parameters.get("go", "/")):
            time.sleep(0.1)
        weights = [0.0, 0.0, 0.0]
        for _ in range(60):
            gradient = [0.0, 0.0, 0.0]
            for *features, label in rows:
                x = [1.0, *features]
                error = 1 / (1 + math.exp(-sum(w * v for w, v in zip(weights, x)))) - label
                gradient = [g + error * v for g, v in zip(gradient, x)]
            gradient = job.all_reduce(gradient)
            weights = [w - 2.0 * g / count for w, g in zip(weights, gradient)]
        if job.rank == 0:
            print("the weights are there", flush=True)
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            (job.output / "model" / "weights.json").write_text(json.dumps(weights))
            job.finish(metrics={"rows": count, "world_size": job.world_size}, artifacts={"model": "model"})
"""
FAILING = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        print(f"rank {job.rank} begins", flush=True)
        job.all_reduce([1.0])
        if job.rank == 1:
            print("reading the second half", flush=True)
            raise ValueError("no rows in March")
        job.all_reduce([2.0])
"""
HUNGRY = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        job.all_reduce([1.0])
        if job.rank == 2:
            print("loading", flush=True)
            rows = bytearray(400_000_000)
            for position in range(0, len(rows), 4096):
                rows[position] = 1
        job.all_reduce([2.0])
"""
WAITING = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(f"{job.rank}\\n")
        job.all_reduce([1.0])
        time.sleep(60)
"""


@pytest.fixture
def leftovers(cluster):
    """Return what is left of Jobs and Services; and remove it, for Jobs make pods anew."""
    from kubernetes.client import BatchV1Api

    batch = BatchV1Api(cluster.api.api_client)

    def left():
        found = [*batch.list_namespaced_job(cluster.namespace).items]
        found += cluster.api.list_namespaced_service(cluster.namespace).items
        return [one.metadata.name for one in found]

    yield left
    for job in batch.list_namespaced_job(cluster.namespace).items:
        batch.delete_namespaced_job(job.metadata.name, cluster.namespace, propagation_policy="Background")


@pytest.fixture
def points(artifact_root):
    """Rows of which no two thirds are alike."""
    generator = random.Random(7)
    path = artifact_root / "points.csv"
    with path.open("w") as stream:
        for _ in range(301):
            x, y = generator.gauss(0, 1), generator.gauss(1, 2)
            print(x, y, int(generator.random() < (0.8 if x + y > 1 else 0.2)), sep=",", file=stream)
    path.chmod(0o644)
    ref = DatasetRef(uri=f"file://{path}", digest=manifest_of(path).digest, format="csv", size_bytes=1, rows=301)
    return {"train": encode(ref)}


def weights_of(result):
    model = ArtifactStore.from_config().localize(decode(ModelRef, result["model"]))
    return json.loads((model / "weights.json").read_text())


def _services(cluster, seconds=30):
    """Return address, owner's kind and pods of each Service, once it knows its pods."""
    found = []
    for service in cluster.api.list_namespaced_service(cluster.namespace).items:
        pods, deadline = set(), time.monotonic() + seconds
        while not pods and time.monotonic() < deadline:
            parts = cluster.api.read_namespaced_endpoints(service.metadata.name, cluster.namespace).subsets or ()
            pods = {one.target_ref.name for part in parts for one in (part.addresses or part.not_ready_addresses or ())}
            time.sleep(0.2)
        found.append((service.spec.cluster_ip, service.metadata.owner_references[0].kind, pods))
    return found


def nothing_is_left(cluster, leftovers):
    """Wait until there are no Jobs and Services, and no pods but those that are being deleted."""
    deadline = time.monotonic() + 60
    while left := leftovers() + [one.metadata.name for one in cluster.pods() if not one.metadata.deletion_timestamp]:
        assert time.monotonic() < deadline, left
        time.sleep(0.2)


@BOTH
def test_three_pods_learn_what_one_learns(train, arguments, points, cluster, leftovers, runs, deferrable):
    # In between, the sleeping task wakes to show the log.
    given = arguments(LOGISTIC, datasets=points, deferrable=deferrable, logging_interval=1)
    found = {}
    for many in (1, 3):
        run, messages = train(given | {"parallelism": many} | NETWORK)
        assert run.states == {"train": "success"}, messages
        result = run.xcom("train")
        assert result["metrics"] == {"rows": 301, "world_size": many}
        found[many] = weights_of(result)
    print(f"\none pod: {found[1]}\nthree:   {found[3]}")
    assert found[3] == pytest.approx(found[1], rel=1e-12)
    assert abs(found[1][1]) > 0.1
    assert sorted(runs()) == ["0", "0", "1", "2"]
    nothing_is_left(cluster, leftovers)


@BOTH
def test_a_rank_that_fails_fails_the_task_with_its_message(train, arguments, cluster, leftovers, deferrable):
    run, (message,) = train(arguments(FAILING, **NETWORK, parallelism=3, deferrable=deferrable))
    print(f"\n[rank fails] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(
        r"AirflowFailException: job .*: rank 1 of 3 \(pod train-.*\): the script failed: ValueError: no rows in March; "
        r"last lines of .*job\.log:\nrank 1 begins\nreading the second half\nTraceback",
        message,
    ), message
    nothing_is_left(cluster, leftovers)


def test_a_rank_without_memory_is_named(train, arguments, cluster, leftovers):
    small = {"cpu": "50m", "memory": "64Mi"}
    run, (message,) = train(arguments(HUNGRY, **NETWORK, parallelism=3, pod_resources=small))
    print(f"\n[out of memory] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(
        r"rank 2 of 3 \(pod .*\): container 'base' ran out of memory and was killed \(OOMKilled\); .*\nloading", message
    ), message
    nothing_is_left(cluster, leftovers)


@BOTH
def test_pods_that_find_no_node_say_so_and_do_not_stay(train, arguments, cluster, leftovers, deferrable):
    huge = {"cpu": "400"}
    given = arguments(parallelism=2, pod_resources=huge, schedule_timeout_seconds=3, deferrable=deferrable)
    run, (message,) = train(given)
    print(f"\n[unschedulable] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"job .*: pod train-.*: no node takes the pod: 0/1 nodes are available: 1 Insuff", message), (
        message
    )
    nothing_is_left(cluster, leftovers)


def test_a_pod_that_is_deleted_in_the_middle_is_never_a_success(train, arguments, cluster, leftovers, runs):
    services = []

    def delete():
        cluster.wait(lambda pod: len(runs()) == 3)
        services.extend(_services(cluster))
        pod = cluster.wait(lambda pod: pod.status.phase == "Running")
        cluster.api.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=0)

    thread = threading.Thread(target=delete)
    thread.start()
    run, (message,) = train(arguments(WAITING, **NETWORK, parallelism=3))
    thread.join()
    print(f"\n[deleted] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"rank \d of 3 \(pod .*\): the pod is gone: it was deleted before it had left", message), message
    assert sorted(runs()) == ["0", "1", "2"]
    ((address, owner, pods),) = services
    print(f"[service] {address} {owner} {pods}")
    assert (address, owner) == ("None", "Job")
    assert pods
    assert all(pod.startswith("train-") for pod in pods)
    nothing_is_left(cluster, leftovers)


@BOTH
def test_a_task_whose_time_is_over_leaves_no_pods(train, arguments, cluster, leftovers, runs, deferrable):
    limit = timedelta(seconds=8)
    run, (message,) = train(
        arguments(WAITING, **NETWORK, parallelism=3, execution_timeout=limit, deferrable=deferrable)
    )
    print(f"\n[late] {message}")
    assert run.states == {"train": "failed"}
    assert len(runs()) == 3
    nothing_is_left(cluster, leftovers)


def test_who_ends_a_sleeping_task_ends_its_job(cluster, leftovers, kubeconfig):
    from kubernetes.client import BatchV1Api

    spec = {"restartPolicy": "Never", "containers": [{"name": "base", "image": "none:1"}]}
    document = {
        "metadata": {"name": "asleep", "labels": {}},
        "spec": {"parallelism": 2, "completions": 2, "backoffLimit": 0, "template": {"spec": spec}},
    }
    batch = BatchV1Api(cluster.api.api_client)
    assert JobClient(cluster.api, batch, cluster.namespace).create_job(document)
    assert not JobClient(cluster.api, batch, cluster.namespace).create_job(document)
    cluster.wait(lambda pod: pod.metadata.name.startswith("asleep"))
    followed = FollowedJob(
        namespace=cluster.namespace,
        name="asleep",
        labels={"job-name": "asleep"},
        container="base",
        parallelism=2,
        patience=Patience(schedule_seconds=60, startup_seconds=60),
        attempt="01-a",
        folder="/none",
    )
    connection = {"conn_id": None, "config_dict": yaml.safe_load(Path(kubeconfig).read_text())}
    asyncio.run(TrainingJobTrigger(job=encode(followed), cluster=connection).on_kill())
    nothing_is_left(cluster, leftovers)


@pytest.mark.parametrize("place", ["after the job was made", "when all pods have ended", "after the job was removed"])
def test_a_try_after_a_killed_one_follows_the_same_job(
    work,  # noqa: F811 - the fixture
    arguments,
    points,
    cluster,
    leftovers,
    runs,
    artifact_root,
    tmp_path,
    place,
):
    go, log = artifact_root / "go", tmp_path / "worker.log"
    operator = arguments(LOGISTIC, datasets=points, **NETWORK, parallelism=3, parameters={"go": str(go)})

    def let_go_when_followed():
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and "its pod is under way" not in log.read_text():
            time.sleep(0.1)
        go.touch()

    if place != "after the job was made":
        go.touch()
    killed(work(operator, kill=place))
    thread = threading.Thread(target=let_go_when_followed)
    if not go.exists():
        thread.start()
    again = result_of(work(operator))
    if thread.ident is not None:
        thread.join()
        assert "its pod is under way" in log.read_text()
    assert again["state"] == "success", again["messages"]
    assert sorted(runs()) == ["0", "1", "2"]
    nothing_is_left(cluster, leftovers)
