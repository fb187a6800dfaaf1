"""What a routed Kubernetes object remembers of us, in its annotations.

Below ``mlops.airflow.apache.org/`` are the highest fencing ``token`` that ever wrote, the ``generation`` (our count of
changes, not Kubernetes'), the ``weights`` and ``targets`` as JSON, the ``mirror`` and the ``match`` if there are any,
and ``others``: weights of backends that are not ours but take requests of the same route. What the object's own fields
say, but these annotations do not, is an edit by another hand.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_mlops.adapters.kubernetes_objects import Json, Operations, pointer
from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import ContractError
from airflow_mlops.rollout.routing import Match, Mirror

__all__ = ["ANNOTATIONS", "Live", "Record", "annotate", "edits", "percentages", "read_record"]

ANNOTATIONS = "mlops.airflow.apache.org"


@dataclass(frozen=True, kw_only=True)
class Record:
    """What the annotations of a routed object say; one that no rollout wrote yet has generation 0.

    :param token: highest fencing token that ever wrote here
    :param generation: grows by one with every change of ours
    :param weights: target to percent, without zeros
    :param targets: target to TCP port
    :param mirror: where copies of the requests go
    :param match: which requests go to one target whatever the weights are
    :param others: backends that are not ours to their weights, without zeros, as they were at the last write
    """

    token: int = 0
    generation: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    mirror: Mirror | None = None
    match: Match | None = None
    others: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Live:
    """What the fields of a routed object say.

    :param weights: target to percent, without zeros; see :func:`percentages`
    :param targets: the targets found; counts only for an object that no rollout wrote yet, which is taken over so
    :param mirror: where the object says that copies go; only routers with the capability look
    :param match: what was written last, if the object says it still
    :param others: backends that are not ours, with any weights but zero; they stay as they are, and one that changes
        between two writes is a foreign edit, since it changes every share
    :param edits: what else somebody changed, one sentence each
    """

    weights: Mapping[str, int] = field(default_factory=dict)
    targets: Mapping[str, int] = field(default_factory=dict)
    mirror: Mirror | None = None
    match: Match | None = None
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


def read_record(document: Json, where: str) -> Record:
    """Return what an object's annotations say.

    :param where: how messages call the object
    :raises ContractError: when they are not ours to read
    """
    annotations = document["metadata"].get("annotations") or {}
    said = {
        name: annotations[f"{ANNOTATIONS}/{name}"]
        for name in ("token", "generation", "weights", "targets", "mirror", "match", "others")
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
            match=decode(Match, json.loads(said["match"])) if "match" in said else None,
            others=_numbers(said.get("others", "{}")),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ContractError(f"{where}: the annotations {ANNOTATIONS}/… were changed by another hand: {said}") from error


def annotate(document: Json, before: Record, after: Record) -> Operations:
    """Return the patch of an object's annotations."""
    said = {
        f"{ANNOTATIONS}/token": str(after.token),
        f"{ANNOTATIONS}/generation": str(after.generation),
        f"{ANNOTATIONS}/weights": canonical_json(dict(after.weights)),
        f"{ANNOTATIONS}/targets": canonical_json(dict(after.targets)),
    }
    for name, value in (("mirror", after.mirror), ("match", after.match)):
        if value is not None:
            said[f"{ANNOTATIONS}/{name}"] = canonical_json(encode(value))
    if after.others or before.others:
        said[f"{ANNOTATIONS}/others"] = canonical_json(dict(after.others))
    there = document["metadata"].get("annotations")
    if not there:
        return [{"op": "add", "path": "/metadata/annotations", "value": said}]
    operations = [
        {"op": "add", "path": pointer("metadata", "annotations", name), "value": value} for name, value in said.items()
    ]
    gone = (f"{ANNOTATIONS}/{name}" for name in ("mirror", "match") if f"{ANNOTATIONS}/{name}" not in said)
    operations += [{"op": "remove", "path": pointer("metadata", "annotations", name)} for name in gone if name in there]
    return operations


def edits(kind: str, record: Record, live: Live, *, mirrors: bool) -> tuple[str, ...]:
    """Say what another hand changed since our last write, one sentence each.

    :param kind: of the object
    :param mirrors: whether its router copies requests
    """
    if not record.generation:
        return ()
    found = list(live.edits)
    if dict(live.weights) != dict(record.weights):
        found.append(f"{kind} says {_shares(live.weights)}, but {_shares(record.weights)} was written")
    for name in sorted(set(live.others) | set(record.others)):
        now, then = live.others.get(name, 0), record.others.get(name, 0)
        if now != then:
            found.append(f"backend {name!r}, which is not ours, went from weight {then} to {now}")
    if mirrors and live.mirror != record.mirror:
        found.append(f"{kind} copies requests to {_copies(live)}, but {_copies(record)} was written")
    if live.match != record.match and record.match is not None:
        found.append(f"{kind} sends no requests by their headers, but those to {record.match.target} were written")
    return tuple(found)


def _numbers(text: str) -> dict[str, int]:
    return {str(name): int(number) for name, number in json.loads(text).items()}


def _copies(said: Live | Record) -> str:
    return "nobody" if said.mirror is None else f"{said.mirror.target} ({said.mirror.percent} %)"


def _shares(weights: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {weight} %" for name, weight in sorted(weights.items())) or "no traffic"
