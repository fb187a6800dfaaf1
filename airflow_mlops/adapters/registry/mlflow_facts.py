"""What an MLflow server is and can do, by requests that change nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError

__all__ = ["ServerFacts", "server_facts"]

_PATIENCE_SECONDS = 5.0
_ABSENT = "airflow-mlops-doctor-absent"


@dataclass(frozen=True, kw_only=True)
class ServerFacts:
    """One server.

    :param version: its version, None if it does not tell it
    :param aliases: whether its registry knows aliases
    """

    version: str | None
    aliases: bool


def server_facts(server: MLflowServer) -> ServerFacts:
    """Ask for the version, and for an alias of a model that does not exist.

    :raises TransientAdapterError: if the server does not answer
    :raises PermanentAdapterError: if it refuses who asks
    """
    import httpx

    try:
        with httpx.Client(
            base_url=server.tracking_uri,
            timeout=_PATIENCE_SECONDS,
            auth=(server.username, server.password or "") if server.username else None,
            headers={"Authorization": f"Bearer {server.token}"} if server.token else {},
            verify=server.tracking_uri.startswith("https://"),  # loading certificates takes longer than the answer
        ) as client:
            version = client.get("/version")
            alias = client.get("/api/2.0/mlflow/registered-models/alias", params={"name": _ABSENT, "alias": "champion"})
    except httpx.HTTPError as error:
        raise TransientAdapterError(
            f"MLflow at {server.tracking_uri} does not answer ({error or type(error).__name__})"
        ) from error
    if alias.status_code in (401, 403):
        raise PermanentAdapterError(f"MLflow at {server.tracking_uri} refuses who asks: status {alias.status_code}")
    if alias.status_code >= 500:
        raise TransientAdapterError(f"MLflow at {server.tracking_uri}: the registry answers {alias.status_code}")
    # A proxy may answer an unknown path with a page of its own.
    told = version.text.strip() if version.status_code == 200 and len(version.text) < 40 else None
    return ServerFacts(version=told, aliases=_knows(alias))


def _knows(answer: Any) -> bool:
    """Whether the answer is about the model: a registry without aliases says that there is no such address."""
    try:
        said = answer.json()
    except ValueError:
        return False
    code = said.get("error_code") if isinstance(said, dict) else None
    return bool(answer.status_code == 200 or code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"))
