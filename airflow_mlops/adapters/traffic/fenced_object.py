"""What every router on a Kubernetes object shares: annotations that fence it, compare-and-set, foreign edits.

The routed object holds, in annotations below ``mlops.airflow.apache.org/``, the highest fencing ``token`` that ever
wrote, the ``generation`` (our count of changes, not Kubernetes'), and the ``weights`` and ``targets`` as JSON. Weights
that the object's own fields say, but these annotations do not, are an edit by another hand.

A router says in two methods how weights look in its kind of object; see :class:`FencedRouter`.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.codec import canonical_json
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.observation import RouteView

__all__ = ["ANNOTATIONS", "FencedRouter", "Live", "Record", "percentages"]

ANNOTATIONS = "mlops.airflow.apache.org"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the annotations of a routed object say; one that no rollout wrote yet has generation 0.

    :param token: highest fencing token that ever wrote here
    :param generation: grows by one with every change of ours
    :param weights: target to percent, without zeros
    :param targets: target to TCP port
    """

    token: int = 0
    generation: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the fields of a routed object say.

    :param weights: target to percent, without zeros; see :func:`percentages`
    :param targets: the targets found; counts only for an object that no rollout wrote yet, which is taken over so
    :param edits: what else somebody changed, one sentence each
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
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
            repeated = dict(before.weights) == wanted and before.token == fencing_token
            if expected_generation not in (None, before.generation) and not repeated:
                raise StaleWriteError(
                    f"route {route!r}: generation is {before.generation}, not {expected_generation}; "
                    "nothing was written"
                )
            return self._patch(route, document, before, replace(before, weights=wanted, token=fencing_token))

        return self._change(route, decide)

    def verify(self, route: str) -> Literal["ok", "pending", "unsupported"]:
        """Tell whether traffic follows what the route says."""
        document = self._objects.get(self.kind, self.object_name(route))
        return "pending" if document is None else self.applied(route, document, self.record(document))

    def remove_target(self, route: str, name: str) -> RouteView:
        """Forget a target.

        :raises PermanentAdapterError: when it still has weight
        """

        def decide(document: Json) -> Operations:
            record = self.record(document)
            live = self.live(route, document, record)
            before = record if record.generation else replace(record, weights=live.weights, targets=live.targets)
            weight = max(before.weights.get(name, 0), live.weights.get(name, 0))
            if weight:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets {weight} % of the requests")
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
            for name in ("token", "generation", "weights", "targets")
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
        changed = bool(own) or (before.weights, before.targets) != (after.weights, after.targets)
        after = replace(after, generation=before.generation + 1 if changed else before.generation)
        if after == self.record(document):
            return ()
        said = {
            f"{ANNOTATIONS}/token": str(after.token),
            f"{ANNOTATIONS}/generation": str(after.generation),
            f"{ANNOTATIONS}/weights": canonical_json(dict(after.weights)),
            f"{ANNOTATIONS}/targets": canonical_json(dict(after.targets)),
        }
        annotate: list[dict[str, Any]]
        if document["metadata"].get("annotations"):
            annotate = [
                {"op": "add", "path": pointer("metadata", "annotations", name), "value": value}
                for name, value in said.items()
            ]
        else:
            annotate = [{"op": "add", "path": "/metadata/annotations", "value": said}]
        return [*own, *annotate]

    def _edits(self, record: Record, live: Live) -> tuple[str, ...]:
        if not record.generation:
            return ()
        if dict(live.weights) == dict(record.weights):
            return live.edits
        says = f"{self.kind.kind} says {_shares(live.weights)}, but {_shares(record.weights)} was written"
        return (says, *live.edits)

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
        )


def _numbers(text: str) -> dict[str, int]:
    return {str(name): int(number) for name, number in json.loads(text).items()}


def _shares(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in sorted(weights.items())) or "no traffic"
