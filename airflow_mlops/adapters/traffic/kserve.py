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
from copy import deepcopy
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations
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
#: Fields that KServe ignores in a canary and that stay the stable predictor's.
_SCALING = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")


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
            return _knative_operations(route, document, weights, after)
        return _standard_operations(route, document, before, after)

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
            done = _shares(status) == {name: weight for name, weight in weights.items() if weight > 0}
        else:
            done = _is_carried_out(document, weights)
        return "ok" if done else "pending"

    def servers(self) -> Mapping[str, ServerStatus]:
        """Return the predictors or revisions of all InferenceServices of the namespace."""
        found: dict[str, ServerStatus] = {}
        for document in self._objects.list(self.kind, {}):
            route = document["metadata"]["name"]
            with suppress(TransientAdapterError, PermanentAdapterError):  # one that has no targets yet, or never will
                ready = _ready(document, self._mode_of(route, document), self._weights(route, document))
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
            return _knative_weights(route, document)
        return _standard_weights(route, document)

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


def _ready(document: Json, mode: Mode, weights: Mapping[str, int]) -> dict[str, bool]:
    if mode == "knative":
        return dict.fromkeys(weights, True)  # only revisions that are ready are targets
    status = document.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    canaries = {one["name"]: bool(one["ready"]) for one in status.get("canaryStatuses") or ()}
    stable = document["spec"]["predictor"]
    return {_name(document, stable): conditions.get("PredictorReady") == "True"} | {
        _name(document, entry["predictor"]): canaries.get(entry["predictor"].get("name"), False)
        for entry in document["spec"].get("canary") or ()
    }


def _name(document: Json, predictor: Json) -> str:
    name = predictor.get("name")
    return f"{document['metadata']['name']}-{f'{name}-' if name else ''}predictor"


def _standard_weights(route: str, document: Json) -> dict[str, int]:
    spec = document["spec"]
    shares: dict[str, int] = {}
    stable = _name(document, spec["predictor"])
    for entry in spec.get("canary") or ():
        name = _name(document, entry["predictor"])
        if name == stable or name in shares:
            raise PermanentAdapterError(f"route {route!r}: two predictors are called {name!r}")
        shares[name] = entry["trafficPercent"]
    return {stable: max(0, 100 - sum(shares.values())), **shares}


def _standard_operations(route: str, document: Json, before: Record, after: Record) -> Operations:
    """Return operations for ``spec.canary``; it is one atomic list, so it is written whole or by places."""
    spec = document["spec"]
    entries = list(spec.get("canary") or ())
    gone = {name for name in before.targets if name not in after.targets}
    if _name(document, spec["predictor"]) in gone:
        return _retarget(route, document, after)
    changes: list[Mapping[str, Any]] = []
    kept = []
    for index, entry in enumerate(entries):
        name = _name(document, entry["predictor"])
        if name in gone:
            continue
        kept.append(entry)
        # Also for entries that another hand added: the shares are of one hundred, whoever has them.
        percent = after.weights.get(name, 0)
        if entry["trafficPercent"] != percent:
            where = f"/spec/canary/{index}"
            called = entry["predictor"].get("name")
            changes.append({"op": "test", "path": f"{where}/predictor/name", "value": called})
            changes.append({"op": "replace", "path": f"{where}/trafficPercent", "value": percent})
    if len(kept) == len(entries):
        return changes
    return [{"op": "add", "path": "/spec/canary", "value": kept}]


def _retarget(route: str, document: Json, after: Record) -> Operations:
    """Make the canary that has all requests the stable predictor; its pods are the same before and after."""
    spec = document["spec"]
    entries = list(spec.get("canary") or ())
    heir = next((entry for entry in entries if entry["trafficPercent"] == 100), None)
    if heir is None or not _is_carried_out(document, _standard_weights(route, document)):
        raise TransientAdapterError(
            f"route {route!r}: KServe does not yet report that {', '.join(after.weights)} has all requests; "
            "its predecessor stays until then"
        )
    # KServe builds a canary's pods from the stable predictor with the canary's fields laid over it.
    merged = _laid_over(spec["predictor"], heir["predictor"])
    for field in _SCALING:
        merged.pop(field, None)
        if field in spec["predictor"]:
            merged[field] = spec["predictor"][field]
    return [
        {"op": "replace", "path": "/spec/predictor", "value": merged},
        {"op": "add", "path": "/spec/canary", "value": [entry for entry in entries if entry is not heir]},
    ]


def _laid_over(below: Any, above: Any) -> Any:
    """Merge as KServe does: objects by field, lists whole, and what is empty above does not count."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return deepcopy(below if above in (None, "", 0, [], {}) else above)
    return {
        name: _laid_over(below[name], above[name]) if name in above and name in below else deepcopy(value)
        for name, value in {**above, **below}.items()
    }


def _is_carried_out(document: Json, weights: Mapping[str, int]) -> bool:
    status = document.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    needed = ["IngressReady"]
    stable = _name(document, document["spec"]["predictor"])
    if weights[stable]:
        needed.append("PredictorReady")
    # The condition CanaryPredictorReady sums these up, also for canaries without requests, which have no pods.
    said = {one["name"]: one for one in status.get("canaryStatuses") or ()}
    for entry in document["spec"].get("canary") or ():
        canary = said.get(entry["predictor"].get("name"), {})
        if canary.get("trafficPercent") != entry["trafficPercent"]:
            return False
        if entry["trafficPercent"] and not canary.get("ready"):
            return False
    return all(conditions.get(name) == "True" for name in needed)


def _revisions(route: str, document: Json) -> tuple[str, str | None]:
    """Return the latest ready revision, and the one that shares requests with it, as KServe chooses it."""
    component = ((document.get("status") or {}).get("components") or {}).get("predictor") or {}
    latest = component.get("latestReadyRevision")
    if not latest:
        raise TransientAdapterError(f"route {route!r}: no revision of the predictor is ready yet")
    before = component.get("latestRolledoutRevision")
    if before == latest:
        before = component.get("previousRolledoutRevision")
    return latest, before if before != latest else None


def _knative_weights(route: str, document: Json) -> dict[str, int]:
    latest, before = _revisions(route, document)
    percent = document["spec"]["predictor"].get("canaryTrafficPercent")
    if not before:
        return {latest: 100}
    share = 100 if percent is None else percent
    return {before: 100 - share, latest: share}


def _knative_operations(route: str, document: Json, weights: Mapping[str, int], after: Record) -> Operations:
    latest, _ = _revisions(route, document)
    percent = document["spec"]["predictor"].get("canaryTrafficPercent")
    share = after.weights.get(latest, 0)
    if dict(after.weights) == {name: weight for name, weight in weights.items() if weight > 0}:
        return ()
    path = "/spec/predictor/canaryTrafficPercent"
    if share == 100:
        return [{"op": "remove", "path": path}] if percent is not None else ()
    return [{"op": "add", "path": path, "value": share}]


def _shares(status: Json) -> dict[str, int]:
    component = (status.get("components") or {}).get("predictor") or {}
    shares: dict[str, int] = {}
    for one in component.get("traffic") or ():
        name = str(one.get("revisionName") or component.get("latestReadyRevision"))
        shares[name] = shares.get(name, 0) + (one.get("percent") or 0)
    return {name: share for name, share in shares.items() if share > 0}
