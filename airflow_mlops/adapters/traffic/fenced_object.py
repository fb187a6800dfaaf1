"""What every router on a Kubernetes object shares: annotations that fence it, compare-and-set, foreign edits.

The annotations are those of :mod:`airflow_mlops.adapters.traffic.route_record`. A router says in two methods how
weights look in its kind of object; see :class:`FencedRouter`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations
from airflow_mlops.adapters.traffic.route_record import (
    ANNOTATIONS,
    Live,
    Record,
    annotate,
    edits,
    percentages,
    read_record,
)
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, StaleWriteError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.routing import Mirror

__all__ = ["ANNOTATIONS", "FencedRouter", "Live", "MirroringRouter", "Record", "percentages"]


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
            beside = (before.mirror, before.match)
            repeated = (dict(before.weights), beside, before.token) == (wanted, (None, None), fencing_token)
            if expected_generation not in (None, before.generation) and not repeated:
                raise StaleWriteError(
                    f"route {route!r}: generation is {before.generation}, not {expected_generation}; "
                    "nothing was written"
                )
            after = replace(before, weights=wanted, mirror=None, match=None, token=fencing_token)
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
            before = _taken_over(record, live)
            weight = max(before.weights.get(name, 0), live.weights.get(name, 0))
            if weight:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets {weight} % of the requests")
            if name in (one.mirror.target for one in (record, live) if one.mirror is not None):
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets copies of the requests")
            if before.match is not None and before.match.target == name:
                raise PermanentAdapterError(f"route {route!r}: {name!r} still gets the requests with certain headers")
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
        return read_record(document, f"{self.kind.kind} {self._objects.namespace}/{document['metadata']['name']}")

    def _change(self, route: str, decide: Any) -> RouteView:
        document = self._objects.change(self.kind, self.object_name(route), decide)
        self.carry_out(route, self.record(document))
        return self._view(route, document)

    def _writable(self, route: str, document: Json, token: int, *, overwrite: bool = False) -> Record:
        """Return the record to start from, unless this writer may not write."""
        record = self.record(document)
        if token < record.token:
            raise StaleWriteError(
                f"route {route!r}: token {token} is older than {record.token}, the lease has passed on; "
                "nothing was written"
            )
        live = self.live(route, document, record)
        found = () if overwrite else self._edits(record, live)
        if found:
            raise StaleWriteError(f"route {route!r}: somebody else changed it: {'; '.join(found)}; nothing was written")
        return _taken_over(record, live)

    def _patch(self, route: str, document: Json, before: Record, after: Record) -> Operations:
        own = self.operations(route, document, before, after)
        kept = replace(before, token=after.token, others=after.others) == after
        # Taking an object over is a change too: from then on, edits by another hand are seen.
        changed = bool(own) or not kept or not before.generation
        others = self.live(route, document, before).others
        after = replace(after, generation=before.generation + 1 if changed else before.generation, others=others)
        if after == self.record(document):
            return ()
        return [*own, *annotate(document, before, after)]

    def _edits(self, record: Record, live: Live) -> tuple[str, ...]:
        return edits(self.kind.kind, record, live, mirrors="mirror" in self.capabilities)

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
            match=live.match,
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


def _taken_over(record: Record, live: Live) -> Record:
    """Return the record to start from; that of an object which no rollout wrote yet is what its fields say."""
    if record.generation:
        return record
    return replace(record, weights=live.weights, targets=live.targets, mirror=live.mirror)
