"""The controllers of custom resources, which do not run in the test cluster, played by the test.

They watch for the one resource of a namespace, make what the real ones would make of it, and write its status into
the real API server.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pytest

from airflow_mlops.training.custom_resource import Json, ResourceKind
from airflow_mlops.training.kinds import KINDS
from airflow_mlops.training.pods import DIRECTORY_ANNOTATION

TRAIN_JOB, RAY_JOB = KINDS["TrainJob"], KINDS["RayJob"]
#: The definitions that the tests brought; they go when all tests are over.
# Set by the first of the processes that test, inherited by the others: another run in the same cluster keeps its own.
SESSION = os.environ.setdefault("MLOPS_TEST_SESSION", f"tests-{uuid.uuid4().hex[:8]}")
DEFINED_HERE = {"airflow-mlops/made-by": SESSION}
DEFINITIONS = Path(os.environ.get("MLOPS_DEFINITIONS", Path(__file__).parents[4] / "shared" / "crds"))
FILES = {TRAIN_JOB: "kubeflow-trainer-trainjobs.yaml", RAY_JOB: "kuberay-rayjobs.yaml"}
STARTED = "2026-01-01T00:00:00Z"


def conditions(**states: tuple[str, str]) -> Json:
    """Status of a TrainJob: ``conditions(Failed=("FailedJobs", "jobset failed"))``."""
    return {
        "conditions": [
            {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": STARTED}
            for kind, (reason, message) in states.items()
        ]
    }


def complete(kind: ResourceKind) -> Json:
    if kind is TRAIN_JOB:
        return conditions(Complete=("AllJobsCompleted", "jobset completed successfully"))
    return {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}


def running(kind: ResourceKind) -> Json:
    if kind is TRAIN_JOB:
        counts = {"active": 1, "failed": 0, "ready": 1, "succeeded": 0, "suspended": 0}
        return {"jobsStatus": [{"name": "node", **counts}]}
    return {"jobDeploymentStatus": "Running", "jobStatus": "RUNNING"}


def command_of(document: Json) -> list[str]:
    """What the pods of a resource run."""
    spec = document["spec"]
    return shlex.split(spec["entrypoint"]) if document["kind"] == "RayJob" else list(spec["trainer"]["command"])


def pod_of(document: Json) -> dict[str, Any]:
    """The pod that a controller would make for rank 0."""
    spec = document["spec"]
    if document["kind"] == "RayJob":
        template = spec["rayClusterSpec"]["headGroupSpec"]["template"]
        (container,) = template["spec"]["containers"]
    else:
        ((job,),) = (
            patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"] for patch in spec["runtimePatches"]
        )
        template = job["template"]["spec"]["template"]
        (container,) = template["spec"]["containers"]
        trainer = spec["trainer"]
        container = {**container, "image": trainer["image"], "resources": trainer["resourcesPerNode"]}
    container = {**container, "command": command_of(document), "imagePullPolicy": "IfNotPresent"}
    metadata = {**template["metadata"], "name": f"{document['metadata']['name']}-0"}
    pod = {**template["spec"], "containers": [container], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": pod}


@dataclass
class Controller:
    """Runs a play with each resource of a kind, once, in the background.

    :param custom: ``kubernetes.client.CustomObjectsApi``
    :param core: ``kubernetes.client.CoreV1Api``
    """

    custom: Any
    core: Any
    kind: ResourceKind
    namespace: str
    play: Callable[[Controller, Json], None]
    played: list[Json] = field(default_factory=list)
    problem: BaseException | None = None

    def __enter__(self) -> Self:
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self.problem is not None:
            raise self.problem

    def objects(self) -> list[Json]:
        return self.custom.list_namespaced_custom_object(*self.where)["items"]

    @property
    def where(self) -> tuple[str, str, str, str]:
        return self.kind.group, self.kind.version, self.namespace, self.kind.plural

    def say(self, document: Json, status: Json) -> None:
        """Write the status, as a controller does."""
        name = document["metadata"]["name"]
        self.custom.patch_namespaced_custom_object_status(*self.where, name, {"status": status})

    def delete(self, document: Json) -> None:
        self.custom.delete_namespaced_custom_object(*self.where, document["metadata"]["name"])

    def run_pod(self, document: Json) -> str:
        """Run the resource's pod in the cluster until it has ended; return its phase."""
        pod = pod_of(document)
        self.core.create_namespaced_pod(self.namespace, pod)
        while True:
            phase = self.core.read_namespaced_pod(pod["metadata"]["name"], self.namespace).status.phase
            if phase in ("Succeeded", "Failed"):
                return phase
            time.sleep(0.1)

    def run_here(self, document: Json, **environment: str) -> int:
        """Run the resource's command as a process of this machine, which sees the same folder."""
        _, *arguments = command_of(document)
        done = subprocess.run(
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            capture_output=True,
            check=False,
            cwd=document["metadata"]["annotations"][DIRECTORY_ANNOTATION],
        )
        return done.returncode

    def _run(self) -> None:
        known: set[str] = set()
        try:
            while not self._stop.wait(0.05):
                for document in self.objects():
                    if document["metadata"]["uid"] not in known:
                        known.add(document["metadata"]["uid"])
                        self.played.append(document)
                        self.play(self, document)
        except BaseException as problem:  # noqa: BLE001 - raised again in the test's thread
            self.problem = problem


