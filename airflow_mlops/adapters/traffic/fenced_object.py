"""What every router on a Kubernetes object shares: annotations that fence it, compare-and-set, foreign edits.

The routed object holds, in annotations below ``mlops.airflow.apache.org/``, the highest fencing ``token`` that ever
wrote, the ``generation`` (our count of changes, not Kubernetes'), the ``weights`` and ``targets`` as JSON, the
``mirror`` if there is one, and ``others``: weights of backends that are not ours but take requests of the same route.
Weights that the object's own fields say, but these annotations do not, are an edit by another hand.

A router says in two methods how weights look in its kind of object; see :class:`FencedRouter`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.routing import Mirror

__all__ = ["ANNOTATIONS", "FencedRouter", "Live", "MirroringRouter", "Record", "percentages"]

ANNOTATIONS = "mlops.airflow.apache.org"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the annotations of a routed object say; one that no rollout wrote yet has generation 0.

    :param token: highest fencing token that ever wrote here
    :param generation: grows by one with every change of ours
    :param weights: target to percent, without zeros
    :param targets: target to TCP port
    :param mirror: where copies of the requests go
    :param others: backends that are not ours to their weights, without zeros, as they were at the last write
    """

    token: int = 0
    generation: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    mirror: Mirror | None = None
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the fields of a routed object say.

    :param weights: target to percent, without zeros; see :func:`percentages`
    :param targets: the targets found; counts only for an object that no rollout wrote yet, which is taken over so
    :param mirror: where the object says that copies go; only routers with the capability look
    :param others: backends that are not ours, with any weights but zero; they stay as they are, and one that changes
        between two writes is a foreign edit, since it changes every share
    :param edits: what else somebody changed, one sentence each
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    mirror: Mirror | None = None
    others: Mapping[str, int] = field(default_factory=dict)
    edits: tuple[str, ...] = ()


def percentages(weights: Mapping[str, int]) -> dict[str, int]:
    """Return any weights as percentages that sum to 100, without zeros; empty where nothing has weight."""
    total = sum(weights.values())
    shares = {name: weight * 100 / total for name, weight in weights.items() if weight > 0}
    floors = {name: int(share) for name, share in shares.items()}
    # The largest remainders take what rounding down left over.
    ranked = sorted(shares, key=lambda name: (floors[name] - shares[name], name))
    for name in ranked[: 100 - sum(floors.values())] if shares else ():
        floors[name] += 1
    return {name: share for name, share in floors.items() if share > 0}


