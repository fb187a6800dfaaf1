"""Looking at a model in MLflow, often and cheaply: two requests, without MLflow's client.

That client takes seconds to load and works under a lock, since it reads its credentials from the process's environment;
a triggerer has many models to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.governance.awaited import RegisteredVersion, Sighting

__all__ = ["look"]

_PATIENCE_SECONDS = 10.0
_PAGE = 100
_API = "/api/2.0/mlflow"


def look(server: MLflowServer, name: str, *, after: int = 0, newest: int | None = None) -> Sighting:
    """See a model's aliases, what they name, and its versions.

    :param name: the registered model; one that does not exist has neither
    :param after: only versions with higher numbers, and those that aliases name
    :param newest: at most so many of the newest; None for all
    :raises TransientAdapterError: if the server cannot be reached or is overloaded
    :raises PermanentAdapterError: if it refuses
    """
    import httpx

    if not name or any(character in name for character in "'/:"):
        raise SpecificationError("model_name", name, "a name without quotes, slashes and colons")
    headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
    with httpx.Client(
        base_url=server.tracking_uri,
        timeout=_PATIENCE_SECONDS,
        auth=(server.username, server.password or "") if server.username else None,
        headers=headers,
        verify=server.tracking_uri.startswith("https://"),  # loading certificates takes longer than the answer
    ) as client:
        found = _get(client, name, "/registered-models/get", {"name": name})
        if found is None:
            return Sighting()
        aliases = {one["alias"]: str(one["version"]) for one in found["registered_model"].get("aliases", ())}
        versions = {one.version: one for one in _newest(client, name, after, newest)}
        for number in set(aliases.values()) - versions.keys():
            one = _get(client, name, "/model-versions/get", {"name": name, "version": number})
            if one is not None:
                versions[number] = _version(one["model_version"])
    return Sighting(aliases=aliases, versions=tuple(sorted(versions.values(), key=lambda one: one.number)))


def _newest(client: Any, name: str, after: int, newest: int | None) -> Iterator[RegisteredVersion]:
    count, token = 0, ""
    while True:
        query = {"filter": f"name = '{name}'", "order_by": "version_number DESC", "max_results": str(_PAGE)}
        page = _get(client, name, "/model-versions/search", query | ({"page_token": token} if token else {})) or {}
        for one in map(_version, page.get("model_versions", ())):
            if one.number <= after or count == newest:
                return
            count += 1
            yield one
        token = page.get("next_page_token", "")
        if not token:
            return


def _get(client: Any, name: str, path: str, query: Mapping[str, str]) -> Any:
    """Ask; None if MLflow knows nothing of the name."""
    import httpx

    try:
        answer = client.get(_API + path, params=query)
    except httpx.HTTPError as error:
        raise TransientAdapterError(
            f"MLflow at {client.base_url} does not answer ({error or type(error).__name__})"
        ) from error
    if answer.status_code == 200:
        return answer.json()
    try:
        said = answer.json()
    except ValueError:
        said = {}
    code = said.get("error_code", "") if isinstance(said, Mapping) else ""
    if code == "RESOURCE_DOES_NOT_EXIST":
        return None
    message = (
        f"looking at {name!r}: MLflow at {client.base_url} answers {answer.status_code} {code}: {answer.text[:300]}"
    )
    if answer.status_code in (408, 429) or answer.status_code >= 500:
        raise TransientAdapterError(message)
    raise PermanentAdapterError(message)


def _version(found: Mapping[str, Any]) -> RegisteredVersion:
    return RegisteredVersion(
        name=found["name"],
        number=int(found["version"]),
        status=found.get("status", "READY"),
        tags={tag["key"]: tag.get("value", "") for tag in found.get("tags", ())},
        run_id=found.get("run_id") or None,
    )
