"""TrainJobs and RayJobs in a real API server with the real definitions; the test plays their controllers."""

from __future__ import annotations

import asyncio
import re
import uuid
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_mlops.adapters.pods.custom_attempts import TrainingObjects
from airflow_mlops.adapters.pods.custom_objects import CustomObjectClient
from airflow_mlops.adapters.pods.kubernetes import PodClient
from airflow_mlops.codec import decode, encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.cluster import ClusterAccess
from airflow_mlops.references import ModelRef
from airflow_mlops.training.attempts import Action, enter
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.custom_resource import ResourceKind, lost_fields, resource_name
from airflow_mlops.training.pods import ATTEMPT_LABEL, DIRECTORY_ANNOTATION, JOB_LABEL, TASK_LABEL
from tests.system.kubernetes.controllers import RAY_JOB, TRAIN_JOB, complete, conditions, running

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # Airflow's hook leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

KINDS = pytest.mark.parametrize("kind", [TRAIN_JOB, RAY_JOB], ids=lambda kind: kind.kind)
BOTH = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])

RAISING = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        raise ValueError("the learning rate is negative")
"""
HUNGRY = """
    rows = bytearray(400_000_000)
    for position in range(0, len(rows), 4096):
        rows[position] = 1
"""
TOGETHER = """
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(f"{job.rank} of {job.world_size} at {job.request.group.rendezvous}\\n")
        if job.rank == 0:
            (job.output / "model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"})
