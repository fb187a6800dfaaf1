"""Several steps in one real pod: one pod is made, every result is verified, nothing is left."""

from __future__ import annotations

import itertools
import re
import textwrap
import threading
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.references import ModelRef

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

STEP = """
    import time
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(job.output.name + "\\n")
        print("step begins", flush=True)
        time.sleep(job.parameters.get("seconds", 0))
        job.output.joinpath("out.txt").write_text(str(job.parameters.get("number", 0)))
        job.finish(metrics={"number": job.parameters.get("number", 0)}, artifacts={"out": "out.txt"})
"""
FAILING = """
    from airflow_mlops.container import training_job
    print("epoch 1", flush=True)
    with training_job() as job:
        raise ValueError("the learning rate is negative")
"""
CRASHING = """
    import sys
    print("epoch 1")
    print("no rows left", file=sys.stderr)
    sys.exit(3)
"""
HUNGRY = """
    print("loading", flush=True)
    rows = bytearray(400_000_000)
    for position in range(0, len(rows), 4096):
        rows[position] = 1
"""
TAMPERING = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        job.output.joinpath("out.txt").write_text("1")
        job.finish(metrics={}, artifacts={"out": "out.txt"})
    job.output.joinpath("out.txt").write_text("2")
"""


@pytest.fixture
def group(cluster, image, artifact_root, dataset):
    """Arguments of a warm pod that works, with changes."""

    def build(**changes):
        return {
            "image": image,
            "image_pull_policy": "IfNotPresent",
            "config_file": cluster.kubeconfig,
            "namespace": cluster.namespace,
            "pod_resources": {"cpu": "50m", "memory": "128Mi"},
            "artifacts": {"mount_path": str(artifact_root), "host_path": str(artifact_root)},
            "termination_grace_period": 1,
            **changes,
        }

    return build


@pytest.fixture
def step_script(tmp_path):
    def write(text=STEP, name="step.py"):
        file = tmp_path / name
        file.write_text(textwrap.dedent(text))
        return str(file)

    return write


@pytest.fixture
def parameters(artifact_root):
    runs = artifact_root / "runs"
    runs.touch()
    runs.chmod(0o666)
    return {"runs": str(runs)}


@pytest.fixture
def made(cluster):
    """Names of all pods that were ever made here in this test, told by the scheduler's events."""
    before = {event.metadata.name for event in cluster.api.list_namespaced_event(cluster.namespace).items}

    def names():
        events = cluster.api.list_namespaced_event(cluster.namespace).items
        new = [event for event in events if event.metadata.name not in before and event.reason == "Scheduled"]
        return sorted(event.involved_object.uid for event in new)

    return names


@pytest.fixture
def run_group(run_dag, group):
    """Run a DAG of one warm pod; ``define`` makes its steps. Return the run and the messages of failures by task."""

    def run(define, **changes):
        from airflow.sdk import DAG

        from airflow_mlops.operators.warm_pod import WarmPod

        messages = {}

        def keep(context):
            error = context["exception"]
            messages[context["ti"].task_id] = f"{type(error).__name__}: {error}"

        with (
            DAG(f"warm_{uuid.uuid4().hex[:8]}", schedule=None, default_args={"on_failure_callback": keep}) as dag,
            WarmPod("warm", **group(**changes)) as pod,
        ):
            define(pod)
        return run_dag(dag), messages

    return run


def chain(tasks):
    for first, second in itertools.pairwise(tasks):
        first >> second


def assert_ending(cluster):
    """What is left is being deleted; how long a kubelet takes for that is its own affair."""
    assert all(pod.metadata.deletion_timestamp for pod in cluster.pods())


