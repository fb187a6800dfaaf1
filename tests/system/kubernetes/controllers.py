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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Self

from airflow_mlops.training.custom_resource import Json, ResourceKind
from airflow_mlops.training.kinds import KINDS
from airflow_mlops.training.pods import DIRECTORY_ANNOTATION

TRAIN_JOB, RAY_JOB = KINDS["TrainJob"], KINDS["RayJob"]
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
