"""Model servers as Deployments of a cluster, one for each model version, each with a Service of its own.

A server's pods belong to nobody else: a promotion moves traffic and leaves them alone, and they go only when the
server is removed. The worker needs the rights to ``get``, ``list``, ``create``, ``patch`` and ``delete`` Deployments,
to ``get``, ``create`` and ``delete`` Services, and to ``list`` pods of the namespace; the triggerer those to read.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import Json, KubernetesObjects, ObjectKind, Operations, pointer
from airflow_mlops.adapters.serving.fleet_settings import FleetSettings
from airflow_mlops.adapters.serving.server_manifest import (
    CONTAINER,
    MANAGER,
    SPEC_ANNOTATION,
    TEMPLATE_ANNOTATION,
    deployment,
    service,
)
from airflow_mlops.adapters.serving.server_status import ROUTE_ANNOTATION, is_whole, phase_of, port_of, since_of
from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import (
    ContractError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.rollout.serving import ServerSpec, ServerStatus

__all__ = ["DeploymentFleet"]

_DEPLOYMENT = ObjectKind(group="apps", version="v1", plural="deployments", kind="Deployment")
_SERVICE = ObjectKind(group="", version="v1", plural="services", kind="Service")
_POD = ObjectKind(group="", version="v1", plural="pods", kind="Pod")
_MANAGED = {"app.kubernetes.io/managed-by": MANAGER, "app.kubernetes.io/component": "server"}


class DeploymentFleet:
    """The model servers of one namespace; a ``ServerFleet``.

    :param client: ``kubernetes.client.ApiClient``
    :param settings: how servers run there
    """

    def __init__(self, client: Any, settings: FleetSettings) -> None:
        self._objects = KubernetesObjects(client, settings.namespace)
        self._settings = settings

    def ensure(self, spec: ServerSpec) -> None:
        """Ask for a server; the same again changes nothing, not the number of its pods either.

        A server none of whose pods is available is made anew when the fleet's settings have changed, so that a wrong
        image is mended by another try.

        :raises PermanentAdapterError: if a server of this name runs already with another spec or other settings, if a
            route has taken its pods, or if the name belongs to a Deployment or Service that somebody else made
        :raises SpecificationError: if the cluster cannot run such a server
        """
        wanted = deployment(spec, self._settings)
        found = self._deployment(spec.name)
        if found is None:
            # None: made meanwhile, for example by the other of two tries.
            found = self._objects.create(_DEPLOYMENT, wanted) or self._deployment(spec.name) or {}
        self._require_ours(spec.name, found)
        current = _spec(found)
        if current != spec:
            raise PermanentAdapterError(
                f"server {spec.name!r} runs already with {_difference(encode(current), encode(spec))}; stop it first"
            )
        if (route := found["metadata"]["annotations"].get(ROUTE_ANNOTATION)) and not found["spec"].get("replicas"):
            raise PermanentAdapterError(
                f"server {spec.name!r} has no pods: it is a target of route {route!r}, which gives it no traffic; stop "
                "it first, then it can be started and checked anew"
            )
        self._objects.change(_DEPLOYMENT, spec.name, lambda document: _agree(document, wanted))
        self._ensure_service(spec, found)

    def spec(self, name: str) -> ServerSpec | None:
        """Return what was asked for under this name, None if nothing.

        :raises ContractError: if the annotation is damaged
        """
        found = self._deployment(name)
        return None if found is None or not _is_ours(found) else _spec(found)

    def status(self, name: str) -> ServerStatus | None:
        """Tell how the server is, also one that somebody else deployed; None when there is no such Deployment.

        It is ready when all pods of the Deployment's present form are available.
        """
        found = self._deployment(name)
        if found is None:
            return None
        served = self._objects.get(_SERVICE, name)
        labels = (found["spec"].get("selector") or {}).get("matchLabels") or {}
        pods = [] if is_whole(found) or not labels else self._objects.list(_POD, labels)
        container = CONTAINER if _is_ours(found) else None
        phase, message, restarts = phase_of(found, pods, container=container)
        if phase == "ready" and served is None and _is_ours(found):
            phase, message = "starting", f"it has no Service {name}; ask for the server again"
        return ServerStatus(
            name=name,
            phase=phase,
            port=port_of(found, served),
            host=self._host(name, served),
            restarts=restarts,
            since=since_of(found),
            message=message,
        )

    def remove(self, name: str) -> None:
        """Ask for the server to stop: requests that it is answering are finished. One that is gone is no error.

        :raises PermanentAdapterError: if somebody else made the Deployment
        """
        found = self._deployment(name)
        if found is not None:
            self._require_ours(name, found)
            self._objects.delete(_DEPLOYMENT, name)
            # Kubernetes would do it later; a server of the same name may be asked for at once.
            served = self._objects.get(_SERVICE, name)
            if served is not None and _owned_by(served, found):
                self._objects.delete(_SERVICE, name)

    def list(self) -> Iterable[str]:
        """Return the names of the servers that should run, sorted."""
        found = self._objects.list(_DEPLOYMENT, _MANAGED)
        return sorted(str(one["metadata"]["name"]) for one in found if not one["metadata"].get("deletionTimestamp"))

    def _deployment(self, name: str) -> Json | None:
        return self._objects.get(_DEPLOYMENT, name)

    def _ensure_service(self, spec: ServerSpec, owner: Json) -> None:
        found = self._objects.get(_SERVICE, spec.name)
        if found is None:
            document = service(spec, self._settings, owner)
            found = self._objects.create(_SERVICE, document) or self._objects.get(_SERVICE, spec.name) or document
        if _owned_by(found, owner):
            return
        where = f"Service {spec.name} in namespace {self._settings.namespace}"
        if ((found.get("metadata") or {}).get("labels") or {}).get("app.kubernetes.io/managed-by") == MANAGER:
            raise TransientAdapterError(f"{where} is that of an earlier server, which is being deleted; try again")
        raise PermanentAdapterError(f"{where} was made by somebody else; it is left as it is")

    def _require_ours(self, name: str, found: Json) -> None:
        if not _is_ours(found):
            raise PermanentAdapterError(
                f"Deployment {name} in namespace {self._settings.namespace} was made by somebody else; "
                "it is left as it is"
            )

    def _host(self, name: str, served: Json | None) -> str:
        if self._settings.address == "ip" and served is not None:
            return str(served["spec"].get("clusterIP"))
        return f"{name}.{self._settings.namespace}.svc"


def _is_ours(found: Json) -> bool:
    return SPEC_ANNOTATION in ((found.get("metadata") or {}).get("annotations") or {})


def _spec(found: Json) -> ServerSpec:
    name = found["metadata"]["name"]
    try:
        return decode(ServerSpec, json.loads(found["metadata"]["annotations"][SPEC_ANNOTATION]))
    except (ValueError, SpecificationError) as error:
        raise ContractError(f"Deployment {name}, annotation {SPEC_ANNOTATION}: {error}") from error


def _owned_by(found: Json, owner: Json) -> bool:
    owners = (found.get("metadata") or {}).get("ownerReferences") or ()
    return any(one.get("uid") == owner["metadata"]["uid"] for one in owners)


def _agree(found: Json, wanted: Json) -> Operations:
    """Return what gives a Deployment the template that the settings ask for.

    :raises PermanentAdapterError: if it has another one, and pods that serve
    """
    annotations = found["metadata"]["annotations"]
    before, template = annotations.get(TEMPLATE_ANNOTATION), wanted["metadata"]["annotations"][TEMPLATE_ANNOTATION]
    if before == template:
        return ()
    if (found.get("status") or {}).get("availableReplicas") or ROUTE_ANNOTATION in annotations:
        difference = _difference(_leaves(json.loads(before or "{}")), _leaves(json.loads(template)))
        name = found["metadata"]["name"]
        raise PermanentAdapterError(
            f"server {name!r} runs already, by other settings of the fleet: {difference}; stop it first"
        )
    return (
        {"op": "add", "path": pointer("metadata", "annotations", TEMPLATE_ANNOTATION), "value": template},
        {"op": "replace", "path": "/spec/template", "value": wanted["spec"]["template"]},
    )


def _leaves(document: Any, path: str = "") -> dict[str, Any]:
    """Return the values in a document, by their path."""
    if isinstance(document, dict):
        items = [(f"{path}.{name}".lstrip("."), value) for name, value in document.items()]
    elif isinstance(document, list):
        items = [(f"{path}[{position}]", value) for position, value in enumerate(document)]
    else:
        return {path: document}
    return {name: leaf for place, value in items for name, leaf in _leaves(value, place).items()}


def _difference(before: Json, after: Json) -> str:
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    return "; ".join(f"{name} {before.get(name)!r} instead of {after.get(name)!r}" for name in names)