"""


@pytest.fixture
def train(run_dag):
    """Run a DAG with one training; return the run and the messages of its failures."""

    def run(kind, arguments):
        from airflow.sdk import DAG

        from airflow_mlops.operators import TrainWithKubeflowOperator, TrainWithRayOperator

        messages: list[str] = []

        def keep(context):
            messages.append(f"{type(context['exception']).__name__}: {context['exception']}")

        operator = TrainWithKubeflowOperator if kind is TRAIN_JOB else TrainWithRayOperator
        with DAG(f"train_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            operator(**arguments, on_failure_callback=keep)
        return run_dag(dag), messages

    return run


@KINDS
@BOTH
def test_a_training_is_created_watched_verified_and_deleted(
    train, resource_arguments, controller, runs, cluster, kind, deferrable
):
    def play(self, document):
        self.say(document, running(kind))
        # One way with a real pod, made of nothing but what the resource says; the other with a process, which is fast.
        assert self.run_here(document) == 0 if deferrable else self.run_pod(document) == "Succeeded"
        self.say(document, complete(kind))

    with controller(kind, play) as played:
        run, messages = train(kind, resource_arguments(kind, deferrable=deferrable, labels={"team": "flights"}))
        assert run.states == {"train": "success"}, messages
        (document,) = played.played
        assert played.objects() == []
    assert document["metadata"]["labels"]["team"] == "flights"
    returned = run.xcom("train")
    assert returned["metrics"] == {"auc": 0.7}
    model = ArtifactStore.from_config().localize(decode(ModelRef, returned["model"]))
    assert (model / "weights.txt").read_text() == "0.5"
    assert len(runs()) == 1


def test_several_nodes_get_their_ranks_from_the_runtime(train, resource_arguments, controller, runs):
    def play(self, document):
        assert document["spec"]["trainer"]["numNodes"] == 2
        self.say(document, running(TRAIN_JOB))
        for rank in ("0", "1"):  # as JobSet's Indexed Jobs do
            assert self.run_here(document, JOB_COMPLETION_INDEX=rank) == 0
        self.say(document, complete(TRAIN_JOB))

    with controller(TRAIN_JOB, play) as played:
        run, messages = train(TRAIN_JOB, resource_arguments(TRAIN_JOB, TOGETHER, nodes=2))
    assert run.states == {"train": "success"}, messages
    name = played.played[0]["metadata"]["name"]
    assert runs() == [f"{rank} of 2 at {name}-node-0-0.{name}:29500" for rank in (0, 1)]


# name: kind, what the controller says, whether another try may help, what the message says
FAILURES = {
    "failed jobs": (
        TRAIN_JOB,
        conditions(Failed=("FailedJobs", "jobset failed due to one or more job failures")),
        False,
        r"TrainJob .*/train-\w+: it is Failed \(FailedJobs\): jobset failed due to one or more job failures",
    ),
    "deadline": (
        TRAIN_JOB,
        conditions(Failed=("DeadlineExceeded", "TrainJob exceeded its active deadline")),
        False,
        r"it is Failed \(DeadlineExceeded\): TrainJob exceeded its active deadline",
    ),
    "no runtime": (
        TRAIN_JOB,
        conditions(Failed=("TrainingRuntimeNotSupported", "unsupported runtime: torch-distributed")),
        False,
        r"it is Failed \(TrainingRuntimeNotSupported\): unsupported runtime: torch-distributed",
    ),
    "complete without a result": (
        TRAIN_JOB,
        complete(TRAIN_JOB),
        False,
        r"TrainJob .* is complete, but nothing shows in .* that the job ran there: the artefact store must be a volume",
    ),
    "app": (
        RAY_JOB,
        {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "reason": "AppFailed", "message": "exit code 1"},
        False,
        r"RayJob .*/train-\w+: it is Failed, the job in Ray is FAILED \(AppFailed\): exit code 1",
    ),
    "stopped": (
        RAY_JOB,
        {"jobDeploymentStatus": "Complete", "jobStatus": "STOPPED", "message": "Job was intentionally stopped."},
        True,
        r"it is Complete, the job in Ray is STOPPED: Job was intentionally stopped\.",
    ),
    "submission": (
        RAY_JOB,
        {"jobDeploymentStatus": "Failed", "reason": "SubmissionFailed", "message": "BackoffLimitExceeded"},
        True,
        r"it is Failed \(SubmissionFailed\): BackoffLimitExceeded",
    ),
    "invalid": (
        RAY_JOB,
        {"jobDeploymentStatus": "ValidationFailed", "reason": "ValidationFailed", "message": "name too long"},
        False,
        r"it is ValidationFailed: name too long",
    ),
    "ray deadline": (
        RAY_JOB,
        {"jobDeploymentStatus": "Failed", "reason": "DeadlineExceeded", "message": "The RayJob has passed the limit"},
        False,
        r"it is Failed \(DeadlineExceeded\): The RayJob has passed the limit",
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_says_what_the_controller_says(train, resource_arguments, controller, name):
    kind, status, retryable, expected = FAILURES[name]
    with controller(kind, lambda self, document: self.say(document, status)) as played:
        run, (message,) = train(kind, resource_arguments(kind, deferrable=len(name) % 2 == 0))
        assert played.objects() == [], "a resource that failed may be taken up again"
    print(f"\n[{kind.kind}: {name}] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(expected, message, re.DOTALL), message
    assert message.startswith("AirflowException: " if retryable else "AirflowFailException: ")


@KINDS
def test_a_failure_says_what_the_script_says(train, resource_arguments, controller, kind):
    def play(self, document):
        assert self.run_here(document) != 0
        failed = conditions(Failed=("FailedJobs", "jobset failed"))
        self.say(document, failed if kind is TRAIN_JOB else {"jobDeploymentStatus": "Failed", "reason": "AppFailed"})

    with controller(kind, play):
        run, (message,) = train(kind, resource_arguments(kind, RAISING))
    print(f"\n[{kind.kind}: script] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"it is Failed \(\w+Failed|FailedJobs\)", message)
    assert "the script failed: ValueError: the learning rate is negative" in message
    assert message.startswith("AirflowFailException: ")


@BOTH
def test_a_completion_is_no_success_if_a_file_is_not_what_was_sealed(train, resource_arguments, controller, deferrable):
    def play(self, document):
        assert self.run_here(document) == 0
        directory = Path(document["metadata"]["annotations"][DIRECTORY_ANNOTATION])
        (directory / "model" / "weights.txt").write_text("0.6")
        self.say(document, complete(RAY_JOB))

    with controller(RAY_JOB, play):
        run, (message,) = train(RAY_JOB, resource_arguments(RAY_JOB, deferrable=deferrable))
    assert run.states == {"train": "failed"}
    assert re.search(r"^AirflowFailException: .*model/weights\.txt: digest is sha256:.* the content changed", message)


def test_a_connection_leads_to_the_cluster_and_the_namespace(
    train, resource_arguments, controller, connection, cluster
):
    def play(self, document):
        assert self.run_here(document) == 0
        self.say(document, complete(TRAIN_JOB))

    extra = {"kube_config_path": cluster.kubeconfig, "namespace": cluster.namespace}
    connection("training_cluster", conn_type="kubernetes", extra=extra)
    changes = {"config_file": None, "namespace": None, "kubernetes_conn_id": "training_cluster", "deferrable": True}
    with controller(TRAIN_JOB, play):
        run, messages = train(TRAIN_JOB, resource_arguments(TRAIN_JOB, **changes))
    assert run.states == {"train": "success"}, messages


def test_a_failure_says_what_a_pod_says(train, resource_arguments, controller):
    def play(self, document):
        assert self.run_pod(document) == "Failed"
        self.say(document, conditions(Failed=("FailedJobs", "jobset failed")))

    small = {"cpu": "50m", "memory": "64Mi"}
    with controller(TRAIN_JOB, play):
        run, (message,) = train(TRAIN_JOB, resource_arguments(TRAIN_JOB, HUNGRY, pod_resources=small))
    print(f"\n[pod] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"pod train-\w+-0: container 'node' ran out of memory and was killed \(OOMKilled\)", message)


@KINDS
@BOTH
def test_a_resource_that_somebody_deletes_is_never_a_success(train, resource_arguments, controller, kind, deferrable):
    def play(self, document):
        self.say(document, running(kind))
        self.delete(document)

    with controller(kind, play):
        run, (message,) = train(kind, resource_arguments(kind, deferrable=deferrable))
    print(f"\n[{kind.kind}: gone] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(rf"AirflowException: {kind.kind} .*: it is gone: it was deleted before it had left", message)


@BOTH
def test_a_resource_that_vanishes_with_its_result_written_is_a_success(
    train, resource_arguments, controller, deferrable
):
    def play(self, document):
        assert self.run_here(document) == 0
        self.delete(document)

    with controller(RAY_JOB, play):
        run, messages = train(RAY_JOB, resource_arguments(RAY_JOB, deferrable=deferrable))
    assert run.states == {"train": "success"}, messages


def test_a_resource_may_stay_when_it_has_ended_but_not_when_it_is_given_up(train, resource_arguments, controller):
    def play(self, document):
        assert self.run_here(document) == 0
        self.say(document, complete(RAY_JOB))

    with controller(RAY_JOB, play) as played:
        run, messages = train(RAY_JOB, resource_arguments(RAY_JOB, keep_resource=True))
        assert run.states == {"train": "success"}, messages
        assert len(played.objects()) == 1
    with controller(TRAIN_JOB) as played:
        run, messages = train(TRAIN_JOB, resource_arguments(TRAIN_JOB, keep_resource=True, startup_timeout_seconds=1))
        assert run.states == {"train": "failed"}
        assert played.objects() == []


def test_a_resource_that_failed_after_the_result_was_sealed_is_a_success(train, resource_arguments, controller):
    def play(self, document):
        assert self.run_here(document) == 0
        self.say(document, conditions(Failed=("DeadlineExceeded", "too late")))

    with controller(TRAIN_JOB, play):
        run, messages = train(TRAIN_JOB, resource_arguments(TRAIN_JOB))
    assert run.states == {"train": "success"}, messages


@pytest.mark.parametrize(
    ("kind", "status", "deferrable", "expected"),
    [
        (TRAIN_JOB, None, True, r"nothing says why; does Kubeflow Trainer run in the cluster\?"),
        (TRAIN_JOB, conditions(Suspended=("Suspended", "TrainJob is suspended")), False, "Suspended: TrainJob is susp"),
        (RAY_JOB, {"jobDeploymentStatus": "Suspended"}, True, "it is Suspended; a queue or a person holds it back"),
    ],
    ids=["no controller", "TrainJob suspended", "RayJob suspended"],
)
def test_what_does_not_start_in_time_is_given_up(
    train, resource_arguments, controller, kind, status, deferrable, expected
):
    def play(self, document):
        if status:
            self.say(document, status)

    with controller(kind, play) as played:
        run, (message,) = train(kind, resource_arguments(kind, startup_timeout_seconds=2, deferrable=deferrable))
        assert played.objects() == []
    print(f"\n[{kind.kind}: late] {message}")
    assert run.states == {"train": "failed"}
    assert re.search(r"it did not start within 2 s \(startup_timeout_seconds\): .*" + expected, message)
    assert message.startswith("AirflowException: ")


@BOTH
def test_a_task_that_takes_too_long_leaves_no_resource(train, resource_arguments, controller, deferrable):
    arguments = resource_arguments(TRAIN_JOB, deferrable=deferrable, execution_timeout=timedelta(seconds=3))
    with controller(TRAIN_JOB, lambda self, document: self.say(document, running(TRAIN_JOB))) as played:
        run, _ = train(TRAIN_JOB, arguments)
        assert len(played.played) == 1
        assert played.objects() == []
    assert run.states == {"train": "failed"}


def test_a_killed_sleeper_takes_its_resource_with_it_and_a_moved_one_does_not(controller, cluster, monkeypatch):
    from airflow_mlops.triggers import training

    state = "deferred"

    async def said(key):
        return state

    monkeypatch.setattr(training, "task_state", said)
    client = CustomObjectClient(controller(TRAIN_JOB).custom, TRAIN_JOB, cluster.namespace)
    document = {"apiVersion": TRAIN_JOB.api_version, "kind": "TrainJob", "metadata": {"name": "killed"}}
    client.create({**document, "spec": {"runtimeRef": {"name": "torch"}}})
    trigger = training.CustomResourceTrigger(
        kind="TrainJob",
        namespace=cluster.namespace,
        name="killed",
        access=encode(ClusterAccess(conn_id=None, config_file=cluster.kubeconfig)),
        poll_seconds=1,
        start_deadline=None,
        deadline=None,
        task={},
        carried={},
    )
    asyncio.run(trigger.on_kill())
    assert client.get("killed") is not None
    state = "failed"
    asyncio.run(trigger.on_kill())
    assert client.get("killed") is None


def test_a_field_that_the_definition_does_not_know_is_named(train, resource_arguments, controller):
    with controller(RAY_JOB) as played:
        _, (message,) = train(RAY_JOB, resource_arguments(RAY_JOB, spec={"nodePool": "spot"}))
        assert played.objects() == []
    print(f"\n[unknown field] {message}")
    assert (
        "the cluster's definition of rayjobs.ray.io/v1 does not know spec.nodePool; install a newer KubeRay" in message
    )
    assert message.startswith("AirflowFailException: ")


def test_a_cluster_without_the_definition_says_what_to_install(custom_objects, cluster):
    for group, version in (("nobody.example.org", "v1"), (TRAIN_JOB.group, "v7"), (TRAIN_JOB.group, TRAIN_JOB.version)):
        kind = ResourceKind(
            kind="NoJob",
            group=group,
            version=version,
            plural="nojobs",
            controller="Nobody",
            container="none",
            read=TRAIN_JOB.read,
        )
        with pytest.raises(PermanentAdapterError) as caught:
            CustomObjectClient(custom_objects, kind, cluster.namespace).list({})
        assert str(caught.value) == f"the cluster does not know nojobs.{group}/{version}; install Nobody"


@KINDS
def test_one_try_has_one_resource_and_the_next_try_follows_it(controller, cluster, api, tmp_path, kind):
    played = controller(kind)
    client, made = CustomObjectClient(played.custom, kind, cluster.namespace), []

    def world(attempt):
        labels = {TASK_LABEL: "task", JOB_LABEL: "job"}
        spec = {"runtimeRef": {"name": "torch"}} if kind is TRAIN_JOB else {"entrypoint": "true"}

        def build():
            made.append(attempt)
            metadata = {"name": resource_name("train", attempt), "labels": {**labels, ATTEMPT_LABEL: attempt}}
            return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}

        return TrainingObjects(
            objects=client,
            pods=PodClient(api, cluster.namespace),
            folder=AttemptFolder(tmp_path / "job"),
            labels=labels,
            request=lambda name: JobRequest(kind="train", job_id="j", output_uri=f"file:///{name}"),
            build=build,
        )

    for attempt in ("a1", "a1", "a2"):
        decision = enter(world(attempt), attempt)
        assert (decision.action, decision.attempt) == (Action.FOLLOW, "a1")
    assert made == ["a1"]
    (document,) = played.objects()
    assert lost_fields({"metadata": {"labels": {ATTEMPT_LABEL: "a1"}}}, document) == []
    assert client.create({**document, "metadata": {"name": document["metadata"]["name"]}}) is None
