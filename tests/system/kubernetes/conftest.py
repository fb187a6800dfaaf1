"""A namespace of a real cluster, an image to train in, and a folder that workers and pods share.

The cluster is the one that KUBECONFIG names, else the test bed's if it runs. Its node must be this machine, because
the shared folder is a ``hostPath`` volume.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from urllib3.exceptions import HTTPError

from tests.airflow.conftest import Run, airflow_db, artifact_root, connection, run_dag  # noqa: F401 - fixtures
from tests.system.kubernetes.controllers import (  # noqa: F401 - fixtures
    controller,
    custom_objects,
    forget_definitions,
    resource_arguments,
)
from tests.system.kubernetes.servers import fleet, pretended, serving  # noqa: F401 - fixtures
from tests.system.trainer_image import trainer_image

ROOT = Path(__file__).parents[3]
TESTBED = Path(os.environ.get("MLOPS_TESTBED", ROOT.parent / "shared" / "testbed" / "testbed"))
BASE_IMAGE = os.environ.get("MLOPS_BASE_IMAGE", "python:3.11-slim-bookworm")

GOOD = """
    import time
    from pathlib import Path
    from airflow_mlops.container import training_job
    with training_job() as job:
        with open(job.parameters["runs"], "a") as runs:
            runs.write(job.output.name + "\\n")
        print("training begins", flush=True)
        time.sleep(job.parameters.get("seconds", 0))
        (job.output / "model").mkdir()
        (job.output / "model" / "MLmodel").write_text("flavors: {}")
        (job.output / "model" / "weights.txt").write_text("0.5")
        job.finish(metrics={"auc": 0.7}, artifacts={"model": "model"})
"""


@dataclass(frozen=True)
class Cluster:
    """One namespace of a cluster."""

    kubeconfig: str
    namespace: str
    api: Any

    def pods(self) -> list[Any]:
        return self.api.list_namespaced_pod(self.namespace).items

    def wait(self, condition: Callable[[Any], bool], seconds: float = 200) -> Any:
        """Return the first pod for which the condition holds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for pod in self.pods():
                if condition(pod):
                    return pod
            time.sleep(0.2)
        pytest.fail(f"no such pod within {seconds} s; there are {[pod.metadata.name for pod in self.pods()]}")

    def wait_empty(self, seconds: float = 90) -> None:
        deadline = time.monotonic() + seconds
        while self.pods():
            assert time.monotonic() < deadline, [pod.metadata.name for pod in self.pods()]
            time.sleep(0.2)

    def delete_pods(self) -> None:
        self.api.delete_collection_namespaced_pod(self.namespace, grace_period_seconds=0)


