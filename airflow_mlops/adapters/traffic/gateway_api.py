"""Routes of the Gateway API: the weights of one rule's backends in an HTTPRoute.

The HTTPRoute belongs to somebody else, who says hosts, paths and Gateways. Of it, only the weights of our own targets
in the rule that is ours are written, a mirror to one of them, and a rule beside it for matched requests. ``rules`` and
``backendRefs`` are atomic lists, so that server-side apply cannot own one weight; a JSON Patch names the places and
tests that they are what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.adapters.traffic.fenced_match import MatchingRouter
from airflow_mlops.adapters.traffic.fenced_object import Live, MirroringRouter, Record, percentages
from airflow_mlops.adapters.traffic.http_route_match import is_matched_rule, matched_rule
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.routing import Mirror

__all__ = ["HTTP_ROUTES", "GatewayApiRouter"]

HTTP_ROUTES = ObjectKind(group="gateway.networking.k8s.io", version="v1", plural="httproutes", kind="HTTPRoute")


class GatewayApiRouter(MirroringRouter, MatchingRouter):
    """Splits requests by an HTTPRoute, which has to exist; every target is a Service of the same namespace.

    The rule to steer is the one named ``rule``; without a name it is the only rule, or the only one that has our
    targets. The first write takes its Services over, with the shares that they have. Other backends are left alone; one
    that comes later by another hand, or whose weight changes, is a foreign edit, since it changes every share.

    A gateway tells in the route's status whether it works with what the route says. One that writes no status is
    waited for without end, unless ``reports_status`` says that it never will.

    :param objects: the namespace
    :param name: name of a route's HTTPRoute; ``{route}`` stands for the route
    :param rule: name of the rule
    :param reports_status: whether the gateway writes the route's status
    """

    kind: ClassVar[ObjectKind] = HTTP_ROUTES
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "mirror", "match", "verify"})

    def __init__(
        self,
        objects: KubernetesObjects,
        *,
        name: str = "{route}",
        rule: str | None = None,
        reports_status: bool = True,
    ) -> None:
        super().__init__(objects, name=name)
        if not isinstance(reports_status, bool):
            raise SpecificationError("reports_status", reports_status, "true or false")
        self._rule_name = rule
        self._reports_status = reports_status

    def live(self, route: str, document: Json, record: Record) -> Live:  # noqa: ARG002 - the document says it all
        """Read the weights of our targets.

        :raises PermanentAdapterError: if no rule, or more than one, could be the one to steer
        """
        _, rule = self._rule(document, record)
        services = self._services(document, rule)
        targets = record.targets if record.generation else {name: ref["port"] for name, (_, ref) in services.items()}
        weights = {name: _weight(services[name][1]) for name in targets if name in services}
        edits = tuple(f"backend {name!r} is missing in the rule" for name in sorted(set(targets) - set(services)))
        return Live(
            weights=percentages(weights),
            targets=targets,
            mirror=self._mirror(rule, targets),
            match=record.match if _matched(document, record) else None,
            others=_others(rule, services, targets),
            edits=edits,
        )

    def operations(
        self,
        route: str,  # noqa: ARG002
        document: Json,
        before: Record,
        after: Record,
    ) -> Operations:
        """Return the patch of weights, backends, mirror and match."""
        position, rule = self._rule(document, before)
        services = self._services(document, rule)
        backends = ("spec", "rules", position, "backendRefs")
        operations: list[dict[str, Any]] = []
        if not rule.get("backendRefs") and after.targets:
            operations.append({"op": "add", "path": pointer(*backends), "value": []})
        for name, port in after.targets.items():
            weight = after.weights.get(name, 0)
            if name not in services:
                backend = {"name": name, "port": port, "weight": weight}
                operations.append({"op": "add", "path": pointer(*backends, "-"), "value": backend})
                continue
            index, ref = services[name]
            wanted = {"weight": weight, "port": port}
            changed = {key: value for key, value in wanted.items() if ref.get(key) != value}
            if changed:
                operations.append({"op": "test", "path": pointer(*backends, index, "name"), "value": name})
            operations += [
                {"op": "add", "path": pointer(*backends, index, key), "value": value} for key, value in changed.items()
            ]
        gone = [services[name] for name in before.targets if name not in after.targets and name in services]
        for index, ref in sorted(gone, key=lambda found: -found[0]):  # from the end, where indices stay
            operations.append({"op": "test", "path": pointer(*backends, index, "name"), "value": ref["name"]})
            operations.append({"op": "remove", "path": pointer(*backends, index)})
        operations += self._mirroring(position, rule, before, after)
        return [*operations, *self._matching(document, rule, before, after)]

    def applied(
        self,
        route: str,  # noqa: ARG002
        document: Json,
        record: Record,
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether every Gateway has accepted the route as it is now and found its backends.

        Where one target has all traffic, a backend that is not found does not matter: it is another, or waiting does
        not help. A rollback ends so although the candidate's Service is gone.
        """
        if not self._reports_status:
            return "unsupported"
        parents = (document.get("status") or {}).get("parents") or ()
        generation = document["metadata"]["generation"]
        resolved = {"True", "False"} if len(record.weights) == 1 else {"True"}
        agreed = [
            any(
                condition["type"] == kind
                and condition["status"] in accepted
                and condition.get("observedGeneration", 0) >= generation
                for condition in parent.get("conditions") or ()
            )
            for parent in parents
            for kind, accepted in (("Accepted", {"True"}), ("ResolvedRefs", resolved))
        ]
        return "ok" if agreed and all(agreed) else "pending"

    def _where(self, document: Json) -> str:
        return f"HTTPRoute {self._objects.namespace}/{document['metadata']['name']}"

    def _rule(self, document: Json, record: Record) -> tuple[int, Json]:
        matched = _matched(document, record)
        rules = [one for one in enumerate(document["spec"].get("rules") or ()) if one[0] not in matched]
        if self._rule_name is not None:
            found = [(position, rule) for position, rule in rules if rule.get("name") == self._rule_name]
            if len(found) != 1:
                names = ", ".join(repr(rule.get("name")) for _, rule in rules) or "none"
                raise PermanentAdapterError(
                    f"{self._where(document)} has {len(found)} rules named {self._rule_name!r}; its rules: {names}"
                )
            return found[0]
        if len(rules) > 1:
            ours = set(record.targets)
            rules = [(position, rule) for position, rule in rules if ours & set(self._services(document, rule))]
        if len(rules) != 1:
            total = len(document["spec"].get("rules") or ())
            raise PermanentAdapterError(
                f"{self._where(document)} has {total} rules, {len(rules)} of which could be the one to steer; "
                "give that rule a name and tell it to the connection: extra.rule"
            )
        return rules[0]

    def _services(self, document: Json, rule: Json) -> dict[str, tuple[int, Json]]:
        """Return the Services of this namespace among the backends: name to index and backend."""
        found: dict[str, tuple[int, Json]] = {}
        for index, ref in enumerate(rule.get("backendRefs") or ()):
            if not self._is_service(ref):
                continue
            if ref["name"] in found:
                raise PermanentAdapterError(f"{self._where(document)} names {ref['name']!r} twice in one rule")
            found[ref["name"]] = (index, ref)
        return found

    def _is_service(self, ref: Json) -> bool:
        local = ref.get("namespace", self._objects.namespace) == self._objects.namespace
        return local and not ref.get("group") and ref.get("kind", "Service") == "Service" and "port" in ref

    def _is_ours(self, mirroring: Json, targets: Mapping[str, int]) -> bool:
        if mirroring.get("type") != "RequestMirror":
            return False
        ref = mirroring["requestMirror"]["backendRef"]
        return ref["name"] in targets and self._is_service(ref)

    def _matching(self, document: Json, rule: Json, before: Record, after: Record) -> list[dict[str, Any]]:
        there = _matched(document, before)
        if after.match is not None and before.match == after.match and len(there) == 1:
            found = document["spec"]["rules"][there[0]]["backendRefs"][0]
            if found.get("port") == after.targets[after.match.target]:
                return []
        operations: list[dict[str, Any]] = []
        for position in reversed(there):
            path = pointer("spec", "rules", position, "backendRefs", 0, "name")
            operations.append({"op": "test", "path": path, "value": before.match and before.match.target})
            operations.append({"op": "remove", "path": pointer("spec", "rules", position)})
        if after.match is not None:
            made = matched_rule(rule, after.match, after.targets[after.match.target])
            operations.append({"op": "add", "path": pointer("spec", "rules", "-"), "value": made})
        return operations

    def _mirror(self, rule: Json, targets: Mapping[str, int]) -> Mirror | None:
        for mirroring in rule.get("filters") or ():
            if self._is_ours(mirroring, targets):
                said = mirroring["requestMirror"]
                fraction = said.get("fraction") or {"numerator": 100}
                share = round(fraction["numerator"] * 100 / fraction.get("denominator", 100))
                percent = said.get("percent", share)
                # A mirror of nothing is none.
                return Mirror(target=said["backendRef"]["name"], percent=percent) if percent else None
        return None

    def _mirroring(self, position: int, rule: Json, before: Record, after: Record) -> Sequence[dict[str, Any]]:
        known = {**before.targets, **after.targets}
        if self._mirror(rule, known) == after.mirror:
            return ()
        filters = list(rule.get("filters") or ())
        kept = [one for one in filters if not self._is_ours(one, known)]
        if after.mirror is not None:
            ref = {"name": after.mirror.target, "port": known[after.mirror.target]}
            share = {} if after.mirror.percent == 100 else {"percent": after.mirror.percent}
            kept.append({"type": "RequestMirror", "requestMirror": {"backendRef": ref, **share}})
        path = pointer("spec", "rules", position, "filters")
        if not kept:
            return [{"op": "remove", "path": path}]
        return [{"op": "add", "path": path, "value": kept}]


def _matched(document: Json, record: Record) -> list[int]:
    """Return the places of the rules for matched requests: one, or none."""
    if record.match is None:
        return []
    rules = enumerate(document["spec"].get("rules") or ())
    return [position for position, rule in rules if is_matched_rule(rule, record.match)]


def _weight(ref: Json) -> int:
    return int(ref.get("weight", 1))


def _others(rule: Json, services: Mapping[str, Any], targets: Mapping[str, int]) -> dict[str, int]:
    own = {services[name][0] for name in targets if name in services}
    refs = enumerate(rule.get("backendRefs") or ())
    return {_full_name(ref): _weight(ref) for index, ref in refs if index not in own and _weight(ref)}


def _full_name(ref: Json) -> str:
    return "/".join(str(ref[key]) for key in ("namespace", "kind", "name") if ref.get(key) not in (None, "Service"))
