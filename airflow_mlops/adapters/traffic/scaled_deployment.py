"""A Deployment whose number of pods a route decides: what its document says, and patches of it; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import Json, ObjectKind, Operations, pointer
from airflow_mlops.adapters.traffic.fenced_object import ANNOTATIONS, Record
from airflow_mlops.exceptions import PermanentAdapterError, StaleWriteError

__all__ = [
    "DEPLOYMENT",
    "foreign_scaling",
    "is_behind",
    "is_settled",
    "join",
    "leave",
    "live_pods",
    "ready_pods",
    "scale",
]

DEPLOYMENT = ObjectKind(group="apps", version="v1", plural="deployments", kind="Deployment")

_ROUTE = f"{ANNOTATIONS}/route"
_REPLICAS = f"{ANNOTATIONS}/replicas"
_TOKEN = f"{ANNOTATIONS}/token"
_GENERATION = f"{ANNOTATIONS}/generation"
_MANAGER = ("app.kubernetes.io/managed-by", "airflow-mlops")


def live_pods(deployment: Json) -> int:
    """Return how many pods are asked for."""
    return int(deployment["spec"].get("replicas", 1))


def ready_pods(deployment: Json) -> int:
    """Return how many of the pods that are asked for are ready, for as long as the Deployment asks them to be."""
    status = deployment.get("status") or {}
    return min(int(status.get("availableReplicas") or 0), live_pods(deployment))


def is_settled(deployment: Json) -> bool:
    """Whether the pods that are asked for are ready, of the Deployment's present form, and the only ones."""
    status, wanted = deployment.get("status") or {}, live_pods(deployment)
    seen = int(status.get("observedGeneration") or 0) >= int(deployment["metadata"].get("generation") or 0)
    numbers = (int(status.get(name) or 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
    return seen and all(number == wanted for number in numbers)


def is_behind(deployment: Json, selector: Mapping[str, str]) -> bool:
    """Whether a Service with this selector takes in the Deployment's pods."""
    labels = _labels(deployment)
    return all(labels.get(name) == value for name, value in selector.items())


def foreign_scaling(deployment: Json, route: str) -> str:
    """Say that another number of pods is asked for than was written for the route; empty if it is the same."""
    annotations = _annotations(deployment)
    written = annotations.get(_REPLICAS)
    if annotations.get(_ROUTE) != route or written is None or written == str(live_pods(deployment)):
        return ""
    name = deployment["metadata"]["name"]
    return f"Deployment {name} was scaled to {live_pods(deployment)} pods, but {written} were written"


def join(deployment: Json, *, route: str, selector: Mapping[str, str], record: Record | None) -> Operations:
    """Return what makes a Deployment a target without pods.

    :param record: the route's; None only checks
    :raises PermanentAdapterError: if it is another route's, or its pods are somebody else's and not behind the Service
    """
    name, owner = deployment["metadata"]["name"], _annotations(deployment).get(_ROUTE)
    if owner not in (None, route):
        raise PermanentAdapterError(f"Deployment {name} is a target of route {owner!r}; take it off there first")
    ours = (deployment["metadata"].get("labels") or {}).get(_MANAGER[0]) == _MANAGER[1]
    if not is_behind(deployment, selector) and live_pods(deployment) and not ours:
        wanted = ", ".join(f"{key}={value}" for key, value in sorted(selector.items()))
        raise PermanentAdapterError(
            f"the pods of Deployment {name} are not behind route {route!r}: they lack the labels {wanted}. Scale it to "
            "0, or give its pod template these labels"
        )
    if record is None:
        return ()
    labels: list[Mapping[str, Any]] = [
        {"op": "add", "path": pointer("spec", "template", "metadata", "labels", key), "value": value}
        for key, value in selector.items()
        if _labels(deployment).get(key) != value
    ]
    return [*labels, *scale(deployment, 0, route=route, record=record)]


def scale(deployment: Json, number: int, *, route: str, record: Record) -> Operations:
    """Return what gives a Deployment so many pods.

    :param record: what the route says; the number follows from it
    :raises StaleWriteError: if a newer writer scaled it already
    """
    annotations = _annotations(deployment)
    if annotations.get(_ROUTE) == route:
        written = (_number(annotations, _TOKEN), _number(annotations, _GENERATION))
        if written > (record.token, record.generation):
            raise StaleWriteError(
                f"route {route!r}: Deployment {deployment['metadata']['name']} was scaled by a newer writer, with "
                f"token {written[0]} and generation {written[1]}; nothing was written"
            )
    said = {
        _ROUTE: route,
        _REPLICAS: str(number),
        _TOKEN: str(record.token),
        _GENERATION: str(record.generation),
    }
    if live_pods(deployment) == number and annotations.items() >= said.items():
        return ()
    return [*_annotate(deployment, said), {"op": "add", "path": "/spec/replicas", "value": number}]


def leave(deployment: Json, *, route: str, selector: Mapping[str, str]) -> Operations:
    """Return what takes a Deployment off its route; nothing if it is not on it."""
    annotations = _annotations(deployment)
    if annotations.get(_ROUTE) != route or live_pods(deployment):
        return ()
    removed: list[Mapping[str, Any]] = [
        {"op": "remove", "path": pointer("metadata", "annotations", name)}
        for name in (_ROUTE, _REPLICAS, _TOKEN, _GENERATION)
        if name in annotations
    ]
    if _ROUTE in selector and _ROUTE in _labels(deployment):
        removed.append({"op": "remove", "path": pointer("spec", "template", "metadata", "labels", _ROUTE)})
    return removed


def _annotations(deployment: Json) -> Mapping[str, str]:
    return deployment["metadata"].get("annotations") or {}


def _labels(deployment: Json) -> Mapping[str, str]:
    return (deployment["spec"]["template"].get("metadata") or {}).get("labels") or {}


def _number(annotations: Mapping[str, str], name: str) -> int:
    text = annotations.get(name, "0")
    return int(text) if text.isdecimal() else 0


def _annotate(deployment: Json, said: Mapping[str, str]) -> Operations:
    if not _annotations(deployment):
        return [{"op": "add", "path": "/metadata/annotations", "value": dict(said)}]
    return [
        {"op": "add", "path": pointer("metadata", "annotations", name), "value": value} for name, value in said.items()
    ]