@pytest.fixture(scope="session")
def custom_objects(api):
    """The cluster's custom objects, with the definitions of both kinds in it."""
    from kubernetes import client

    custom = client.CustomObjectsApi(api.api_client)
    for kind, file in FILES.items():
        if _knows(custom, kind):
            continue
        if not (DEFINITIONS / file).is_file():
            pytest.skip(f"the cluster does not know {kind.definition}; set MLOPS_DEFINITIONS to a folder with {file}")
        _define(api, DEFINITIONS / file)
        deadline = time.monotonic() + 60
        while not _knows(custom, kind):
            assert time.monotonic() < deadline, f"{kind.definition} does not come up"
            time.sleep(0.2)
    return custom


def forget_definitions(client) -> None:
    """Remove the definitions that the tests brought."""
    from kubernetes.client import ApiextensionsV1Api

    ((name, value),) = DEFINED_HERE.items()
    definitions = ApiextensionsV1Api(client)
    definitions.delete_collection_custom_resource_definition(label_selector=f"{name}={value}")


def _knows(custom, kind) -> bool:
    from kubernetes.client.exceptions import ApiException

    try:
        custom.list_cluster_custom_object(kind.group, kind.version, kind.plural, limit=1)
    except ApiException as error:
        if error.status != 404:
            raise
        return False
    return True


def _define(api, file: Path) -> None:
    import yaml
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    document = yaml.load(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    document["metadata"].setdefault("labels", {}).update(DEFINED_HERE)
    try:
        client.ApiextensionsV1Api(api.api_client).create_custom_resource_definition(document, _preload_content=False)
    except ApiException as error:
        if error.status != 409:  # another test was faster
            raise


@pytest.fixture
def controller(custom_objects, api, cluster):
    """Play a kind's controller: ``with controller(TRAIN_JOB, play): ...``; no resource stays."""
    made = []

    def make(kind, play=lambda *_: None) -> Controller:
        made.append(Controller(custom=custom_objects, core=api, kind=kind, namespace=cluster.namespace, play=play))
        return made[-1]

    yield make
    for kind in (TRAIN_JOB, RAY_JOB):
        custom_objects.delete_collection_namespaced_custom_object(
            kind.group, kind.version, cluster.namespace, kind.plural
        )


@pytest.fixture
def resource_arguments(arguments):
    """Arguments of a training by a kind's operator."""

    def build(kind, text=None, **changes):
        made = arguments(**({"text": text} if text else {}), **changes)
        for name in ("image_pull_policy", "termination_grace_period"):
            del made[name]
        made["poll_interval"] = 0.2
        return made | ({"runtime": "torch-distributed"} if kind is TRAIN_JOB else {})

    return build
