"""What triggers ask a cluster, without blocking the triggerer: as plain JSON and in our errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from airflow_mlops.adapters.pods.kubernetes import _NotFoundError, _translated
from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.training.custom_resource import Json, ResourceKind

__all__ = ["AsyncCluster"]

_TIMEOUT_SECONDS = 30.0


class AsyncCluster:
    """Looks at one namespace.

    :param connect: gives a ``kubernetes_asyncio.client.ApiClient`` for a while, with credentials that are still good
    :param namespace: where to look
    """

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[Any]], namespace: str) -> None:
        self._connect = connect
        self.namespace = namespace

    async def get(self, kind: ResourceKind, name: str) -> Json | None:
        """Return a custom resource, None where there is none."""
        try:
            async with self._call(f"{kind.kind} {self.namespace}/{name}") as (client, api):
                found: Json = await client.CustomObjectsApi(api).get_namespaced_custom_object(
                    kind.group, kind.version, self.namespace, kind.plural, name, _request_timeout=_TIMEOUT_SECONDS
                )
        except _NotFoundError:
            return None
        return found

    async def delete(self, kind: ResourceKind, name: str) -> None:
        """Ask for a custom resource's deletion, and with it that of everything that was made for it."""
        try:
            async with self._call(f"{kind.kind} {self.namespace}/{name}") as (client, api):
                await client.CustomObjectsApi(api).delete_namespaced_custom_object(
                    kind.group,
                    kind.version,
                    self.namespace,
                    kind.plural,
                    name,
                    propagation_policy="Background",
                    _request_timeout=_TIMEOUT_SECONDS,
                )
        except _NotFoundError:
            return

    async def pods(self, selector: str) -> Sequence[Json]:
        """Return the pods that a label selector names."""
        async with self._call(f"pods of {self.namespace} with {selector}") as (client, api):
            found = await client.CoreV1Api(api).list_namespaced_pod(
                self.namespace, label_selector=selector, _request_timeout=_TIMEOUT_SECONDS
            )
            document: Json = api.sanitize_for_serialization(found)
        return list(document.get("items") or ())

    @asynccontextmanager
    async def _call(self, what: str) -> AsyncIterator[tuple[Any, Any]]:
        import aiohttp
        from kubernetes_asyncio import client

        try:
            async with self._connect() as api:
                yield client, api
        except client.ApiException as error:
            raise _translated(error, what) from error
        except (aiohttp.ClientError, asyncio.TimeoutError) as error:  # noqa: UP041 - which one aiohttp raises
            raise TransientAdapterError(f"Kubernetes, {what}: the API server does not answer ({error!r})") from error
