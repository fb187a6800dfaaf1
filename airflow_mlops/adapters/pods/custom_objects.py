"""The few calls that a training makes for a custom resource, as plain JSON and in our errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from airflow_mlops.adapters.pods.kubernetes import PodClient, _ExistsError, _NotFoundError
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.training.custom_resource import Json, ResourceKind

__all__ = ["CustomObjectClient"]


class CustomObjectClient:
    """Custom resources of one kind in one namespace.

    :param api: ``kubernetes.client.CustomObjectsApi``
    :param kind: which resources
    :param namespace: where they are
    """

    def __init__(self, api: Any, kind: ResourceKind, namespace: str) -> None:
        self._api = api
        self.kind = kind
        self.namespace = namespace

    def list(self, labels: Mapping[str, str]) -> Sequence[Json]:
        """Return the resources that have all of these labels.

        :raises PermanentAdapterError: if the cluster has no definition of this kind
        """
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        try:
            found = self._call("list_namespaced_custom_object", label_selector=selector)
        except _NotFoundError as error:
            # A namespace that does not exist has an empty list.
            raise PermanentAdapterError(
                f"the cluster does not know {self.kind.definition}; install {self.kind.controller}"
            ) from error
        return list(found.get("items") or ())

    def get(self, name: str) -> Json | None:
        """Return a resource, None where there is none."""
        try:
            found: Json = self._call("get_namespaced_custom_object", name)
        except _NotFoundError:
            return None
        return found

    def create(self, document: Json) -> Json | None:
        """Make a resource and return it as it was stored; None if one of this name is there already."""
        try:
            stored: Json = self._call("create_namespaced_custom_object", document)
        except _ExistsError:
            return None
        return stored

    def delete(self, name: str) -> None:
        """Ask for a resource's deletion, and with it that of everything that was made for it; fine if there is none."""
        try:
            self._call("delete_namespaced_custom_object", name, propagation_policy="Background")
        except _NotFoundError:
            return

    def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        kind = self.kind
        name = arguments[0] if arguments and isinstance(arguments[0], str) else ""
        return PodClient._call(  # noqa: SLF001 - the same retries and errors
            getattr(self._api, method),
            kind.group,
            kind.version,
            self.namespace,
            kind.plural,
            *arguments,
            what=f"{kind.kind} {self.namespace}/{name}",
            **options,
        )