class FencedRouter(ABC):
    """Router over one Kubernetes object per route; implements :class:`airflow_mlops.rollout.ports.Router`.

    A subclass names its ``kind`` and ``capabilities`` and says how weights look in such an object: :meth:`live` reads
    them, :meth:`operations` writes them. Where other objects have to follow (replicas, for example), it overrides
    :meth:`carry_out`; where a controller tells what it did, :meth:`applied`.

    :param objects: the namespace of the routes
    :param name: name of a route's object; ``{route}`` stands for the route
    """

    kind: ClassVar[ObjectKind]
    #: Some of ``weights``, ``mirror``, ``match``, ``sticky`` and ``verify``.
    capabilities: ClassVar[frozenset[str]] = frozenset({"weights"})

    def __init__(self, objects: KubernetesObjects, *, name: str = "{route}") -> None:
        self._objects = objects
        self._name = name

    @abstractmethod
    def live(self, route: str, document: Json, record: Record) -> Live:
        """Read the weights that the object's own fields say now.

        :param record: what we wrote there last; its ``targets`` are those whose weights are ours
        :raises PermanentAdapterError: if the object is not one that this router can work with
        """

    @abstractmethod
    def operations(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        """Return the JSON Patch that makes the object's fields say ``after``; nothing where they do already.

        Targets and weights are absolute: one that is in ``after.targets`` but not in the object is added, without
        weight unless ``after.weights`` gives it some; one of ``before.targets`` that is not in ``after.targets`` is
        removed from the object. The annotations are none of its business, and whatever is not ours stays.

        :param before: what was written last, or what the fields say if no rollout wrote this object yet
        """

    def carry_out(self, route: str, record: Record) -> None:  # noqa: B027 - most routers have no other objects
        """Make other objects follow, after the record was stored; absolute, and repeated with every write."""

    def applied(
        self,
        route: str,  # noqa: ARG002 - for routers whose controllers tell
        document: Json,  # noqa: ARG002
        record: Record,  # noqa: ARG002
    ) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether traffic follows the object as it is now."""
        return "unsupported"

    def observe(self, route: str) -> RouteView:
        """Tell how the route is, and whether another hand changed its weights.

        :raises ContractError: when the object's annotations cannot be read
        """
        document = self._objects.get(self.kind, self.object_name(route))
        return RouteView(route=route) if document is None else self._view(route, document)

    def ensure_targets(self, route: str, targets: Mapping[str, int], *, fencing_token: int) -> RouteView:
        """Make targets known, name to TCP port, without giving them traffic; others stay.

        :raises StaleWriteError: when a newer token wrote here, or there are foreign edits
        """
        for name, port in targets.items():
            if not 0 < port < 65536:
                raise SpecificationError(f"targets.{name}", port, "a TCP port, 1 to 65535")

        def decide(document: Json) -> Operations:
            before = self._writable(route, document, fencing_token)
            after = replace(before, targets={**before.targets, **targets}, token=fencing_token)
            return self._patch(route, document, before, after)

        return self._change(route, decide)

    def set_weights(
        self, route: str, weights: Mapping[str, int], *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Make these the weights; the same weights again change nothing.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when a target is not known
        :raises SpecificationError: when the weights do not sum to 100
        """
        if any(weight < 0 for weight in weights.values()) or sum(weights.values()) != 100:
            raise SpecificationError("weights", dict(weights), "percentages of 0 or more that sum to 100")
        wanted = {name: weight for name, weight in weights.items() if weight > 0}

        def decide(document: Json) -> Operations:
            before = self._writable(route, document, fencing_token, overwrite=expected_generation is None)
            unknown = sorted(set(wanted) - set(before.targets))
            if unknown:
                raise PermanentAdapterError(f"route {route!r}: no such target {', '.join(unknown)}; none was changed")
            repeated = (dict(before.weights), before.mirror, before.token) == (wanted, None, fencing_token)
            if expected_generation not in (None, before.generation) and not repeated:
                raise StaleWriteError(
                    f"route {route!r}: generation is {before.generation}, not {expected_generation}; "
                    "nothing was written"
                )
            after = replace(before, weights=wanted, mirror=None, token=fencing_token)
            return self._patch(route, document, before, after)

        return self._change(route, decide)

    def verify(self, route: str) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether traffic follows what the route says."""
        document = self._objects.get(self.kind, self.object_name(route))
        return "pending" if document is None else self.applied(route, document, self.record(document))

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target.

        :raises PermanentAdapterError: when it still has weight, or gets copies of the requests
        """

        def decide(document: Json) -> Operations:
            record = self.record(document)
            live = self.live(route, document, record)
            before = record if record.generation else replace(record, weights=live.weights, targets=live.targets)
            weight = max(before.weights.get(name, 0), live.weights.get(name, 0))
            if weight:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets {weight} % of the requests")
            if name in (one.mirror.target for one in (record, live) if one.mirror is not None):
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets copies of the requests")
            if name not in before.targets:
                return ()
            targets = {key: port for key, port in before.targets.items() if key != name}
            return self._patch(route, document, before, replace(before, targets=targets))

        return self._change(route, decide)

    def object_name(self, route: str) -> str:
        """Return the name of a route's object."""
        return self._name.format(route=route)

    def record(self, document: Json) -> Record:
        """Return what the annotations say.

        :raises ContractError: when they are not ours to read
        """
        annotations = document["metadata"].get("annotations") or {}
        said = {
            name: annotations[f"{ANNOTATIONS}/{name}"]
            for name in ("token", "generation", "weights", "targets", "mirror", "others")
            if f"{ANNOTATIONS}/{name}" in annotations
        }
        if not said:
            return Record()
        try:
            return Record(
                token=int(said["token"]),
                generation=int(said["generation"]),
                weights=_numbers(said["weights"]),
                targets=_numbers(said["targets"]),
                mirror=decode(Mirror, json.loads(said["mirror"])) if "mirror" in said else None,
                others=_numbers(said.get("others", "{}")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            where = f"{self.kind.kind} {self._objects.namespace}/{document['metadata']['name']}"
            raise ContractError(
                f"{where}: the annotations {ANNOTATIONS}/… were changed by another hand: {said}"
            ) from error

    def _change(self, route: str, decide: Any) -> RouteView:
        document = self._objects.change(self.kind, self.object_name(route), decide)
        self.carry_out(route, self.record(document))
        return self._view(route, document)

    def _writable(self, route: str, document: Json, token: int, *, overwrite: bool = False) -> Record:
        """Return the record to start from; that of an object which no rollout wrote yet is what its fields say."""
        record = self.record(document)
        if token < record.token:
            raise StaleWriteError(
                f"route {route!r}: token {token} is older than {record.token}, the lease has passed on; "
                "nothing was written"
            )
        live = self.live(route, document, record)
        edits = () if overwrite else self._edits(record, live)
        if edits:
            raise StaleWriteError(f"route {route!r}: somebody else changed it: {'; '.join(edits)}; nothing was written")
        return record if record.generation else replace(record, weights=live.weights, targets=live.targets)

    def _patch(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        own = self.operations(route, document, before, after)
        kept = (before.weights, before.targets, before.mirror) == (after.weights, after.targets, after.mirror)
        # Taking an object over is a change too: from then on, edits by another hand are seen.
        changed = bool(own) or not kept or not before.generation
        others = self.live(route, document, before).others
        after = replace(after, generation=before.generation + 1 if changed else before.generation, others=others)
        if after == self.record(document):
            return ()
        said = {
            f"{ANNOTATIONS}/token": str(after.token),
            f"{ANNOTATIONS}/generation": str(after.generation),
            f"{ANNOTATIONS}/weights": canonical_json(dict(after.weights)),
            f"{ANNOTATIONS}/targets": canonical_json(dict(after.targets)),
        }
        if after.mirror is not None:
            said[f"{ANNOTATIONS}/mirror"] = canonical_json(encode(after.mirror))
        if after.others or before.others:
            said[f"{ANNOTATIONS}/others"] = canonical_json(dict(after.others))
        annotate: list[dict[str, Any]]
        if document["metadata"].get("annotations"):
            annotate = [
                {"op": "add", "path": pointer("metadata", "annotations", name), "value": value}
                for name, value in said.items()
            ]
        else:
            annotate = [{"op": "add", "path": "/metadata/annotations", "value": said}]
        if after.mirror is None and before.mirror is not None:
            annotate.append({"op": "remove", "path": pointer("metadata", "annotations", f"{ANNOTATIONS}/mirror")})
        return [*own, *annotate]

    def _edits(self, record: Record, live: Live) -> tuple[str, ...]:
        if not record.generation:
            return ()
        edits = list(live.edits)
        if dict(live.weights) != dict(record.weights):
            edits.append(f"{self.kind.kind} says {_shares(live.weights)}, but {_shares(record.weights)} was written")
        for name in sorted(set(live.others) | set(record.others)):
            now, then = live.others.get(name, 0), record.others.get(name, 0)
            if now != then:
                edits.append(f"backend {name!r}, which is not ours, went from weight {then} to {now}")
        if "mirror" in self.capabilities and live.mirror != record.mirror:
            edits.append(f"{self.kind.kind} copies requests to {_copies(live)}, but {_copies(record)} was written")
        return tuple(edits)

    def _view(self, route: str, document: Json) -> RouteView:
        record = self.record(document)
        live = self.live(route, document, record)
        return RouteView(
            route=route,
            generation=record.generation,
            weights=dict(live.weights),
            targets=dict(record.targets if record.generation else live.targets),
            foreign_edits=self._edits(record, live),
            applied=self.applied(route, document, record) != "pending",
            mirror=live.mirror,
        )


class MirroringRouter(FencedRouter):
    """A router that also copies requests; :class:`airflow_mlops.rollout.ports.MirrorRouter`.

    Its :meth:`live` says which mirror there is, and its :meth:`operations` make it the one of ``after``.
    """

    capabilities: ClassVar[frozenset[str]] = frozenset({"weights", "mirror"})

    def set_mirror(
        self, route: str, target: str | None, percent: int, *, fencing_token: int, expected_generation: int | None
    ) -> RouteView:
        """Copy this share of the requests to a target that has no weight, or to none; once or again.

        :raises StaleWriteError: when a newer token wrote here, the generation is another, or there are foreign edits
        :raises PermanentAdapterError: when the target is not known or has weight, or the cluster cannot copy a share
        """
        mirror = None if target is None else Mirror(target=target, percent=percent)

        def decide(document: Json) -> Operations:
            before = self._writable(route, document, fencing_token, overwrite=expected_generation is None)
            if target is not None and target not in before.targets:
                raise PermanentAdapterError(f"route {route!r}: no such target {target}; nothing was changed")
            if target is not None and before.weights.get(target):
                raise PermanentAdapterError(
                    f"route {route!r}: {target!r} gets {before.weights[target]} % of the requests already; copies are "
                    "for a target without"
                )
            repeated = (before.mirror, before.token) == (mirror, fencing_token)
            if expected_generation not in (None, before.generation) and not repeated:
                raise StaleWriteError(
                    f"route {route!r}: generation is {before.generation}, not {expected_generation}; "
                    "nothing was written"
                )
            return self._patch(route, document, before, replace(before, mirror=mirror, token=fencing_token))

        view = self._change(route, decide)
        if view.mirror != mirror and mirror is not None:
            # Definitions without the field drop it silently, and all requests would be copied.
            self.set_mirror(route, None, 0, fencing_token=fencing_token, expected_generation=None)
            raise PermanentAdapterError(
                f"route {route!r}: the cluster's definition of {self.kind.kind} cannot copy {percent} % of the requests"
            )
        return view


def _numbers(text: str) -> dict[str, int]:
    return {str(name): int(number) for name, number in json.loads(text).items()}


def _copies(said: Live | Record) -> str:
    return "nobody" if said.mirror is None else f"{said.mirror.target} ({said.mirror.percent} %)"


def _shares(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in sorted(weights.items())) or "no traffic"
