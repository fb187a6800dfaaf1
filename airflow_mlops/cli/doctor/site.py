"""What checks look at: the installation as this process sees it. Whatever secrets it meets, it remembers to hide."""

from __future__ import annotations

import importlib.metadata
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

__all__ = ["DEFAULT_CONNECTIONS", "DISTRIBUTION", "Site"]

DISTRIBUTION = "airflow-mlops"

#: Connections that operators use unless they are told otherwise, by what they lead to.
DEFAULT_CONNECTIONS: Mapping[str, str] = {
    "mlflow": "mlflow_default",
    "model_gateway": "model_gateway_default",
    "docker": "docker_default",
    "kubernetes": "kubernetes_default",
    "prometheus": "prometheus_default",
}

_SECRET_NAME = re.compile(r"pass|token|secret|key|credential|auth|kube_config", re.IGNORECASE)
#: A user with a password, or a token, in an address; ``s3://aws_default@bucket`` names a connection.
_USER_INFO = re.compile(r"(://)[^/@\s:]*:[^/@\s]*@|(https?://)[^/@\s]+@")
_SHORTEST_SECRET = 3
_HIDDEN = "***"


class Site:
    """The installation that is examined.

    :param conn_ids: connections to look at besides those that operators use by default
    :param namespace: of a cluster, in which rights are asked for besides those that the configuration names
    """

    def __init__(self, *, conn_ids: Iterable[str] = (), namespace: str | None = None) -> None:
        self.conn_ids = tuple(conn_ids)
        self.namespace = namespace
        self._secrets: set[str] = set()
        self._connections: dict[str, Any] = {}

    def version(self, distribution: str) -> str | None:
        """Return the installed version of a distribution, None if there is none."""
        try:
            return importlib.metadata.version(distribution)
        except importlib.metadata.PackageNotFoundError:
            return None

    def requirements(self) -> list[str]:
        """Return what this package asks for, with the markers of its extras; empty where it is not installed."""
        try:
            return importlib.metadata.requires(DISTRIBUTION) or []
        except importlib.metadata.PackageNotFoundError:
            return []

    def connection(self, conn_id: str) -> Any:
        """Return an Airflow connection, None if it is not defined; any other trouble is raised."""
        from airflow.sdk import BaseHook
        from airflow.sdk.exceptions import AirflowNotFoundException

        if conn_id not in self._connections:
            try:
                found = BaseHook.get_connection(conn_id)
            except AirflowNotFoundException:
                found = None
            if found is not None:
                self._remember(found)
            self._connections[conn_id] = found
        return self._connections[conn_id]

    def connections(self, kind: str) -> list[str]:
        """Return the ids of defined connections of a type: the default one, then those that were given."""
        wanted = dict.fromkeys((DEFAULT_CONNECTIONS[kind], *self.conn_ids))
        defined = {name: self.connection(name) for name in wanted}
        default = DEFAULT_CONNECTIONS[kind]
        return [name for name, one in defined.items() if one is not None and (one.conn_type == kind or name == default)]

    def hide(self, text: str) -> str:
        """Return a text without the secrets that were met, and without user names and passwords in addresses."""
        for secret in sorted(self._secrets, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return _USER_INFO.sub(lambda found: f"{found[1] or found[2]}{_HIDDEN}@", text)

    def _remember(self, connection: Any) -> None:
        self._add(connection.password)
        extra = connection.extra_dejson if connection.extra else {}
        # Fields of Kubernetes' connection; a kubeconfig holds keys and tokens in any depth.
        self._within(extra)

    def _within(self, given: Any, *, secret: bool = False) -> None:
        if isinstance(given, Mapping):
            for name, value in given.items():
                self._within(value, secret=secret or bool(_SECRET_NAME.search(str(name))))
        elif isinstance(given, list):
            for value in given:
                self._within(value, secret=secret)
        elif secret:
            self._add(given)

    def _add(self, value: Any) -> None:
        if isinstance(value, str) and len(value) >= _SHORTEST_SECRET and not os.path.exists(value):  # noqa: PTH110
            self._secrets.add(value)