def test_five_steps_run_in_one_pod_and_their_results_verify(
    run_group, step_script, parameters, dataset, cluster, made, runs, capfd
):
    model = """
        from airflow_mlops.container import training_job
        with training_job() as job:
            (path,) = job.paths("train")
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            (job.output / "model" / "rows.txt").write_text(path.read_text())
            job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"})
    """

    def define(pod):
        steps = [
            pod.step(f"step_{number}", entrypoint=step_script(), parameters={**parameters, "number": number})
            for number in range(3)
        ]
        steps.append(pod.step("train", entrypoint=step_script(model, "train.py"), datasets={"train": dataset}))
        words = ["python", "-c", "print('hello from the pod'); open('note.txt', 'w').write('7')"]
        steps.append(pod.step("note", command=words))
        chain(steps)

    run, messages = run_group(define)
    assert set(run.states.values()) == {"success"}, messages
    assert len(run.states) == 7
    assert len(made()) == 1
    assert len(runs()) == 3
    for number in range(3):
        result = run.xcom(f"warm.step_{number}")
        assert result["metrics"] == {"number": number}
        assert Path(result["artifacts"]["out"].removeprefix("file://")).read_text() == str(number)
    trained = ArtifactStore.from_config().localize(decode(ModelRef, run.xcom("warm.train")["model"]))
    assert (trained / "rows.txt").read_text() == "x,y\n1,2\n"
    noted = run.xcom("warm.note")
    assert noted["summary"] == {"exit_code": 0}
    assert Path(noted["job_uri"].removeprefix("file://"), "note.txt").read_text() == "7"
    printed = capfd.readouterr().out
    assert printed.count("step begins") == 3
    assert "hello from the pod" in printed
    cluster.wait_empty()


def test_steps_that_nothing_orders_share_the_pod_and_a_foreign_user_may_write(run_group, step_script, parameters, made):
    from kubernetes.client import V1SecurityContext

    def define(pod):
        from airflow_mlops.operators import RunInWarmPodOperator

        RunInWarmPodOperator.partial(task_id="each", entrypoint=step_script(), **pod.step_arguments).expand(
            parameters=[{**parameters, "number": number} for number in range(2)]
        )

    user = V1SecurityContext(run_as_user=10001, run_as_group=10001, read_only_root_filesystem=True)
    run, messages = run_group(define, container_security_context=user)
    assert set(run.states.values()) == {"success"}, messages
    assert [run.xcom("warm.each", map_index=number)["metrics"]["number"] for number in range(2)] == [0, 1]
    assert len(made()) == 1


# script or command, whether another try may help, what the message says
FAILURES = {
    "exception": (FAILING, False, r"the script failed: ValueError: the learning rate is negative; .*epoch 1"),
    "exit code": (CRASHING, False, r"the script ended with exit code 3; .*epoch 1\nno rows left"),
    "tampered": (TAMPERING, False, r"out\.txt: digest is sha256:.* the content changed"),
    "out of memory": (
        HUNGRY,
        False,
        (
            r"the script was killed because the pod's memory of 128 MiB ran out; raise pod_resources.memory of task "
            r"'warm\.start_warm_pod'; last lines of its log:\nloading"
        ),
    ),
    "command": (["sh", "-c", "echo so it goes; exit 4"], False, r"the command ended with exit code 4.*so it goes"),
    "no command": (["nonesuch"], False, r"the command ended with exit code 127.*nonesuch: No such file"),
    "killed": (["sh", "-c", "kill -9 $PPID"], True, r"killed by signal 9 \(SIGKILL\)"),
}


def test_failing_steps_say_what_happened_and_the_pod_is_removed(run_group, step_script, cluster, made):
    def define(pod):
        for name, (what, _, _) in FAILURES.items():
            task_id = name.replace(" ", "_")
            if isinstance(what, str):
                pod.step(task_id, entrypoint=step_script(what, f"{task_id}.py"))
            else:
                pod.step(task_id, command=what)

    run, messages = run_group(define)
    for name, (_, retryable, expected) in FAILURES.items():
        task = f"warm.{name.replace(' ', '_')}"
        print(f"\n[{name}] {messages.get(task)}")
        assert run.states[task] == "failed"
        assert re.search(expected, messages[task], re.DOTALL), messages[task]
        assert messages[task].startswith("AirflowException: " if retryable else "AirflowFailException: ")
        assert run.xcom(task) is None
    assert run.states["warm.stop_warm_pod"] == "success"
    assert len(made()) == 1
    assert_ending(cluster)


