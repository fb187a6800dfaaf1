"""Training in a real pod: success means a verified model."""

from __future__ import annotations

import threading
import uuid

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.codec import decode
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.references import ModelRef

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    # The pod operator leaves its connections to the garbage collector.
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <ssl:pytest.PytestUnraisableExceptionWarning"),
]

BOTH = pytest.mark.parametrize("deferrable", [False, True], ids=["sync", "deferrable"])


@BOTH
def test_a_training_returns_a_model_that_verifies_and_leaves_no_pod(train, arguments, cluster, runs, deferrable):
    run, messages = train(arguments(deferrable=deferrable))
    assert run.states == {"train": "success"}, messages
    result = run.xcom("train")
    assert result["metrics"] == {"auc": 0.7}
    model = decode(ModelRef, result["model"])
    assert (ArtifactStore.from_config().localize(model) / "weights.txt").read_text() == "0.5"
    assert len(runs()) == 1
    cluster.wait_empty()


@BOTH
def test_a_function_says_what_a_pod_trains_with(run_dag, arguments, cluster, runs, deferrable):
    given = arguments(deferrable=deferrable)
    settings = ("image", "image_pull_policy", "config_file", "namespace", "pod_resources", "artifacts", "deferrable")
    kubernetes = {name: given.pop(name) for name in settings}
    found = {name: given.pop(name) for name in ("datasets", "parameters", "entrypoint")}
    with DAG(f"function_{uuid.uuid4().hex[:8]}", schedule=None) as dag:

        @task.train(backend="kubernetes", kubernetes=kubernetes, **given)
        def train(month):
            return {**found, "parameters": {**found["parameters"], "month": month}}

        @task
        def last(model):
            return model["digest"]

        last(train("2013-01")["model"])
    run = run_dag(dag)
    assert run.states == {"train": "success", "last": "success"}
    assert run.xcom("last") == run.xcom("train")["model"]["digest"]
    assert len(runs()) == 1
    cluster.wait_empty()


def test_the_script_reads_verified_data_and_a_foreign_user_may_write(train, arguments):
    text = """
        import os
        from airflow_mlops.container import training_job
        with training_job() as job:
            (path,) = job.paths("train")
            job.output.joinpath("model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            job.output.joinpath("model", "rows.txt").write_text(path.read_text() + str(os.getuid()))
            job.finish(metrics={}, artifacts={"model": "model"})
    """
    from kubernetes.client import V1SecurityContext

    user = V1SecurityContext(run_as_user=10001, run_as_group=10001, read_only_root_filesystem=True)
    run, messages = train(arguments(text, container_security_context=user))
    assert run.states == {"train": "success"}, messages
    model = ArtifactStore.from_config().localize(decode(ModelRef, run.xcom("train")["model"]))
    assert (model / "rows.txt").read_text() == "x,y\n1,2\n10001"


@BOTH
def test_a_pod_that_is_deleted_in_the_middle_is_never_a_success(train, arguments, cluster, runs, deferrable):
    def delete():
        pod = cluster.wait(lambda pod: pod.status.phase == "Running" and runs())
        cluster.api.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=0)

    thread = threading.Thread(target=delete)
    thread.start()
    run, (message,) = train(arguments(parameters={"seconds": 60}, deferrable=deferrable))
    thread.join()
    assert run.states == {"train": "failed"}
    assert "the pod is gone: it was deleted before it had left a result" in message
    assert run.xcom("train") is None


@BOTH
def test_a_pod_that_has_ended_and_is_deleted_before_anybody_looks_is_a_success(train, arguments, cluster, deferrable):
    def delete():
        pod = cluster.wait(lambda pod: pod.status.phase == "Succeeded")
        cluster.api.delete_namespaced_pod(pod.metadata.name, cluster.namespace, grace_period_seconds=0)

    thread = threading.Thread(target=delete)
    thread.start()
    run, messages = train(arguments(deferrable=deferrable, poll_interval=8, on_finish_action="keep_pod"))
    thread.join()
    assert run.states == {"train": "success"}, messages
    assert run.xcom("train")["metrics"] == {"auc": 0.7}


def test_secrets_arrive_by_reference_and_stand_nowhere_else(train, arguments, cluster, capfd):
    from kubernetes.client import V1ObjectMeta, V1Secret

    secret = V1Secret(metadata=V1ObjectMeta(name="registry"), string_data={"token": "pssst-4711"})
    cluster.api.create_namespaced_secret(cluster.namespace, secret)
    text = """
        import os
        from airflow_mlops.container import training_job
        with training_job() as job:
            job.output.joinpath("model").mkdir()
            (job.output / "model" / "MLmodel").write_text("flavors: {}")
            job.output.joinpath("model", "size.txt").write_text(str(len(os.environ["TOKEN"])))
            job.finish(metrics={}, artifacts={"model": "model"})
    """
    given = {"cpu": "50m", "secrets": [{"variable": "TOKEN", "secret": "registry", "key": "token"}]}
    run, messages = train(arguments(text, pod_resources=given))
    cluster.api.delete_namespaced_secret("registry", cluster.namespace)
    assert run.states == {"train": "success"}, messages
    captured = capfd.readouterr()
    assert "pssst-4711" not in captured.out + captured.err


def test_what_a_pod_template_says_stays(train, arguments, cluster, tmp_path):
    template = tmp_path / "template.yaml"
    template.write_text("""
        apiVersion: v1
        kind: Pod
        metadata: {name: template}
        spec:
          securityContext: {fsGroup: 4321, supplementalGroups: [77]}
          containers:
            - name: base
              image: replaced
              resources: {requests: {cpu: 20m, memory: 100Mi}, limits: {memory: 150Mi}}
    """)
    given = arguments(pod_template_file=str(template), pod_resources=None, on_finish_action="keep_pod")
    run, messages = train(given)
    assert run.states == {"train": "success"}, messages
    (pod,) = cluster.pods()
    assert pod.spec.security_context.fs_group == 4321
    assert 77 in pod.spec.security_context.supplemental_groups
    assert len(pod.spec.security_context.supplemental_groups) == 2
    (container,) = pod.spec.containers
    assert container.resources.requests == {"cpu": "20m", "memory": "100Mi"}
    assert container.resources.limits == {"memory": "150Mi"}
