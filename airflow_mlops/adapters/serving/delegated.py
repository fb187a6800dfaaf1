"""Model servers that somebody else runs, KServe or Argo Rollouts: they are looked at, not started or stopped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

__all__ = ["DelegatedFleet", "KnowsServers"]


class KnowsServers(Protocol):
    """A router whose objects say which model servers run."""

    def servers(self) -> Mapping[str, ServerStatus]:
        """Return the servers of all routes, by the names of their targets."""
        ...


class DelegatedFleet:
    """Implements :class:`airflow_mlops.rollout.ports.ServerFleet` for servers that the routed objects describe.

    :param router: who reads those objects
    :param runner: who runs the servers, for messages
    """

    def __init__(self, router: KnowsServers, *, runner: str) -> None:
        self._router = router
        self._runner = runner

    def ensure(self, spec: ServerSpec) -> None:
        """Refuse.

        :raises PermanentAdapterError: always
        """
        raise PermanentAdapterError(
            f"server {spec.name!r}: model servers are run by {self._runner}; change its object, then begin the rollout"
        )

    def spec(self, name: str) -> ServerSpec | None:  # noqa: ARG002 - the port's signature
        """Return None: nothing was asked for here."""
        return None

    def status(self, name: str) -> ServerStatus | None:
        """Tell how the server is, None when no object names it."""
        return self._router.servers().get(name)

    def remove(self, name: str) -> None:
        """Do nothing: a server goes when the router forgets its target, or when its runner thinks so."""

    def list(self) -> Iterable[str]:
        """Return the names of the servers."""
        return sorted(self._router.servers())
