"""KubeRay's ``RayJob``: the document of a training, and what its status says.

Two states stand in the status: of the deployment, which is the cluster and the submission, and of the job in Ray. The
names are those of KubeRay's API; the definition itself lists none.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.custom_resource import Json, ResourceKind, failed, suspended
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.pods import PodResources, PodVolume, pod_overlay

__all__ = ["RAY_JOB", "ray_job", "read_ray_job"]

_HEAD, _WORKER = "ray-head", "ray-worker"

_NOT_STARTED = frozenset({"", "Initializing", "Waiting", "Scheduling", "Scheduled", "Retrying"})
_SUSPENDED = frozenset({"Suspending", "Suspended"})
_REASONS = {
    "AppFailed": Cause.EXIT_CODE,
    "DeadlineExceeded": Cause.DEADLINE,
    "PreRunningDeadlineExceeded": Cause.SLOW_START,
    "ValidationFailed": Cause.CONFIGURATION,
    "SubmissionFailed": Cause.NODE,
    "JobDeploymentStatusTransitionGracePeriodExceeded": Cause.NODE,
    "JobStatusCheckTimeoutExceeded": Cause.NODE,
}


def read_ray_job(job: Json) -> PodReport:
    """Say where a ``RayJob`` stands; a state that is not known here is not over."""
    status: Json = job.get("status") or {}
    deployment, ray = str(status.get("jobDeploymentStatus") or ""), str(status.get("jobStatus") or "")
    said = {name: str(status.get(name) or "") for name in ("reason", "message")}
    if deployment in ("Failed", "ValidationFailed"):
        reason = said["reason"] or ("AppFailed" if ray == "FAILED" else deployment)
        cause = Cause.KILLED if ray == "STOPPED" else _REASONS.get(reason, Cause.NODE)
        return failed(cause, _state(deployment, ray), **said)
    if deployment == "Complete":
        return _complete(ray, said)
    if deployment in _SUSPENDED:
        return suspended(deployment, **said)
    if deployment == "Running":
        return PodReport(phase=PodPhase.RUNNING)
    if deployment in _NOT_STARTED:
        return PodReport(phase=PodPhase.PENDING)
    trouble = Trouble(cause=Cause.NODE, message=f"it is {deployment}, which is no state of KubeRay that is known here")
    return PodReport(phase=PodPhase.PENDING, trouble=trouble)


def _complete(ray: str, said: dict[str, str]) -> PodReport:
    if ray == "SUCCEEDED":
        return PodReport(phase=PodPhase.SUCCEEDED)
    causes = {"FAILED": Cause.EXIT_CODE, "STOPPED": Cause.KILLED}
    return failed(causes.get(ray, Cause.NODE), _state("Complete", ray), **said)


def _state(deployment: str, ray: str) -> str:
    return f"{deployment}, the job in Ray is {ray}" if ray else deployment


RAY_JOB = ResourceKind(
    kind="RayJob",
    group="ray.io",
    version="v1",
    plural="rayjobs",
    controller="KubeRay",
    container=_HEAD,
    read=read_ray_job,
)


def ray_job(
    *,
    metadata: Json,
    workers: int,
    ray_version: str | None,
    image: str,
    command: Sequence[str],
    resources: PodResources,
    worker_resources: PodResources,
    artifacts: PodVolume | None,
    group: int,
    active_deadline_seconds: int | None = None,
) -> dict[str, Any]:
    """Return the document of a training.

    :param metadata: name, labels and annotations, which its pods get too
    :param workers: how many pods there are beside the head, which runs the command
    :param ray_version: what the image holds; None leaves it to KubeRay
    :param command: what the head runs once Ray is up
    :param resources: what the head gets
    :param worker_resources: what each worker gets
    :param group: group of the job's folder
    :param active_deadline_seconds: how long it may take, None for no limit
    :raises SpecificationError: if a number makes no sense
    """
    if isinstance(workers, bool) or not isinstance(workers, int) or workers < 0:
        raise SpecificationError("workers", workers, "a number of at least 0")

    def template(container: str, given: PodResources) -> dict[str, Any]:
        return _template(container, given, metadata=metadata, image=image, artifacts=artifacts, group=group)

    head = {"rayStartParams": {}, "template": template(_HEAD, resources)}
    groups = [
        {
            "groupName": "workers",
            "replicas": workers,
            "minReplicas": workers,
            "maxReplicas": workers,
            "rayStartParams": {},
            "template": template(_WORKER, worker_resources),
        }
    ]
    cluster: dict[str, Any] = {"headGroupSpec": head, "workerGroupSpecs": groups if workers else []}
    if ray_version is not None:
        cluster["rayVersion"] = ray_version
    spec: dict[str, Any] = {
        "entrypoint": shlex.join(command),
        "rayClusterSpec": cluster,
        "shutdownAfterJobFinishes": True,
        # An attempt runs once; Airflow's next try is another attempt.
        "backoffLimit": 0,
        "suspend": False,
    }
    if active_deadline_seconds is not None:
        spec["activeDeadlineSeconds"] = active_deadline_seconds
    return {"apiVersion": RAY_JOB.api_version, "kind": RAY_JOB.kind, "metadata": dict(metadata), "spec": spec}


def _template(
    container: str,
    resources: PodResources,
    *,
    metadata: Json,
    image: str,
    artifacts: PodVolume | None,
    group: int,
) -> dict[str, Any]:
    overlay = pod_overlay(
        container=container,
        command=(),
        labels=metadata.get("labels") or {},
        annotations=metadata.get("annotations") or {},
        resources=resources,
        artifacts=artifacts,
        group=group,
    )
    (main,) = overlay["spec"]["containers"]
    del main["command"]  # KubeRay starts Ray
    main["image"] = image
    return overlay