def test_a_pod_that_is_deleted_in_the_middle_is_never_a_success(run_group, step_script, parameters, cluster, runs):
    def define(pod):
        first = pod.step("first", entrypoint=step_script(), parameters={**parameters, "seconds": 60})
        first >> pod.step("second", entrypoint=step_script(), parameters={**parameters, "number": 2})
        pod.step("other", command=["sleep", "0"])

    def delete():
        pod = cluster.wait(lambda pod: pod.status.phase == "Running" and runs())
        cluster.api.delete_namespaced_pod(pod.metadata.name, cluster.namespace)

    thread = threading.Thread(target=delete)
    thread.start()
    run, messages = run_group(define)
    thread.join()
    print(f"\n[deleted] {messages}")
    assert run.states["warm.first"] == "failed"
    assert run.states["warm.second"] == "upstream_failed"
    assert run.states["warm.stop_warm_pod"] == "success"
    message = messages["warm.first"]
    assert "the pod is gone: it was deleted before it had left a result" in message
    assert "Steps share the pod that task 'warm.start_warm_pod' starts: clear that task" in message
    assert message.startswith("AirflowFailException: ")
    assert_ending(cluster)


def test_the_cluster_ends_a_pod_at_its_deadline_whatever_airflow_does(run_group, step_script, parameters, cluster):
    def define(pod):
        pod.step("slow", entrypoint=step_script(), parameters={**parameters, "seconds": 60})

    run, messages = run_group(define, active_deadline_seconds=5)
    print(f"\n[deadline] {messages}")
    assert run.states["warm.slow"] == "failed"
    assert "the pod ran past its deadline (active_deadline_seconds) (DeadlineExceeded)" in messages["warm.slow"]
    assert_ending(cluster)


def test_a_pod_that_cannot_start_says_why_and_is_removed(run_group, cluster):
    run, messages = run_group(lambda pod: pod.step("step", command=["true"]), image="InvalidName:1")
    assert run.states["warm.start_warm_pod"] == "failed"
    assert run.states["warm.step"] == "upstream_failed"
    assert "the image 'InvalidName:1' of container 'base' cannot be pulled" in messages["warm.start_warm_pod"]
    assert_ending(cluster)


def test_a_step_that_is_killed_ends_in_the_pod_too_and_the_pod_lives_on(run_group, step_script, parameters, cluster):
    look = """
        from pathlib import Path
        from airflow_mlops.container import training_job
        with training_job() as job:
            commands = [entry.read_bytes().decode() for entry in Path("/proc").glob("[0-9]*/cmdline")]
            left = [command for command in commands if "endless.py" in command]
            job.finish(metrics={"left": len(left)}, summary={"left": left})
    """

    from airflow.providers.standard.operators.empty import EmptyOperator

    def define(pod):
        endless = pod.step(
            "endless",
            entrypoint=step_script(STEP, "endless.py"),
            parameters={**parameters, "seconds": 600},
            execution_timeout=timedelta(seconds=8),
        )
        # A task right after a setup may not have another trigger rule.
        whatever = EmptyOperator(task_id="whatever", trigger_rule="all_done")
        endless >> whatever >> pod.step("look", entrypoint=step_script(look, "look.py"))

    run, messages = run_group(define)
    assert run.states["warm.endless"] == "failed"
    assert "AirflowTaskTimeout" in messages["warm.endless"]
    assert run.states["warm.look"] == "success", messages
    assert run.xcom("warm.look")["summary"] == {"left": []}
    assert_ending(cluster)


def test_a_command_in_a_pod_ends_with_its_exit_code_or_with_what_the_cluster_says(cluster, image):
    from airflow_mlops.adapters.pods.exec import PodExec

    container = {
        "name": "base",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-m", "airflow_mlops.container.warm_pod", "idle"],
    }
    spec = {"restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [container]}
    cluster.api.create_namespaced_pod(cluster.namespace, {"metadata": {"name": "warm"}, "spec": spec})
    cluster.wait(lambda pod: pod.status.phase == "Running")
    commands = PodExec(cluster.api, cluster.namespace)

    def run(*command, pod="warm"):
        output, errors = bytearray(), bytearray()
        end = commands.run(pod, "base", command, output=output.extend, errors=errors.extend, silence_seconds=30)
        return end, bytes(output), bytes(errors)

    end, output, errors = run("python", "-c", "import sys; print('é' * 100_000); sys.exit('no')")
    assert (end.code, output.decode(), errors) == (1, "é" * 100_000 + "\n", b"no\n")
    assert run("true")[0].code == 0
    assert run("sh", "-c", "kill -9 $$")[0].code == 137
    missing, *_ = run("nonesuch")
    assert missing.code is None
    assert "executable file not found" in missing.problem
    absent, *_ = run("true", pod="absent")
    assert absent.code is None
    assert absent.problem == 'Handshake status 404 Not Found; pods "absent" not found'