def _kubeconfig() -> str | None:
    path = os.environ.get("KUBECONFIG")
    if not path and TESTBED.is_file():
        path = subprocess.run([TESTBED, "kubeconfig"], capture_output=True, text=True, check=True).stdout.strip()
    return path if path and Path(path).is_file() else None


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Take back what the tests brought into the cluster, when the last of the processes that test is done."""
    if hasattr(session.config, "workerinput") or (path := _kubeconfig()) is None:
        return
    kubernetes = pytest.importorskip("kubernetes")
    with contextlib.suppress(HTTPError), kubernetes.config.new_client_from_config(path) as client:
        forget_definitions(client)  # a cluster that does not answer has none of ours


@pytest.fixture(scope="session")
def kubeconfig() -> str:
    path = _kubeconfig()
    if path is None:
        pytest.skip("no cluster: set KUBECONFIG, or start the test bed's with `testbed kube-up`")
    return path


@pytest.fixture(scope="session")
def api(kubeconfig: str) -> Iterator[Any]:
    kubernetes = pytest.importorskip("kubernetes")
    api = kubernetes.client.CoreV1Api(kubernetes.config.new_client_from_config(kubeconfig))
    try:
        api.list_namespace(_request_timeout=5)
    except Exception as error:  # noqa: BLE001 - whatever the reason, there is no cluster to test with
        pytest.skip(f"the cluster of {kubeconfig} does not answer: {error}")
    yield api
    api.api_client.close()


@pytest.fixture(scope="session")
def image(api: Any, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The base image with this package in it and nothing else, loaded into the cluster."""
    given = os.environ.get("MLOPS_TEST_IMAGE")
    if given:
        return given
    if not TESTBED.is_file() or shutil.which("docker") is None:
        pytest.skip("no image: set MLOPS_TEST_IMAGE to one that the cluster has and that holds airflow-mlops")
    context = tmp_path_factory.mktemp("image")
    shutil.copytree(ROOT / "airflow_mlops", context / "airflow_mlops", ignore=shutil.ignore_patterns("__pycache__"))
    (context / "Dockerfile").write_text(
        f"FROM {BASE_IMAGE}\nCOPY airflow_mlops /usr/lib/python3/dist-packages/airflow_mlops\n"
    )
    tag = "mlops-kubernetes-test:1"
    for command in (
        [TESTBED, "base-image"],
        ["docker", "build", "--quiet", "--tag", tag, str(context)],
        [TESTBED, "kube-load", tag],
    ):
        done = subprocess.run(
            command, env={**os.environ, "DOCKER_BUILDKIT": "0"}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
    return tag


@pytest.fixture(scope="session")
def trainer() -> str:
    """The trainer's image, in the Docker engine unless MLOPS_TRAINER_IMAGE names another."""
    answer = shutil.which("docker") and subprocess.run(["docker", "version"], check=False, capture_output=True)
    if "MLOPS_TRAINER_IMAGE" not in os.environ and not (answer and answer.returncode == 0):
        pytest.skip("no Docker engine to build the trainer's image with; or name one in MLOPS_TRAINER_IMAGE")
    return trainer_image()


@pytest.fixture(scope="session")
def trainer_in_the_cluster(api: Any, trainer: str) -> str:
    """The same, loaded into the cluster; one that was named is fetched by the cluster itself."""
    known = {name for node in api.list_node().items for one in node.status.images or () for name in one.names or ()}
    if "MLOPS_TRAINER_IMAGE" in os.environ or any(name == trainer or name.endswith(f"/{trainer}") for name in known):
        return trainer
    if not TESTBED.is_file():
        pytest.skip("no image: set MLOPS_TRAINER_IMAGE to one that the cluster has, made from docker/trainer")
    subprocess.run([TESTBED, "kube-load", trainer], check=True, capture_output=True)
    return trainer


@pytest.fixture(scope="session")
def namespace(api: Any) -> Iterator[str]:
    from kubernetes.client import V1Namespace, V1ObjectMeta

    name = f"mlops-test-{uuid.uuid4().hex[:8]}"
    api.create_namespace(V1Namespace(metadata=V1ObjectMeta(name=name)))
    deadline = time.monotonic() + 60
    while not api.list_namespaced_service_account(name).items:  # pods are refused before it exists
        assert time.monotonic() < deadline, "the namespace gets no service account"
        time.sleep(0.1)
    yield name
    api.delete_namespace(name)


@pytest.fixture
def cluster(kubeconfig: str, api: Any, namespace: str) -> Iterator[Cluster]:
    """An empty namespace, and empty afterwards."""
    cluster = Cluster(kubeconfig=kubeconfig, namespace=namespace, api=api)
    yield cluster
    cluster.delete_pods()
    cluster.wait_empty()


@pytest.fixture
def script(tmp_path: Path) -> Callable[..., str]:
    def write(text: str = GOOD) -> str:
        file = tmp_path / "train.py"
        file.write_text(textwrap.dedent(text))
        return str(file)

    return write


@pytest.fixture
def dataset(artifact_root: Path) -> dict[str, Any]:  # noqa: F811 - the fixture
    """Rows that the pod verifies, in the shared folder."""
    from airflow_mlops.codec import encode
    from airflow_mlops.manifest import manifest_of
    from airflow_mlops.references import DatasetRef

    artifact_root.chmod(0o755)
    for parent in list(artifact_root.parents)[:3]:
        parent.chmod(0o755)
    path = artifact_root / "rows.csv"
    path.write_text("x,y\n1,2\n")
    manifest = manifest_of(path)
    ref = DatasetRef(uri=f"file://{path}", digest=manifest.digest, format="csv", size_bytes=8, rows=1)
    return encode(ref)


@pytest.fixture
def arguments(
    cluster: Cluster,
    image: str,
    script: Callable[..., str],
    dataset: dict[str, Any],
    artifact_root: Path,  # noqa: F811 - the fixture
) -> Callable[..., dict[str, Any]]:
    """Arguments of a training that works, as JSON, with changes."""
    runs = artifact_root / "runs"
    runs.touch()
    runs.chmod(0o666)

    def build(text: str = GOOD, **changes: Any) -> dict[str, Any]:
        return {
            "task_id": "train",
            "image": image,
            "image_pull_policy": "IfNotPresent",
            "config_file": cluster.kubeconfig,
            "namespace": cluster.namespace,
            "entrypoint": script(text),
            "datasets": {"train": dataset},
            "model_name": "flights",
            "pod_resources": {"cpu": "50m", "memory": "128Mi"},
            "artifacts": {"mount_path": str(artifact_root), "host_path": str(artifact_root)},
            "termination_grace_period": 1,
            "poll_interval": 0.5,
            "parameters": {"runs": str(runs)} | changes.pop("parameters", {}),
            **changes,
        }

    return build


@pytest.fixture
def runs(artifact_root: Path) -> Callable[[], list[str]]:  # noqa: F811 - the fixture
    """Return the attempts whose script ran."""
    return lambda: (artifact_root / "runs").read_text().splitlines()


@pytest.fixture
def train(run_dag: Callable[..., Run]) -> Callable[..., tuple[Run, list[str]]]:  # noqa: F811 - the fixture
    """Run a DAG with one training; return the run and the messages of its failures."""

    def run(arguments: dict[str, Any]) -> tuple[Run, list[str]]:
        from airflow.sdk import DAG

        from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator

        messages: list[str] = []

        def keep(context: Any) -> None:
            messages.append(f"{type(context['exception']).__name__}: {context['exception']}")

        with DAG(f"train_{uuid.uuid4().hex[:8]}", schedule=None) as dag:
            TrainOnKubernetesOperator(**arguments, on_failure_callback=keep)
        return run_dag(dag), messages

    return run
