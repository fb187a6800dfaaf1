"""Routes of KServe: an ``InferenceService`` splits requests between its predictors, or between its revisions.

KServe makes and removes the pods and writes the routes; this router changes percentages and, at the end, says which
predictor is the stable one. Targets carry the names that KServe gives their Services and revisions, so that they are
the names in its metrics:

- *Standard* mode (KServe 0.20 and later): ``<service>-predictor`` for ``spec.predictor``, and
  ``<service>-<name>-predictor`` for every entry of ``spec.canary`` by its ``predictor.name``. A candidate is an entry
  with ``trafficPercent: 0``, made before its rollout. What no entry gets is the stable predictor's.
- *Knative* mode: the revisions that the status names. ``spec.predictor.canaryTrafficPercent`` is the share of the
  latest ready revision; the one that had all requests before has the rest. A candidate is made with a
  ``canaryTrafficPercent`` of 0, else it begins with all requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations
from airflow_mlops.adapters.traffic import kserve_knative, kserve_standard
from airflow_mlops.adapters.traffic.fenced_object import FencedRouter, Live, Record
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.serving import ServerStatus

__all__ = ["KServeRouter"]

Mode = Literal["standard", "knative"]
#: Names of the modes, and the ones that they had before KServe 0.16.
_MODES: Mapping[str, Mode] = {
    "standard": "standard",
    "rawdeployment": "standard",
    "knative": "knative",
    "serverless": "knative",
}
_MODE_ANNOTATION = "serving.kserve.io/deploymentMode"
_STOP_ANNOTATION = "serving.kserve.io/stop"
#: KServe's Services listen here whatever the containers do.
_PORT = 80


class KServeRouter(FencedRouter):
    """Routes as InferenceServices; implements :class:`airflow_mlops.rollout.ports.Router`.

    Weights of 100 for a candidate leave the predictor before it deployed, so that there is a way back.
    :meth:`remove_target` of a stable predictor without traffic completes the promotion: the entry that has all requests
    becomes ``spec.predictor``, its pods stay, and KServe removes those of the former one. Removing a candidate removes
    its entry.

    The rights needed are ``get``, ``list`` and ``patch`` of ``inferenceservices.serving.kserve.io``.

    :param objects: the namespace of the InferenceServices
    :param name: name of a route's InferenceService; ``{route}`` stands for the route
    :param mode: ``standard`` or ``knative``; None believes the annotation, else the status
    """

    kind: ClassVar[ObjectKind] = ObjectKind(
        group="serving.kserve.io", version="v1beta1", plural="inferenceservices", kind="InferenceService"
    )
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "verify"})

    def __init__(self, objects: KubernetesObjects, *, name: str = "{route}", mode: str | None = None) -> None:
        super().__init__(objects, name=name)
        if mode is not None and mode not in _MODES.values():
            raise SpecificationError("mode", mode, "standard or knative")
        self._mode = mode

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights; the same weights again change nothing.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when a target is not known, or the cluster's definition has no field for weights
        :raises SpecificationError: when the weights do not sum to 100
        """
        view = super().set_weights(route, weights, fencing_token=fencing_token, expected_generation=expected_generation)
        wanted = {name: weight for name, weight in weights.items() if weight > 0}
        if dict(view.weights) != wanted:
            # What a definition does not know, the API server drops without a word.
            raise PermanentAdapterError(
                f"route {route!r}: {dict(view.weights)} is stored where {wanted} was written; the cluster's definition "
                f"of {self.kind.plural}.{self.kind.group} does not have the field, or another hand was faster"
            )
        return view

    def live(self, route: str, document: Json, record: Record) -> Live:  # noqa: ARG002 - all weights are seen
        """Read the percentages.

        :raises PermanentAdapterError: if the mode is not known, or a canary has no name
        """
        stopped = (document["metadata"].get("annotations") or {}).get(_STOP_ANNOTATION) == "true"
        weights = self._weights(route, document)
        return Live(
            weights={name: weight for name, weight in weights.items() if weight > 0},
            targets=dict.fromkeys(weights, _PORT),
            edits=(f"the service was stopped by {_STOP_ANNOTATION}",) if stopped else (),
        )

    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        """Return what makes the percentages say ``after``, and makes predictors go that are targets no more."""
        weights = self._weights(route, document)
        for name in (*after.weights, *(name for name in after.targets if name not in before.targets)):
            if name not in weights:
                raise PermanentAdapterError(self._no_target(route, document, name, weights))
        if self._mode_of(route, document) == "knative":
            return kserve_knative.operations(route, document, after)
        return kserve_standard.operations(route, document, before, after)

    def applied(
        self,
        route: str,
        document: Json,
        record: Record,  # noqa: ARG002 - the object tells
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether KServe says that what gets requests is ready and has its share.

        In Standard mode that are ``status.canaryStatuses``, of which the condition ``CanaryPredictorReady`` is the
        sum, and the conditions ``PredictorReady`` and ``IngressReady``; in Knative mode the traffic in the status.
        """
        status = document.get("status") or {}
        generation = document["metadata"]["generation"]
        if int(status.get("observedGeneration") or generation) < generation:
            return "pending"
        weights = self._weights(route, document)
        if self._mode_of(route, document) == "knative":
            done = kserve_knative.shares(status) == {name: weight for name, weight in weights.items() if weight > 0}
        else:
            done = kserve_standard.is_carried_out(document, weights)
        return "ok" if done else "pending"

    def servers(self) -> Mapping[str, ServerStatus]:
        """Return the predictors or revisions of all InferenceServices of the namespace."""
        found: dict[str, ServerStatus] = {}
        for document in self._objects.list(self.kind, {}):
            route = document["metadata"]["name"]
            with suppress(TransientAdapterError, PermanentAdapterError):  # one that has no targets yet, or never will
                if self._mode_of(route, document) == "knative":
                    ready = dict.fromkeys(kserve_knative.weights(route, document), True)  # others are no targets
                else:
                    ready = kserve_standard.ready(document)
                found |= {name: _server(name, is_ready) for name, is_ready in ready.items()}
        return found

    def _mode_of(self, route: str, document: Json) -> Mode:
        annotated = (document["metadata"].get("annotations") or {}).get(_MODE_ANNOTATION)
        said = self._mode or annotated or (document.get("status") or {}).get("deploymentMode")
        mode = _MODES.get(str(said).lower())
        if mode is None:
            raise PermanentAdapterError(
                f"route {route!r}: InferenceService {document['metadata']['name']} has deployment mode {said!r}; "
                f"expected Standard or Knative in the annotation {_MODE_ANNOTATION}, or the router's mode"
            )
        return mode

    def _weights(self, route: str, document: Json) -> dict[str, int]:
        """Return all targets with their percentages, zeros included."""
        if self._mode_of(route, document) == "knative":
            return kserve_knative.weights(route, document)
        return kserve_standard.weights(route, document)

    def _no_target(self, route: str, document: Json, name: str, weights: Mapping[str, int]) -> str:
        has = f"route {route!r}: no such target {name}; InferenceService {document['metadata']['name']} has "
        if self._mode_of(route, document) == "knative":
            return f"{has}{', '.join(weights)}: only the latest ready revision and the one before can share requests"
        return (
            f"{has}{', '.join(weights)}; add an entry to spec.canary with trafficPercent 0 "
            "(KServe before 0.20 drops it without a word)"
        )


def _server(name: str, is_ready: bool) -> ServerStatus:
    if is_ready:
        return ServerStatus(name=name, phase="ready", port=_PORT)
    message = "KServe does not report it as ready; a canary without requests has pods only by its minReplicas"
    return ServerStatus(name=name, phase="starting", port=_PORT, message=message)
