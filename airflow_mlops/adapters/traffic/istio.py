"""Routes of an Istio mesh: the weights and the mirror of one HTTP route of a ``VirtualService``.

Only the HTTP route of the configured name is touched, and of it only the weights and ports of destinations that are
ours and a mirror that we set; other HTTP routes, other fields and destinations of others stay as they are.

What Istio makes of weights decides how they are read: a single destination gets every request whatever its weight
says, and otherwise a destination without a weight gets none. That is why a target without traffic is in the object
only beside one that has some.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.adapters.traffic.fenced_object import Live, MirroringRouter, Record, percentages
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.routing import Mirror

__all__ = ["IstioRouter"]

_TARGET = "{target}"
#: Port of a destination that names none: its Service has only one.
_ONLY_PORT = 80


class IstioRouter(MirroringRouter):
    """Routes as VirtualServices; implements :class:`airflow_mlops.rollout.ports.Router`.

    Istio usually writes into no status which weights its proxies have. :meth:`verify` then answers ``ok`` as soon as
    the object says them; proxies follow within seconds, and that they did is seen only in the requests that targets
    answer, which is why a rollout judges by those. A control plane that tracks its configuration
    (``PILOT_ENABLE_STATUS`` and ``PILOT_ENABLE_CONFIG_DISTRIBUTION_TRACKING``) is waited for with ``reports_status``.

    The rights needed are ``get`` and ``patch`` of ``virtualservices.networking.istio.io``.

    :param objects: the namespace of the VirtualServices
    :param name: name of a route's VirtualService; ``{route}`` stands for the route
    :param http_route: name of its HTTP route (``spec.http[].name``); ``{route}`` stands for the route
    :param host: host of a target's destination; ``{target}`` and ``{route}`` are filled in
    :param subset: subset of a target's destination, for targets that share a host; None for no subsets
    :param reports_status: whether Istio writes the condition ``Reconciled``
    """

    kind: ClassVar[ObjectKind] = ObjectKind(
        group="networking.istio.io", version="v1", plural="virtualservices", kind="VirtualService"
    )
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "mirror"})

    def __init__(
        self,
        objects: KubernetesObjects,
        *,
        name: str = "{route}",
        http_route: str = "{route}",
        host: str = _TARGET,
        subset: str | None = None,
        reports_status: bool = False,
    ) -> None:
        super().__init__(objects, name=name)
        if (_TARGET in host) == (_TARGET in (subset or "")):
            raise SpecificationError("host, subset", (host, subset), f"{_TARGET} in one of the two, and in one only")
        if not isinstance(reports_status, bool):
            raise SpecificationError("reports_status", reports_status, "true or false")
        self._reports_status = reports_status
        self._http_route = http_route
        self._host = host
        self._subset = subset

    def live(self, route: str, document: Json, record: Record) -> Live:
        """Read the weights of the HTTP route's destinations, and its mirror.

        :raises PermanentAdapterError: if there is no such HTTP route, or it does not split requests
        """
        _, http = self._find(route, document)
        found = list(http.get("route") or ())
        entries = self._entries(route, found)
        weights = _effective(found)
        ours = {name: index for name, index in entries.items() if not record.generation or name in record.targets}
        shares = {name: weights[index] for name, index in ours.items()}
        others = {
            _shown(entry): weights[index]
            for index, entry in enumerate(found)
            if index not in ours.values() and weights[index]
        }
        if others and not any(shares.values()) and not record.generation:
            raise PermanentAdapterError(
                f"route {route!r}: all requests of {self._where(route)} go to {', '.join(others)}, which is no target "
                f"by host={self._host!r}, subset={self._subset!r}"
            )
        return Live(
            weights=percentages(shares),
            targets={name: _port(found[index]) for name, index in entries.items()},
            mirror=self._mirror(route, http, record.targets),
            others=others,
        )

    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        """Return what makes the destinations and the mirror say ``after``."""
        at, http = self._find(route, document)
        path = pointer("spec", "http", at)
        found = list(http.get("route") or ())
        wanted = self._wanted(route, found, before, after)
        changes: list[dict[str, Any]] = []
        if len(wanted) != len(found):
            changes.append({"op": "add", "path": f"{path}/route", "value": wanted})
        else:
            for index, (old, new) in enumerate(zip(found, wanted, strict=True)):
                changes += _differences(f"{path}/route/{index}", old, new)
        changes += self._mirroring(route, path, http, before, after)
        if not changes:
            return ()
        return [{"op": "test", "path": f"{path}/name", "value": http["name"]}, *changes]

    def applied(
        self,
        route: str,  # noqa: ARG002 - the object tells
        document: Json,
        record: Record,  # noqa: ARG002
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell ``ok`` where the object is all there is to see, else whether Istio says that all proxies follow."""
        if not self._reports_status:
            return "ok"
        status, generation = document.get("status") or {}, document["metadata"]["generation"]
        agreed = any(
            condition.get("type") == "Reconciled"
            and condition.get("status") == "True"
            # Of the status as a whole or, in later versions, of the condition; a string, since it is an int64.
            and int(condition.get("observedGeneration") or status.get("observedGeneration") or 0) >= generation
            for condition in status.get("conditions") or ()
        )
        return "ok" if agreed else "pending"

    def _wanted(self, route: str, found: Sequence[Json], before: Record, after: Record) -> list[Json]:
        """Return the destinations as they have to be, those of others included."""
        entries = self._entries(route, found)
        known = {index: name for name, index in entries.items() if name in {**before.targets, **after.targets}}
        kept: list[Json] = []
        for index, entry in enumerate(found):
            name = known.get(index)
            if name is None:
                kept.append(entry)
            elif name in after.targets:
                port = after.targets[name]
                moved = name in before.targets and port != before.targets[name]
                destination = entry["destination"] | ({"port": {"number": port}} if moved else {})
                kept.append({**entry, "destination": destination, "weight": after.weights.get(name, 0)})
        for name, port in after.targets.items():
            if name not in entries:
                destination = self._destination(route, name, port)
                kept.append({"destination": destination, "weight": after.weights.get(name, 0)})
        if any(entry.get("weight") for entry in kept):
            return kept
        # Alone, or all at zero, destinations would get requests in spite of their weights.
        return [entry for index, entry in enumerate(kept) if index < len(found) and known.get(index) is None]

    def _find(self, route: str, document: Json) -> tuple[int, Json]:
        name = self._http_route.format(route=route)
        found = [
            (index, http)
            for index, http in enumerate((document.get("spec") or {}).get("http") or ())
            if http.get("name") == name
        ]
        if len(found) != 1:
            many = "no" if not found else "more than one"
            raise PermanentAdapterError(f"route {route!r}: {self._where(route)} has {many} HTTP route named {name!r}")
        for other in ("redirect", "directResponse", "delegate"):
            if other in found[0][1]:
                raise PermanentAdapterError(
                    f"route {route!r}: HTTP route {name!r} of {self._where(route)} has a {other}, it splits no requests"
                )
        return found[0]

    def _where(self, route: str) -> str:
        return f"{self.kind.kind} {self._objects.namespace}/{self.object_name(route)}"

    def _entries(self, route: str, found: Sequence[Json]) -> dict[str, int]:
        """Return the targets among the destinations, with their places."""
        entries: dict[str, int] = {}
        for index, entry in enumerate(found):
            name = self._named(route, entry["destination"])
            if name in entries:
                raise PermanentAdapterError(f"route {route!r}: {self._where(route)} has two destinations for {name!r}")
            if name is not None:
                entries[name] = index
        return entries

    def _named(self, route: str, destination: Json) -> str | None:
        """Return the target that a destination stands for, None where the templates do not fit."""
        host, subset = _match(self._host, route, destination["host"]), None
        if self._subset is not None:
            subset = _match(self._subset, route, destination.get("subset") or "")
        elif destination.get("subset"):
            return None
        if host is None or (self._subset is not None and subset is None):
            return None
        return host or subset

    def _mirror(self, route: str, http: Json, targets: Mapping[str, int]) -> Mirror | None:
        name = self._named(route, http["mirror"]) if "mirror" in http else None
        if name is None or name not in targets:
            return None
        percent = float((http.get("mirrorPercentage") or {"value": 100}).get("value") or 0)
        return Mirror(target=name, percent=max(1, round(percent))) if percent else None

    def _mirroring(self, route: str, path: str, http: Json, before: Record, after: Record) -> list[dict[str, Any]]:
        known = {**before.targets, **after.targets}
        if self._mirror(route, http, known) == after.mirror:
            return []
        ours = "mirror" in http and self._named(route, http["mirror"]) in known
        if after.mirror is None:
            return [
                {"op": "remove", "path": f"{path}/{name}"} for name in ("mirror", "mirrorPercentage") if name in http
            ]
        if "mirrors" in http or ("mirror" in http and not ours):
            raise PermanentAdapterError(
                f"route {route!r}: HTTP route {http['name']!r} of {self._where(route)} has a mirror of somebody else"
            )
        target = after.mirror.target
        return [
            {"op": "add", "path": f"{path}/mirror", "value": self._destination(route, target, known[target])},
            {"op": "add", "path": f"{path}/mirrorPercentage", "value": {"value": after.mirror.percent}},
        ]

    def _destination(self, route: str, name: str, port: int) -> dict[str, Any]:
        made: dict[str, Any] = {"host": self._host.replace(_TARGET, name).replace("{route}", route)}
        if self._subset is not None:
            made["subset"] = self._subset.replace(_TARGET, name).replace("{route}", route)
        return {**made, "port": {"number": port}}


