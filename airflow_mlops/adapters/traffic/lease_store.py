"""The state of rollouts in a cluster: one ``coordination.k8s.io/v1`` Lease per route, changed by compare-and-set.

The Lease is what Kubernetes' own leader election writes: ``holderIdentity``, ``leaseTransitions`` (the fencing token),
``leaseDurationSeconds`` and ``renewTime``, which only a recorded verdict moves. The rollout's state is in annotations.
Who holds nothing is missing from the Lease, since API servers may refuse an empty name.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.exceptions import (
    ContractError,
    LeaseHeldError,
    PermanentAdapterError,
    SpecificationError,
    StaleWriteError,
)
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.state import RolloutState, is_under_way
from airflow_mlops.rollout.stored import StateTexts

__all__ = ["KIND_LABEL", "LEASES", "LeaseRolloutStore"]

LEASES = ObjectKind(group="coordination.k8s.io", version="v1", plural="leases", kind="Lease")
_ROOT = "mlops.airflow.apache.org"
#: Label of a Lease: the kind of gateway whose rollout it is.
KIND_LABEL = f"{_ROOT}/gateway-kind"
_ROUTE_LABEL = f"{_ROOT}/route"
_STATES = ("state", "previous")
_ROUTE = re.compile(r"[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?")
# A Lease that somebody deleted begins with a token above all that its route saw: seconds since this moment, since hands
# change less often than every second.
_FIRST_TOKENS = 1_577_836_800.0  # 2020; leaseTransitions is a number of 32 bits
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# Kubernetes allows 256 KiB for all annotations of an object; some are left to others.
_MOST_BYTES = 250 * 1024
_LONG_TEXT = 16 * 1024
_ZIPPED = "zlib+base64:"


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What a Lease says."""

    token: int
    holder: str
    lease_seconds: int
    renewed_at: float
    state: RolloutState | None = None
    previous: RolloutState | None = None

    def lease(self) -> Lease:
        expires_at = self.renewed_at + self.lease_seconds if self.holder else 0.0
        return Lease(
            token=self.token, holder=self.holder, expires_at=expires_at, state=self.state, previous=self.previous
        )


