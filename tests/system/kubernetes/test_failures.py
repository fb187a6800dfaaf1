"""What a person reads when a training fails, as the real cluster brings it about."""

from __future__ import annotations

import re
import threading

import pytest

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

HUNGRY = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        print("loading", flush=True)
        rows = bytearray(400_000_000)
        for position in range(0, len(rows), 4096):
            rows[position] = 1
"""
SLEEPY = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        print("epoch 1", flush=True)
        time.sleep(120)
"""
FORGETFUL = """
    print("all done")
"""
CRASHING = """
    import sys
    print("epoch 1")
    print("no rows left", file=sys.stderr)
    sys.exit(3)
"""
RAISING = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        raise ValueError("the learning rate is negative")
"""
TAMPERING = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        job.output.joinpath("model").mkdir()
        (job.output / "model" / "MLmodel").write_text("flavors: {}")
        job.output.joinpath("model", "weights.txt").write_text("1")
        job.finish(metrics={}, artifacts={"model": "model"})
    job.output.joinpath("model", "weights.txt").write_text("2")
"""
MODELLESS = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        job.finish(metrics={"auc": 0.9})
"""
UNKNOWN_IMAGE = "registry.invalid/nobody/nothing:1"
SMALL = {"cpu": "50m", "memory": "64Mi"}

# name: script, changed arguments, whether another try may help, what the message says
FAILURES = {
    "image": (
        None,
        {"image": "InvalidName:1"},
        False,
        r"the image 'InvalidName:1' of container 'base' cannot be pulled \(InvalidImageName\): .*couldn't parse",
    ),
    "never pull": (
        None,
        {"image": "not-there:1", "image_pull_policy": "Never"},
        False,
        r"the image 'not-there:1' of container 'base' cannot be pulled \(ErrImageNeverPull\): .*not present",
    ),
    "registry": (
        None,
        {"image": UNKNOWN_IMAGE, "startup_timeout_seconds": 20},
        None,
        r"the image 'registry\.invalid/nobody/nothing:1' of container 'base' cannot be pulled .*Failed to pull image",
    ),
    "unschedulable": (
        None,
        {"pod_resources": {"cpu": "400"}, "schedule_timeout_seconds": 4},
        True,
        r"no node takes the pod: 0/1 nodes are available: 1 Insufficient cpu",
    ),
    "missing secret": (
        None,
        {
            "pod_resources": {"secrets": [{"variable": "TOKEN", "secret": "absent", "key": "token"}]},
            "startup_timeout_seconds": 6,
        },
        False,
        r"container 'base' cannot be started \(CreateContainerConfigError\): secret \"absent\" not found",
    ),
    "no interpreter": (
        None,
        {"python": "/opt/none/bin/python"},
        False,
        r"container 'base' cannot be started \((StartError|ContainerCannotRun)\).*/opt/none/bin/python",
    ),
    "out of memory": (
        HUNGRY,
        {"pod_resources": SMALL},
        False,
        (
            r"container 'base' ran out of memory and was killed \(OOMKilled\); raise its memory limit; "
            r"last lines of its log:\nloading"
        ),
    ),
    "deadline": (
        SLEEPY,
        {"active_deadline_seconds": 6},
        False,
        (
            r"the pod ran past its deadline \(active_deadline_seconds\) \(DeadlineExceeded\): Pod was active on the "
            r"node longer than the specified deadline; last lines of its log:\nepoch 1"
        ),
    ),
    "contract": (
        FORGETFUL,
        {},
        False,
        r"the script ended with exit code 0 but left no result\.json; it must call job\.finish\(\).*all done",
    ),
    "tampered": (TAMPERING, {}, False, r"model/weights\.txt: digest is sha256:.* the content changed"),
    "no model": (MODELLESS, {}, False, r"names no artefact 'model'; it names: none"),
    "exit code": (CRASHING, {}, False, r"the script ended with exit code 3; .*epoch 1\nno rows left"),
    "exception": (RAISING, {}, False, r"the script failed: ValueError: the learning rate is negative"),
    "no volume": (None, {"artifacts": None}, False, r"No such file or directory"),
}


@pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])
@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_what_happened(train, arguments, name, deferrable):
    text, changes, retryable, expected = FAILURES[name]
    given = arguments(**({"text": text} if text else {}), **changes, deferrable=deferrable)
    run, messages = train(given)
    assert run.states == {"train": "failed"}
    (message,) = messages
    print(f"\n[{name}] {message}")
    assert re.search(expected, message, re.DOTALL), message
    if retryable is not None:
        assert message.startswith("AirflowException: " if retryable else "AirflowFailException: ")


def test_a_pod_that_gives_way_to_a_more_important_one_says_so(train, arguments, cluster, runs):
    from kubernetes import client

    scheduling = client.SchedulingV1Api(cluster.api.api_client)
    name = f"{cluster.namespace}-urgent"
    scheduling.create_priority_class(
        client.V1PriorityClass(metadata=client.V1ObjectMeta(name=name), value=1000, global_default=False)
    )

    def intrude():
        cluster.wait(lambda pod: pod.status.phase == "Running" and runs())
        container = client.V1Container(
            name="main",
            image=arguments()["image"],
            image_pull_policy="IfNotPresent",
            command=["sleep", "1"],
            resources=client.V1ResourceRequirements(requests={"cpu": "1500m"}),
        )
        spec = client.V1PodSpec(containers=[container], priority_class_name=name, restart_policy="Never")
        cluster.api.create_namespaced_pod(
            cluster.namespace, client.V1Pod(metadata=client.V1ObjectMeta(name="urgent"), spec=spec)
        )

    thread = threading.Thread(target=intrude)
    thread.start()
    try:
        given = arguments(parameters={"seconds": 60}, pod_resources={"cpu": "1100m"})
        run, (message,) = train(given)
    finally:
        thread.join()
        scheduling.delete_priority_class(name)
    print(f"\n[preempted] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"the pod was preempted by a more important one \(Preempted\): .*urgent", message), message
    assert message.startswith("AirflowException: ")


GREEDY = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        print("spilling", flush=True)
        with open("/tmp/spill", "wb") as spill:
            spill.write(bytes(30_000_000))
        time.sleep(120)
"""


def test_a_pod_that_its_node_evicts_says_so(train, arguments):
    from kubernetes.client import V1ResourceRequirements

    limits = V1ResourceRequirements(limits={"ephemeral-storage": "5Mi", "memory": "128Mi"}, requests={"cpu": "50m"})
    run, (message,) = train(arguments(GREEDY, pod_resources=None, container_resources=limits))
    print(f"\n[evicted] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"the pod was evicted \(Evicted\): .*ephemeral local storage", message), message
    assert message.startswith("AirflowException: ")