def _effective(entries: Sequence[Json]) -> list[int]:
    """Return the weights as Istio understands them: a single destination gets everything."""
    return [100] if len(entries) == 1 else [int(entry.get("weight") or 0) for entry in entries]


def _differences(path: str, old: Json, new: Json) -> list[dict[str, Any]]:
    changes: list[dict[str, Any]] = []
    if old.get("weight") != new.get("weight"):
        changes.append({"op": "add", "path": f"{path}/weight", "value": new["weight"]})
    if old["destination"] != new["destination"]:
        changes.append({"op": "add", "path": f"{path}/destination/port", "value": new["destination"]["port"]})
    if changes:
        changes.insert(0, {"op": "test", "path": f"{path}/destination/host", "value": old["destination"]["host"]})
    return changes


def _match(template: str, route: str, text: str) -> str | None:
    """Return what stands for the target in a text, empty if the template has none; None if it does not fit."""
    pattern = re.escape(template).replace(re.escape(_TARGET), "([^.]+)").replace(re.escape("{route}"), re.escape(route))
    found = re.fullmatch(pattern, text)
    if found is None:
        return None
    return found.group(1) if found.groups() else ""


def _port(entry: Json) -> int:
    return int((entry["destination"].get("port") or {}).get("number") or _ONLY_PORT)


def _shown(entry: Json) -> str:
    destination: Mapping[str, Any] = entry["destination"]
    return f"{destination['host']}{':' + destination['subset'] if destination.get('subset') else ''}"
