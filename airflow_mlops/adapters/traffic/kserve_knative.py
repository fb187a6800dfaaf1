"""Knative mode of KServe: revisions share requests by ``canaryTrafficPercent``; pure functions of the object."""

from __future__ import annotations

from airflow_mlops.adapters.kubernetes_objects import Json, Operations
from airflow_mlops.adapters.traffic.fenced_object import Record
from airflow_mlops.exceptions import TransientAdapterError

__all__ = ["operations", "shares", "weights"]


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


def weights(route: str, document: Json) -> dict[str, int]:
    """Return all targets with their percentages, zeros included."""
    latest, before = _revisions(route, document)
    percent = document["spec"]["predictor"].get("canaryTrafficPercent")
    if not before:
        return {latest: 100}
    share = 100 if percent is None else percent
    return {before: 100 - share, latest: share}


def operations(route: str, document: Json, after: Record) -> Operations:
    """Return what makes ``canaryTrafficPercent`` say the weights."""
    latest, _ = _revisions(route, document)
    percent = document["spec"]["predictor"].get("canaryTrafficPercent")
    share = after.weights.get(latest, 0)
    if dict(after.weights) == {name: weight for name, weight in weights(route, document).items() if weight > 0}:
        return ()
    path = "/spec/predictor/canaryTrafficPercent"
    if share == 100:
        return [{"op": "remove", "path": path}] if percent is not None else ()
    return [{"op": "add", "path": path, "value": share}]


def shares(status: Json) -> dict[str, int]:
    """Return the percentages that the status says revisions have, without zeros."""
    component = (status.get("components") or {}).get("predictor") or {}
    found: dict[str, int] = {}
    for one in component.get("traffic") or ():
        name = str(one.get("revisionName") or component.get("latestReadyRevision"))
        found[name] = found.get(name, 0) + (one.get("percent") or 0)
    return {name: share for name, share in found.items() if share > 0}
