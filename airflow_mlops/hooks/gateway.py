"""The connection type ``model_gateway``: where models are asked for predictions, and who moves their traffic."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Self, cast
from weakref import WeakValueDictionary

from airflow.sdk import BaseHook, Connection

from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.hooks.defaults import MODEL_GATEWAY

# Reading a DAG needs none of the ports and adapters, so they are imported where they are used.
if TYPE_CHECKING:
    from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects
    from airflow_mlops.adapters.serving.delegated import KnowsServers
    from airflow_mlops.hooks.gateway_kinds import Kind
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.ports import RolloutStore, Router, ServerFleet, TrafficMetrics

__all__ = ["ModelGatewayHook"]

#: A client is a pool of connections and their certificates: a thousand waiting rollouts share those of their cluster.
_CLIENTS: WeakValueDictionary[Any, Any] = WeakValueDictionary()
_CLIENTS_LOCK = Lock()


class ModelGatewayHook(BaseHook):
    """Reaches a gateway.

    The connection holds host and port for predictions. Its extra names the ``kind`` of gateway, see
    :mod:`airflow_mlops.hooks.gateway_kinds`; without one it is an Envoy that is steered by files:

    - ``envoy``: ``admin_url`` (Envoy's own interface), ``directory`` (folder of routes and rollouts) and
      ``serving_directory`` (folder of model servers)
    - in a cluster: ``namespace`` of routes, rollouts and model servers; ``router``, an object with options of the
      kind's router; ``serving``, an object that says how model servers run, with their ``image``; and the way to the
      cluster: ``kubernetes_conn_id``, or ``kubeconfig`` and ``cluster_context``, or ``in_cluster``; without any of
      them what the process finds

    ``metrics`` says who counts, see docs/metric-sources.md; ``envoy`` needs ``admin_url``.

    :param gateway_conn_id: the connection
    """

    conn_name_attr = "gateway_conn_id"
    default_conn_name = MODEL_GATEWAY
    conn_type = "model_gateway"
    hook_name = "Model gateway"

    def __init__(self, gateway_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.gateway_conn_id = gateway_conn_id
        self._connection: Connection | None = None
        self._others: dict[str, Connection] = {}
        self._api_client: Any = None

    @classmethod
    async def aopen(cls, gateway_conn_id: str) -> Self:
        """Return a hook whose connection was read already, for code that must not block."""
        hook = cls(gateway_conn_id)
        hook._connection = await cls.aget_connection(gateway_conn_id)
        from airflow_mlops.hooks.metric_sources import connections_of

        others = connections_of(hook._connection.extra_dejson.get("metrics"))
        if cluster := hook._optional("kubernetes_conn_id"):
            others.append(cluster)
        for conn_id in others:
            hook._others[conn_id] = await cls.aget_connection(conn_id)
        return hook

    def _read(self) -> Connection:
        if self._connection is None:
            self._connection = self.get_connection(self.gateway_conn_id)
        return self._connection

    @property
    def _where(self) -> str:
        return f"connection {self.gateway_conn_id!r}"

    def _extra(self, name: str, meaning: str) -> str:
        value: Any = self._read().extra_dejson.get(name)
        if not isinstance(value, str) or not value:
            raise SpecificationError(f"{self._where}, extra.{name}", value, meaning)
        return value

    def _optional(self, name: str) -> str | None:
        return self._extra(name, "text") if self._read().extra_dejson.get(name) not in (None, "") else None

    def _object(self, name: str) -> Mapping[str, Any]:
        value: Any = self._read().extra_dejson.get(name)
        if isinstance(value, str) and value:
            with contextlib.suppress(ValueError):
                value = json.loads(value)  # typed into the connection's form
        if value in (None, ""):
            return {}
        if not isinstance(value, dict):
            raise SpecificationError(f"{self._where}, extra.{name}", value, "an object")
        return value

    def _folder(self, name: str, meaning: str) -> Path:
        path = Path(self._extra(name, meaning))
        if not path.is_absolute():
            raise SpecificationError(f"{self._where}, extra.{name}", str(path), meaning)
        return path

    @property
    def endpoint(self) -> str:
        """Base URL for predictions.

        :raises SpecificationError: when the connection has no host
        """
        connection = self._read()
        if not connection.host:
            raise SpecificationError(f"{self._where}, host", connection.host, "a host name")
        if "://" in connection.host:
            return connection.host.rstrip("/") + (f":{connection.port}" if connection.port else "")
        return f"http://{connection.host}:{connection.port or 8100}"

    @property
    def admin_url(self) -> str:
        """URL of Envoy's own interface."""
        return self._extra("admin_url", "the URL of Envoy's admin interface, such as http://127.0.0.1:8101")

    @property
    def directory(self) -> Path:
        """Folder of routes and rollouts."""
        return self._folder("directory", "the absolute path of the gateway's folder")

    @property
    def kind(self) -> Kind:
        """The kind of gateway.

        :raises SpecificationError: if there is none of the name that the connection says
        """
        from airflow_mlops.hooks.gateway_kinds import kind_named

        return kind_named(self._optional("kind") or "envoy", field_name=f"{self._where}, extra.kind")

    @property
    def namespace(self) -> str:
        """Namespace of the routes, for kinds in a cluster."""
        return self._extra("namespace", "the namespace of routes, rollouts and model servers")

    def router(self) -> Router:
        """Return who splits the traffic."""
        kind = self.kind
        if kind.in_cluster:
            options = self._object("router")
            for name in options:
                if name not in kind.options:
                    known = ", ".join(kind.options) or "none"
                    raise SpecificationError(
                        f"{self._where}, extra.router.{name}",
                        options[name],
                        f"one of the options of {kind.name}: {known}",
                    )
            return kind.cluster_router(self._objects(), options)
        router: Router = kind.router_class()(self.directory)
        return router

    def store(self) -> RolloutStore:
        """Return where rollouts are kept."""
        if self.kind.in_cluster:
            return self.kind.cluster_store(self._objects())
        from airflow_mlops.adapters.traffic.file_store import FileRolloutStore

        return FileRolloutStore(self.directory)

    def metrics(self) -> TrafficMetrics:
        """Return who counts: what the extra ``metrics`` says, see docs/metric-sources.md.

        :raises SpecificationError: naming what is wrong in it
        """
        from airflow_mlops.hooks.metric_sources import open_metrics

        given = self._read().extra_dejson.get("metrics") or self.kind.metrics
        return open_metrics(
            given,
            envoy=self._envoy_statistics,
            read=self._other,
            where=f"{self._where}, extra.metrics",
            series=self.kind.series,
        )

    def _envoy_statistics(self) -> TrafficMetrics:
        from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics

        return EnvoyStatistics(self.admin_url)

    def _other(self, conn_id: str) -> Connection:
        return self._others.get(conn_id) or self.get_connection(conn_id)

    def fleet(self) -> ServerFleet:
        """Return who runs the model servers."""
        kind = self.kind
        if kind.deployments:
            from airflow_mlops.hooks.fleets import open_fleet

            given = self._object("serving")
            return open_fleet(self._client(), given, namespace=self.namespace, where=f"{self._where}, extra.serving")
        if kind.in_cluster:
            from airflow_mlops.adapters.serving.delegated import DelegatedFleet

            return DelegatedFleet(cast("KnowsServers", self.router()), runner=kind.title)
        from airflow_mlops.adapters.serving.processes import ProcessFleet

        return ProcessFleet(self._folder("serving_directory", "the absolute path of the model servers' folder"))

    def gateway(self) -> Gateway:
        """Return all that a rollout works with."""
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.rollout.look import Gateway

        return Gateway(router=self.router(), store=self.store(), metrics=self.metrics(), clock=SystemClock())

    def cluster_client(self) -> Any:
        """Return the ``kubernetes.client.ApiClient`` with which a gateway in a cluster is reached."""
        return self._client()

    def _client(self) -> Any:
        """Return the one client of all ports."""
        if self._api_client is not None:
            return self._api_client
        from airflow_mlops.hooks.cluster import ClusterAccess

        access = ClusterAccess(
            conn_id=self._optional("kubernetes_conn_id"),
            config_file=self._optional("kubeconfig"),
            cluster_context=self._optional("cluster_context"),
            in_cluster=self._in_cluster(),
        )
        connection = self._others.get(access.conn_id) if access.conn_id else None
        with _CLIENTS_LOCK:
            key = (access, connection and connection.get_uri(), _kubeconfig(access.config_file))
            client = _CLIENTS.get(key)
            if client is None:
                hook = access.hook()
                if connection is not None:
                    hook.get_connection = self._other  # it was read before, where nothing may block
                client = hook.api_client
                if access.conn_id is None or connection is not None:
                    _CLIENTS[key] = client
        self._api_client = client
        return client

    def _in_cluster(self) -> bool | None:
        value = self._read().extra_dejson.get("in_cluster")
        if value not in (None, True, False):
            raise SpecificationError(f"{self._where}, extra.in_cluster", value, "true or false")
        return value

    def _objects(self, *, timeout_seconds: float = 5.0) -> KubernetesObjects:
        from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects

        return KubernetesObjects(self._client(), self.namespace, timeout_seconds=timeout_seconds)

    def test_connection(self) -> tuple[bool, str]:
        """Ask Envoy whether it is ready, or the cluster whether routes may be read; takes three seconds at most."""
        try:
            return self._test_cluster() if self.kind.in_cluster else self._test_envoy()
        except MLOpsError as error:
            return False, f"the gateway does not answer: {error}"
        except Exception as error:  # noqa: BLE001 - whatever a client raises over what it was given to connect with
            # Not the message: it may quote the configuration, tokens and all.
            return False, f"the gateway cannot be reached: {type(error).__name__} while connecting to the cluster"

    def _test_envoy(self) -> tuple[bool, str]:
        import httpx

        try:
            url = f"{self.admin_url.rstrip('/')}/ready"
            answer = httpx.get(url, timeout=3.0, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return False, f"the gateway does not answer: {error}"
        state = answer.text.strip()
        return answer.status_code == 200, f"Envoy at {self.admin_url} says {state}"

    def _test_cluster(self) -> tuple[bool, str]:
        from airflow_mlops.adapters.traffic.lease_store import KIND_LABEL, LEASES

        kind = self.kind
        self.router()  # refuses options that it does not know
        objects = self._objects(timeout_seconds=0.7)  # twice for a connection, then for two answers
        routes = kind.router_class().kind
        objects.get(routes, "any")  # whether it exists or not, it may be read; listing is no right that routers need
        rollouts = len(objects.list(LEASES, {KIND_LABEL: kind.name}))
        return (
            True,
            f"namespace {objects.namespace}: {routes.plural} can be read, {rollouts} routes have or had a rollout",
        )


def _kubeconfig(given: str | None) -> tuple[str, int | None]:
    """Return which file leads to the cluster, and when it changed last."""
    name = given or os.environ.get("KUBECONFIG") or "~/.kube/config"
    try:
        return name, Path(name).expanduser().stat().st_mtime_ns
    except OSError:
        return name, None