class LeaseRolloutStore:
    """Rollouts in Leases; implements :class:`airflow_mlops.rollout.ports.RolloutStore`.

    Clocks of the processes that use it should agree to a second or so, as everywhere in a cluster.

    :param objects: the namespace of the routes
    :param kind: the kind of gateway, a label of the Leases: a watchdog looks at those of its kind only
    :param clock: what time it is
    """

    def __init__(self, objects: KubernetesObjects, *, kind: str, clock: Clock | None = None) -> None:
        self._objects = objects
        self._kind = kind
        self._clock = clock or SystemClock()
        self._texts = StateTexts()
        # A look loads a rollout and saves it a moment later: then the Lease need not be read again to be changed.
        self._loaded: dict[str, Json] = {}

    def acquire(self, route: str, holder: str, *, lease_seconds: float) -> Lease:
        """Take the lease, or take it up again with what this holder has under way.

        :param holder: not empty; the same after a crash
        :param lease_seconds: how long the lease lives after every verdict; Leases count whole seconds, a broken one is
            rounded up
        :raises LeaseHeldError: when somebody else holds it and it has not expired
        """
        if not holder:
            raise SpecificationError("holder", holder, "a name that says who moves the traffic")
        now, seconds = self._clock.now(), max(1, math.ceil(lease_seconds))

        def decide(found: _Held) -> _Held:
            if found.holder == holder and is_under_way(found.state):
                # Taking a rollout up is no verdict: a holder that dies again and again keeps no canary alive.
                return found
            if found.holder == holder:
                return replace(found, lease_seconds=seconds, renewed_at=now)
            if found.holder and found.lease().expires_at > now:
                raise LeaseHeldError(route, found.holder)
            return _Held(
                token=found.token + 1,
                holder=holder,
                lease_seconds=seconds,
                renewed_at=now,
                previous=found.state or found.previous,
            )

        if self._objects.get(LEASES, self._name(route)) is None:
            token = max(1, int(now - _FIRST_TOKENS))
            first = _Held(token=token, holder=holder, lease_seconds=seconds, renewed_at=now)
            if self._objects.create(LEASES, self._manifest(route, first)) is not None:
                return first.lease()
        return self._change(route, decide).lease()

    def load(self, route: str) -> Lease | None:
        """Return what is stored, None if nothing is.

        :raises ContractError: when the Lease cannot be read
        """
        document = self._objects.get(LEASES, self._name(route))
        if document is None:
            return None
        held = self._read(document)
        self._loaded[route] = document
        return held.lease()

    def save(self, route: str, state: RolloutState, *, token: int, renew: bool) -> None:
        """Store the state if the lease is still held; the same state again is no conflict.

        :raises StaleWriteError: when the lease passed to somebody else or was released, or the state stored is newer
        :raises PermanentAdapterError: when the state is too large for a Lease
        """
        now = self._clock.now()

        def decide(found: _Held) -> _Held:
            if found.token != token or not found.holder:
                raise StaleWriteError(
                    f"route {route!r}: the lease with token {token} was lost, it is held by {found.holder or 'nobody'}"
                )
            if found.state is not None and found.state.sequence >= state.sequence and found.state != state:
                raise StaleWriteError(
                    f"route {route!r}: change {state.sequence} comes too late, {found.state.sequence} is stored already"
                )
            return replace(found, state=state, renewed_at=now if renew else found.renewed_at)

        lost = StaleWriteError(f"route {route!r}: the lease with token {token} was lost, there is no Lease")
        self._change(route, decide, missing=lost)

    def release(self, route: str, *, token: int) -> None:
        """Give the lease back, once or again; the state stays readable.

        :raises StaleWriteError: when the lease passed to somebody else
        """

        def decide(found: _Held) -> _Held:
            if found.token != token:
                raise StaleWriteError(f"route {route!r}: the lease with token {token} has passed on")
            return replace(found, holder="")

        lost = StaleWriteError(f"route {route!r}: the lease with token {token} has passed on, there is no Lease")
        self._change(route, decide, missing=lost)

    def routes(self) -> list[str]:
        """Return the names of all routes of this kind that have or had a rollout, sorted."""
        found = self._objects.list(LEASES, {KIND_LABEL: self._kind})
        return sorted(document["metadata"]["labels"][_ROUTE_LABEL] for document in found)

    def _name(self, route: str) -> str:
        if not _ROUTE.fullmatch(route):
            raise SpecificationError(
                "route", route, "1 to 53 lower-case letters, digits and hyphens, not at the ends, as Kubernetes wants"
            )
        return f"rollout-{route}"

    def _change(self, route: str, decide: Callable[[_Held], _Held], *, missing: StaleWriteError | None = None) -> _Held:
        def patch(document: Json) -> Operations:
            before = self._read(document)
            after = decide(before)
            return () if after == before else self._operations(route, document, before, after)

        seen = self._loaded.pop(route, None)
        return self._read(self._objects.change(LEASES, self._name(route), patch, missing=missing, seen=seen))

    def _manifest(self, route: str, held: _Held) -> dict[str, Any]:
        return {
            "apiVersion": LEASES.api_version,
            "kind": LEASES.kind,
            "metadata": {
                "name": self._name(route),
                "labels": {
                    "app.kubernetes.io/managed-by": "airflow-mlops",
                    KIND_LABEL: self._kind,
                    _ROUTE_LABEL: route,
                },
            },
            "spec": {**_spec(held), "acquireTime": _moment(held.renewed_at)},
        }

    def _read(self, document: Json) -> _Held:
        metadata, spec = document["metadata"], document.get("spec") or {}
        where = f"Lease {self._objects.namespace}/{metadata['name']}"
        kind = (metadata.get("labels") or {}).get(KIND_LABEL)
        if kind != self._kind:
            whose = "is not ours" if kind is None else f"belongs to a gateway of kind {kind!r}, not {self._kind!r}"
            raise PermanentAdapterError(f"{where} {whose}; its label {KIND_LABEL} says so")
        annotations = metadata.get("annotations") or {}
        try:
            states = {
                name: self._state(f"{metadata['name']}/{name}", annotations.get(f"{_ROOT}/{name}"), f"{where}, {name}")
                for name in _STATES
            }
            return _Held(
                token=int(spec["leaseTransitions"]),
                holder=spec.get("holderIdentity") or "",
                lease_seconds=int(spec["leaseDurationSeconds"]),
                renewed_at=_seconds(spec["renewTime"]),
                **states,
            )
        except (KeyError, TypeError, ValueError, zlib.error, binascii.Error) as error:
            raise ContractError(f"{where} is not what a rollout wrote: {error}") from error

    def _operations(self, route: str, document: Json, before: _Held, after: _Held) -> Operations:
        annotations = dict(document["metadata"].get("annotations") or {})
        operations: list[dict[str, Any]] = []
        for name in _STATES:
            key = f"{_ROOT}/{name}"
            if getattr(after, name) == getattr(before, name):
                continue
            if getattr(after, name) is None:
                del annotations[key]
                operations.append({"op": "remove", "path": pointer("metadata", "annotations", key)})
                continue
            annotations[key] = self._text(f"{self._name(route)}/{name}", getattr(after, name))
            operations.append({"op": "add", "path": pointer("metadata", "annotations", key), "value": annotations[key]})
        size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
        if size > _MOST_BYTES:
            raise PermanentAdapterError(
                f"route {route!r}: the rollout's state takes {size} bytes, but a Lease holds {_MOST_BYTES}; "
                "end this rollout and begin one with fewer looks, metrics or steps"
            )
        if not document["metadata"].get("annotations"):
            operations = [{"op": "add", "path": "/metadata/annotations", "value": annotations}]
        spec = {**document["spec"], **_spec(after)}
        if after.token != before.token:
            spec["acquireTime"] = spec["renewTime"]
        if not after.holder:
            spec.pop("holderIdentity", None)
        return [*operations, {"op": "replace", "path": "/spec", "value": spec}]

    def _text(self, name: str, state: RolloutState) -> str:
        text = self._texts.write(name, state)
        if len(text) < _LONG_TEXT:
            return text  # readable with kubectl
        return _ZIPPED + base64.b64encode(zlib.compress(text.encode(), 9)).decode()

    def _state(self, name: str, text: str | None, where: str) -> RolloutState | None:
        if text is None:
            return None
        if text.startswith(_ZIPPED):
            text = zlib.decompress(base64.b64decode(text[len(_ZIPPED) :], validate=True)).decode()
        return self._texts.read(name, text, where=where)


def _spec(held: _Held) -> dict[str, Any]:
    holder = {"holderIdentity": held.holder} if held.holder else {}
    return {
        **holder,
        "leaseTransitions": held.token,
        "leaseDurationSeconds": held.lease_seconds,
        "renewTime": _moment(held.renewed_at),
    }


def _moment(seconds: float) -> str:
    # A Lease tells microseconds; the clock's own digits beyond them would make what is read differ from what was said.
    return (_EPOCH + timedelta(microseconds=round(seconds * 1_000_000))).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _seconds(moment: str) -> float:
    return (datetime.fromisoformat(moment) - _EPOCH) / timedelta(seconds=1)
