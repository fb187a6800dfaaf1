"""The state of rollouts beside their routes: one document per route, changed under a lock, guarded by a token."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import ContractError, LeaseHeldError, SpecificationError, StaleWriteError
from airflow_mlops.files import atomic_write_json, file_lock, read_json
from airflow_mlops.rollout.ports import Lease
from airflow_mlops.rollout.state import RolloutState, is_under_way

__all__ = ["FileRolloutStore"]


@dataclass(frozen=True, kw_only=True)
class _Document:
    """What the file holds.

    :param holder: empty when nobody holds the lease
    """

    route: str
    token: int
    holder: str
    lease_seconds: float
    expires_at: float
    state: RolloutState | None = None
    previous: RolloutState | None = None

    def lease(self) -> Lease:
        return Lease(
            token=self.token,
            holder=self.holder,
            expires_at=self.expires_at,
            state=self.state,
            previous=self.previous,
        )


class FileRolloutStore:
    """Rollouts as files; implements :class:`airflow_mlops.rollout.ports.RolloutStore`.

    :param gateway_dir: the gateway's folder
    :param clock: what time it is
    """

    def __init__(self, gateway_dir: Path, *, clock: Clock | None = None) -> None:
        self._folder = gateway_dir.resolve() / "rollouts"
        self._clock = clock or SystemClock()

    def acquire(self, route: str, holder: str, *, lease_seconds: float) -> Lease:
        """Take the lease, or take it up again with what this holder has under way.

        :param holder: not empty; the same after a crash
        :param lease_seconds: how long the lease lives after every verdict
        :raises LeaseHeldError: when somebody else holds it and it has not expired
        """
        if not holder:
            raise SpecificationError("holder", holder, "a name that says who moves the traffic")
        now = self._clock.now()
        with self._lock(route):
            found = self._load(route)
            if found is not None and found.holder == holder and is_under_way(found.state):
                # Taking a rollout up is no verdict: a holder that dies again and again keeps no canary alive.
                renewed = found
            elif found is not None and found.holder == holder:
                renewed = replace(found, lease_seconds=lease_seconds, expires_at=now + lease_seconds)
            elif found is not None and found.holder and found.expires_at > now:
                raise LeaseHeldError(route, found.holder)
            else:
                renewed = _Document(
                    route=route,
                    token=1 if found is None else found.token + 1,
                    holder=holder,
                    lease_seconds=lease_seconds,
                    expires_at=now + lease_seconds,
                    previous=None if found is None else found.state or found.previous,
                )
            atomic_write_json(self._path(route), encode(renewed))
            return renewed.lease()

    def load(self, route: str) -> Lease | None:
        """Return what is stored, None if nothing is."""
        found = self._load(route)
        return None if found is None else found.lease()

    def save(self, route: str, state: RolloutState, *, token: int, renew: bool) -> None:
        """Store the state if the lease is still held; the same state again is no conflict.

        :raises StaleWriteError: when the lease passed to somebody else or was released, or the state stored is newer
        """
        with self._lock(route):
            found = self._held(route, token)
            if found.state is not None and found.state.sequence >= state.sequence and found.state != state:
                raise StaleWriteError(
                    f"route {route!r}: change {state.sequence} comes too late, {found.state.sequence} is stored already"
                )
            expires_at = self._clock.now() + found.lease_seconds if renew else found.expires_at
            atomic_write_json(self._path(route), encode(replace(found, state=state, expires_at=expires_at)))

    def release(self, route: str, *, token: int) -> None:
        """Give the lease back, once or again; the state stays readable.

        :raises StaleWriteError: when the lease passed to somebody else
        """
        with self._lock(route):
            found = self._load(route)
            if found is None or found.token != token:
                raise StaleWriteError(f"route {route!r}: the lease with token {token} has passed on")
            if found.holder:
                atomic_write_json(self._path(route), encode(replace(found, holder="", expires_at=0.0)))

    def routes(self) -> list[str]:
        """Return the names of all routes that have or had a rollout, sorted."""
        return sorted(path.stem for path in self._folder.glob("*.json") if not path.name.startswith("."))

    def _held(self, route: str, token: int) -> _Document:
        found = self._load(route)
        if found is None or found.token != token or not found.holder:
            holder = found.holder if found is not None and found.holder else "nobody"
            raise StaleWriteError(f"route {route!r}: the lease with token {token} was lost, it is held by {holder}")
        return found

    def _load(self, route: str) -> _Document | None:
        path = self._path(route)
        document = read_json(path)
        if document is None:
            return None
        try:
            return decode(_Document, document, where=path.name)
        except SpecificationError as error:
            raise ContractError(f"{path} is not a rollout document: {error}") from error

    def _path(self, route: str) -> Path:
        return self._folder / f"{route}.json"

    def _lock(self, route: str) -> AbstractContextManager[None]:
        return file_lock(self._folder / f".{route}.lock")
