"""What the documents of a Deployment say of a model server; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from airflow_mlops.rollout.serving import ServerPhase
from airflow_mlops.training.phase import read_pod

__all__ = ["ROUTE_ANNOTATION", "is_whole", "phase_of", "port_of", "since_of"]

Json = Mapping[str, Any]

#: At a Deployment whose number of pods a router decides; holds the route's name.
ROUTE_ANNOTATION = "mlops.airflow.apache.org/route"


def is_whole(deployment: Json) -> bool:
    """Whether the Deployment's controller has seen its present form, and all pods of it are available."""
    spec, status = deployment["spec"], deployment.get("status") or {}
    wanted = int(spec.get("replicas", 1))
    return (
        int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
        and int(status.get("updatedReplicas") or 0) >= wanted
        and int(status.get("availableReplicas") or 0) >= wanted
    )


def phase_of(deployment: Json, pods: Sequence[Json], *, container: str | None) -> tuple[ServerPhase, str, int]:
    """Say how a server is, what a person should know, and how often a pod of it was started again.

    :param pods: the Deployment's pods
    :param container: the container that serves; None for the first
    """
    meta, spec, status = deployment["metadata"], deployment["spec"], deployment.get("status") or {}
    wanted, available = int(spec.get("replicas", 1)), int(status.get("availableReplicas") or 0)
    live = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    name = container or str(spec["template"]["spec"]["containers"][0]["name"])
    restarts = max((int(_state(pod, name).get("restartCount") or 0) for pod in live), default=0)
    if meta.get("deletionTimestamp"):
        return "stopped", "it is being deleted", restarts
    if wanted == 0:
        route = (meta.get("annotations") or {}).get(ROUTE_ANNOTATION)
        if route is None:
            return "stopped", "it is scaled to 0 pods", restarts
        if is_whole(deployment):
            return "ready", f"route {route!r} decides how many pods it has; now none", restarts
    if is_whole(deployment):
        return "ready", "", restarts
    crashes = [text for pod in live if (text := _crash(pod, name))]
    troubles = crashes or [text for pod in live if (text := _trouble(pod, name))]
    said = troubles[0] if troubles else _controller(status) or _waiting(deployment, live)
    message = f"{available} of {wanted} pods are ready; {said}"
    return ("crashed" if crashes and not available else "starting"), message, restarts


def since_of(deployment: Json) -> float:
    """Return when the server became available, or was asked for if it is not; seconds since the epoch."""
    moment = str(deployment["metadata"]["creationTimestamp"])
    for condition in (deployment.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Available" and condition.get("lastTransitionTime"):
            moment = str(condition["lastTransitionTime"])
    return datetime.fromisoformat(moment).timestamp()


def port_of(deployment: Json, service: Json | None) -> int | None:
    """Return the TCP port of a server's Service, or of its container where it has no Service; None if it has none."""
    if service is not None:
        ports, field = (service["spec"].get("ports") or ()), "port"
    else:
        ports, field = (deployment["spec"]["template"]["spec"]["containers"][0].get("ports") or ()), "containerPort"
    named = [port for port in ports if port.get("name") == "http"] or list(ports)
    return int(named[0][field]) if named else None


def _state(pod: Json, container: str) -> Json:
    for found in (pod.get("status") or {}).get("containerStatuses") or ():
        if found.get("name") == container:
            state: Json = found
            return state
    return {}


def _crash(pod: Json, container: str) -> str:
    """Say how a pod's server ended, if it did; empty if it did not."""
    found = _state(pod, container)
    state = found.get("state") or {}
    if (state.get("waiting") or {}).get("reason") == "CrashLoopBackOff":
        ended = (found.get("lastState") or {}).get("terminated") or {}
    else:
        ended = state.get("terminated") or {}
    if not ended:
        return ""
    what = f"pod {pod['metadata']['name']} ended with exit code {ended.get('exitCode')}"
    if ended.get("reason") == "OOMKilled":
        what = f"pod {pod['metadata']['name']} ran out of memory and was killed (OOMKilled); raise its memory limit"
    words = str(ended.get("message") or "").strip()
    return f"{what}: {words}" if words else what


def _trouble(pod: Json, container: str) -> str:
    trouble = read_pod(pod, container=container).trouble
    return "" if trouble is None else f"pod {pod['metadata']['name']}: {trouble.message}"


def _controller(status: Json) -> str:
    """Say why pods cannot be made, in the controller's words: a quota, or a policy."""
    for condition in status.get("conditions") or ():
        if condition.get("type") == "ReplicaFailure" and condition.get("status") == "True":
            return f"pods cannot be made: {condition.get('message')}"
    return ""


def _waiting(deployment: Json, pods: Sequence[Json]) -> str:
    if int((deployment.get("status") or {}).get("observedGeneration") or 0) < int(
        deployment["metadata"].get("generation") or 0
    ):
        return "the cluster has not begun with it"
    if any((pod.get("status") or {}).get("phase") == "Running" for pod in pods):
        return "its model is not loaded, or its readiness probe fails"
    return "its pods are being made"
