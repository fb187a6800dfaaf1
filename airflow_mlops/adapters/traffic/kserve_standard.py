"""Standard mode of KServe: predictors share requests by ``spec.canary``; pure functions of an InferenceService."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import Json, Operations
from airflow_mlops.adapters.traffic.fenced_object import Record
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError

__all__ = ["is_carried_out", "operations", "ready", "weights"]

#: Fields that KServe ignores in a canary and that stay the stable predictor's.
_SCALING = ("minReplicas", "maxReplicas", "scaleTarget", "scaleMetric", "scaleMetricType", "autoScaling")


def _name(document: Json, predictor: Json) -> str:
    name = predictor.get("name")
    return f"{document['metadata']['name']}-{f'{name}-' if name else ''}predictor"


def weights(route: str, document: Json) -> dict[str, int]:
    """Return all targets with their percentages, zeros included."""
    spec = document["spec"]
    shares: dict[str, int] = {}
    stable = _name(document, spec["predictor"])
    for entry in spec.get("canary") or ():
        name = _name(document, entry["predictor"])
        if name == stable or name in shares:
            raise PermanentAdapterError(f"route {route!r}: two predictors are called {name!r}")
        shares[name] = entry["trafficPercent"]
    return {stable: max(0, 100 - sum(shares.values())), **shares}


def operations(route: str, document: Json, before: Record, after: Record) -> Operations:
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


def ready(document: Json) -> dict[str, bool]:
    """Return the predictors, and whether KServe reports them as ready."""
    status = document.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    canaries = {one["name"]: bool(one["ready"]) for one in status.get("canaryStatuses") or ()}
    stable = document["spec"]["predictor"]
    return {_name(document, stable): conditions.get("PredictorReady") == "True"} | {
        _name(document, entry["predictor"]): canaries.get(entry["predictor"].get("name"), False)
        for entry in document["spec"].get("canary") or ()
    }


def _retarget(route: str, document: Json, after: Record) -> Operations:
    """Make the canary that has all requests the stable predictor; its pods are the same before and after."""
    spec = document["spec"]
    entries = list(spec.get("canary") or ())
    heir = next((entry for entry in entries if entry["trafficPercent"] == 100), None)
    if heir is None or not is_carried_out(document, weights(route, document)):
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


def is_carried_out(document: Json, wanted: Mapping[str, int]) -> bool:
    """Whether KServe reports that what gets requests is ready and has its share."""
    status = document.get("status") or {}
    conditions = {one["type"]: one["status"] for one in status.get("conditions") or ()}
    needed = ["IngressReady"]
    stable = _name(document, document["spec"]["predictor"])
    if wanted[stable]:
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
