"""A router for clusters without one: the numbers of pods behind one Service are the weights.

A route is a Service; its targets are Deployments, by name, whose pods the Service's selector takes in. Of
``total_replicas`` pods each target has as many as its weight says, so ten pods can be split in steps of 10 %. The
Service, and not the Deployments, holds the record of weights and targets; each Deployment is annotated with the number
of pods that it was given, so that another hand's scaling is seen.

A model server of a :class:`~airflow_mlops.adapters.serving.deployments.DeploymentFleet` begins outside the route, where
it can be checked. When it becomes a target its pods are let go and its Deployment gets the Service's labels: from then
on the route alone decides how many pods it has. That happens before its first weight, so no pod that serves is ever
made anew.

Pods come before they are needed and go after: a target shrinks only as far as the ready pods stay ``total_replicas``.
Going back waits for that no longer than ``give_back_seconds``, and then only until there is a pod to go back to.

What it takes so that no request fails while pods come and go: a readiness probe that says when the model is loaded; a
``preStop`` pause of a few seconds, during which the server still answers while proxies hear that it goes; and a
termination grace period longer than that pause and the longest request. Servers of the fleet and of the Helm chart
have all three. A Service spreads connections, not requests: clients that keep one connection stay with its pod, so
shares hold over many connections only. No HorizontalPodAutoscaler may steer the Deployments.

Needs the rights to ``get``, ``create`` and ``patch`` Services, and to ``get``, ``list`` and ``patch`` Deployments.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations
from airflow_mlops.adapters.traffic.fenced_object import ANNOTATIONS, FencedRouter, Live, Record, percentages
from airflow_mlops.adapters.traffic.replica_counts import grain, next_counts, replica_counts
from airflow_mlops.adapters.traffic.scaled_deployment import (
    DEPLOYMENT,
    foreign_scaling,
    is_behind,
    is_settled,
    join,
    leave,
    live_pods,
    ready_pods,
    scale,
)
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError, TransientAdapterError
from airflow_mlops.rollout.observation import RouteView

__all__ = ["ReplicaRatioRouter"]

_SERVICE = ObjectKind(group="", version="v1", plural="services", kind="Service")
_POLL_SECONDS = 0.5


class ReplicaRatioRouter(FencedRouter):
    """Routes of plain Services over plain Deployments; implements :class:`airflow_mlops.rollout.ports.Router`.

    ``set_weights`` waits until the pods are there.

    :param objects: the namespace of the Services and Deployments
    :param name: name of a route's Service; ``{route}`` stands for the route
    :param total_replicas: pods that a route has in all
    :param ready_seconds: how long new pods may take before a change of weights is given up
    :param give_back_seconds: how long, when all traffic goes back, the other pods still serve until capacity is there
    :param pause: waits so many seconds
    """

    kind = _SERVICE
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "verify"})

    def __init__(
        self,
        objects: KubernetesObjects,
        *,
        name: str = "{route}",
        total_replicas: int = 10,
        ready_seconds: float = 120.0,
        give_back_seconds: float = 15.0,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(objects, name=name)
        if isinstance(total_replicas, bool) or not isinstance(total_replicas, int) or not 1 <= total_replicas <= 1000:
            raise SpecificationError("total_replicas", total_replicas, "a whole number of pods, 1 to 1000")
        if grain(total_replicas) > 50:
            raise SpecificationError(
                "total_replicas",
                total_replicas,
                "a number of pods that can be shared out in whole percents, such as 10",
            )
        for field, value in (("ready_seconds", ready_seconds), ("give_back_seconds", give_back_seconds)):
            if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
                raise SpecificationError(field, value, "0 or more seconds")
        self._total = total_replicas
        self._ready_seconds = ready_seconds
        self._give_back_seconds = give_back_seconds
        self._pause = pause

    def check_weights(self, weights: Mapping[str, int]) -> None:
        """Refuse weights that are no whole numbers of pods; what can be made is never rounded to.

        :raises SpecificationError: naming the nearest weights that can be made
        """
        replica_counts(weights, self._total)

    def ensure_targets(self, route: str, targets: Mapping[str, int], *, fencing_token: int) -> RouteView:
        """Make Deployments targets, without pods; a route without a Service gets one.

        :param targets: name of the Deployment to port of the Service
        :raises PermanentAdapterError: when there is no such Deployment, or its pods are not behind the Service and
            somebody else's to change
        :raises StaleWriteError: when a newer token wrote here, or there are foreign edits
        """
        name = self.object_name(route)
        if self._objects.get(_SERVICE, name) is None and targets:
            self._objects.create(_SERVICE, _service(name, next(iter(targets.values()))))
        selector = _selector(self._service(route))
        for target in targets:
            join(self._deployment(target), route=route, selector=selector, record=None)
        super().ensure_targets(route, targets, fencing_token=fencing_token)
        record = self.record(self._service(route))
        for target in targets:
            if not record.weights.get(target):
                self._objects.change(DEPLOYMENT, target, partial(join, route=route, selector=selector, record=record))
        return self.observe(route)

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights, and wait until the pods are there; the same weights again go on where that was left.

        :raises SpecificationError: when the weights do not sum to 100, or are no whole numbers of pods
        :raises TransientAdapterError: when the new pods are not ready in time; traffic stays where it was
        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when a target is not known, or its Deployment is gone
        """
        if sum(weights.values()) == 100 and all(weight >= 0 for weight in weights.values()):
            self.check_weights(weights)
        super().set_weights(route, weights, fencing_token=fencing_token, expected_generation=expected_generation)
        record = self.record(self._service(route))
        began = time.monotonic()
        while True:
            waited = time.monotonic() - began
            late = waited >= self._ready_seconds
            if self._move(route, record, patient=expected_generation is not None or waited < self._give_back_seconds):
                view = self.observe(route)
                # Going back is done when everybody is told to go.
                if view.applied or late or expected_generation is None:
                    return view
            elif late:
                raise TransientAdapterError(
                    f"route {route!r}: {self._missing(record)} after {waited:.0f} s; other pods still have the traffic"
                )
            self._pause(_POLL_SECONDS)
            self._require_unchanged(route, record)

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target; its Deployment keeps no pods, and nothing of the route.

        :raises PermanentAdapterError: when it still has weight
        """
        if self._objects.get(_SERVICE, self.object_name(route)) is None:
            return RouteView(route=route)
        selector = _selector(self._service(route))
        super().remove_target(route, name)
        if self._objects.get(DEPLOYMENT, name) is not None:
            self._objects.change(DEPLOYMENT, name, partial(leave, route=route, selector=selector))
        return self.observe(route)

    def live(self, route: str, document: Json, record: Record) -> Live:
        """Read what is behind the Service; see :class:`FencedRouter`."""
        selector = _selector(document)
        found = {str(one["metadata"]["name"]): one for one in self._objects.list(DEPLOYMENT, {})}
        behind = {name: one for name, one in found.items() if is_behind(one, selector)}
        if not record.generation:
            pods = {name: live_pods(one) for name, one in behind.items() if live_pods(one)}
            port = int(document["spec"]["ports"][0]["port"])
            return Live(weights=percentages(pods), targets=dict.fromkeys(pods, port))
        edits = [
            f"Deployment {name}, no target of the route, is behind its Service with {live_pods(one)} pods"
            for name, one in sorted(behind.items())
            if name not in record.targets and live_pods(one)
        ]
        for name in record.targets:
            one = found.get(name)
            if one is not None and (said := foreign_scaling(one, route)):
                edits.append(said)
            if record.weights.get(name) and name not in behind:
                edits.append(f"Deployment {name} is {'gone' if one is None else 'not behind the Service any more'}")
        return Live(weights=record.weights, edits=tuple(edits))

    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:  # noqa: ARG002
        """Change nothing in the Service: only its annotations tell the weights."""
        return ()

    def applied(self, route: str, document: Json, record: Record) -> Literal["ok", "pending", "unsupported"]:  # noqa: ARG002
        """Tell whether as many pods are ready as the weights say, and no others are there."""
        if not record.weights:
            return "ok"
        for name, number in self._counts(record).items():
            one = self._objects.get(DEPLOYMENT, name)
            if one is None and not number:
                continue
            if one is None or live_pods(one) != number or not is_settled(one):
                return "pending"
        return "ok"

    def _counts(self, record: Record) -> dict[str, int]:
        return replica_counts({name: record.weights.get(name, 0) for name in record.targets}, self._total)

    def _move(self, route: str, record: Record, *, patient: bool) -> bool:
        """Ask for numbers of pods as near to the wanted ones as may be now; tell whether they are those."""
        wanted = self._counts(record)
        found = {name: self._objects.get(DEPLOYMENT, name) for name in wanted}
        for name in [name for name, one in found.items() if one is None]:
            if wanted.pop(name):
                raise PermanentAdapterError(f"route {route!r}: Deployment {name} is gone")
        there = {name: one for name, one in found.items() if one is not None}
        live = {name: live_pods(one) for name, one in there.items()}
        ready = {name: ready_pods(one) for name, one in there.items()}
        # With no pod to go back to, a harmful model is better than none.
        at_once = not patient and any(ready[name] for name, number in wanted.items() if number)
        counts = next_counts(live, ready, wanted, at_once=at_once)
        for name, number in counts.items():
            self._objects.change(DEPLOYMENT, name, partial(scale, number=number, route=route, record=record))
        return counts == wanted

    def _missing(self, record: Record) -> str:
        said = []
        for name, number in self._counts(record).items():
            one = self._objects.get(DEPLOYMENT, name)
            ready = 0 if one is None else ready_pods(one)
            if ready < number:
                said.append(f"{name} has {ready} of {number} pods ready")
        return "; ".join(said) or "pods that shall go are still there"

    def _require_unchanged(self, route: str, record: Record) -> None:
        now = self.record(self._service(route))
        if (now.token, now.generation) != (record.token, record.generation):
            raise StaleWriteError(f"route {route!r}: somebody else set weights while the pods for these were awaited")

    def _service(self, route: str) -> Json:
        name = self.object_name(route)
        document = self._objects.get(_SERVICE, name)
        if document is None:
            raise PermanentAdapterError(f"there is no Service {self._objects.namespace}/{name}")
        return document

    def _deployment(self, name: str) -> Json:
        document = self._objects.get(DEPLOYMENT, name)
        if document is None:
            raise PermanentAdapterError(f"there is no Deployment {self._objects.namespace}/{name}")
        return document


def _selector(service: Json) -> Mapping[str, str]:
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    if not selector:
        raise PermanentAdapterError(
            f"Service {service['metadata']['name']} has no selector, so it takes in no Deployment's pods"
        )
    return selector


def _service(name: str, port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": {"app.kubernetes.io/managed-by": "airflow-mlops"}},
        "spec": {
            "selector": {f"{ANNOTATIONS}/route": name},
            "ports": [{"name": "http", "port": port, "targetPort": port, "protocol": "TCP"}],
        },
    }
