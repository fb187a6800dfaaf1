"""The connection type ``model_gateway``: where models are asked for predictions, and who moves their traffic."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from airflow.sdk import BaseHook, Connection

from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import SpecificationError

# Reading a DAG needs none of the ports and adapters, so they are imported where they are used.
if TYPE_CHECKING:
    from airflow_mlops.rollout.look import Gateway
    from airflow_mlops.rollout.ports import RolloutStore, Router, ServerFleet, TrafficMetrics

__all__ = ["ModelGatewayHook"]


class ModelGatewayHook(BaseHook):
    """Reaches a gateway: an Envoy that is steered by files.

    The connection holds host and port for predictions; its extra holds ``admin_url`` (Envoy's own interface),
    ``directory`` (folder of routes and rollouts) and ``serving_directory`` (folder of model servers).

    :param gateway_conn_id: the connection
    """

    conn_name_attr = "gateway_conn_id"
    default_conn_name = "model_gateway_default"
    conn_type = "model_gateway"
    hook_name = "Model gateway"

    def __init__(self, gateway_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.gateway_conn_id = gateway_conn_id
        self._connection: Connection | None = None
        self._others: dict[str, Connection] = {}

    @classmethod
    async def aopen(cls, gateway_conn_id: str) -> Self:
        """Return a hook whose connection was read already, for code that must not block."""
        hook = cls(gateway_conn_id)
        hook._connection = await cls.aget_connection(gateway_conn_id)
        from airflow_mlops.hooks.metric_sources import connections_of

        for conn_id in connections_of(hook._connection.extra_dejson.get("metrics")):
            hook._others[conn_id] = await cls.aget_connection(conn_id)
        return hook

    def _read(self) -> Connection:
        if self._connection is None:
            self._connection = self.get_connection(self.gateway_conn_id)
        return self._connection

    def _extra(self, name: str, meaning: str) -> str:
        value: Any = self._read().extra_dejson.get(name)
        if not isinstance(value, str) or not value:
            raise SpecificationError(f"connection {self.gateway_conn_id!r}, extra.{name}", value, meaning)
        return value

    def _folder(self, name: str, meaning: str) -> Path:
        path = Path(self._extra(name, meaning))
        if not path.is_absolute():
            raise SpecificationError(f"connection {self.gateway_conn_id!r}, extra.{name}", str(path), meaning)
        return path

    @property
    def endpoint(self) -> str:
        """Base URL for predictions.

        :raises SpecificationError: when the connection has no host
        """
        connection = self._read()
        if not connection.host:
            raise SpecificationError(f"connection {self.gateway_conn_id!r}, host", connection.host, "a host name")
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

    def router(self) -> Router:
        """Return who splits the traffic."""
        from airflow_mlops.adapters.traffic.envoy_files import EnvoyFilesRouter

        return EnvoyFilesRouter(self.directory)

    def store(self) -> RolloutStore:
        """Return where rollouts are kept."""
        from airflow_mlops.adapters.traffic.file_store import FileRolloutStore

        return FileRolloutStore(self.directory)

    def metrics(self) -> TrafficMetrics:
        """Return who counts: what the extra ``metrics`` says, see docs/metric-sources.md.

        :raises SpecificationError: naming what is wrong in it
        """
        from airflow_mlops.hooks.metric_sources import open_metrics

        given = self._read().extra_dejson.get("metrics") or "envoy"
        where = f"connection {self.gateway_conn_id!r}, extra.metrics"
        return open_metrics(given, envoy=self._envoy_statistics, read=self._other, where=where)

    def _envoy_statistics(self) -> TrafficMetrics:
        from airflow_mlops.adapters.metrics.envoy_statistics import EnvoyStatistics

        return EnvoyStatistics(self.admin_url)

    def _other(self, conn_id: str) -> Connection:
        return self._others.get(conn_id) or self.get_connection(conn_id)

    def fleet(self) -> ServerFleet:
        """Return who runs the model servers."""
        from airflow_mlops.adapters.serving.processes import ProcessFleet

        return ProcessFleet(self._folder("serving_directory", "the absolute path of the model servers' folder"))

    def gateway(self) -> Gateway:
        """Return all that a rollout works with."""
        from airflow_mlops.rollout.look import Gateway

        return Gateway(router=self.router(), store=self.store(), metrics=self.metrics(), clock=SystemClock())

    def test_connection(self) -> tuple[bool, str]:
        """Ask Envoy whether it is ready; takes three seconds at most."""
        import httpx

        try:
            url = f"{self.admin_url.rstrip('/')}/ready"
            answer = httpx.get(url, timeout=3.0, trust_env=False)
        except (httpx.HTTPError, httpx.InvalidURL, SpecificationError) as error:
            return False, f"the gateway does not answer: {error}"
        state = answer.text.strip()
        return answer.status_code == 200, f"Envoy at {self.admin_url} says {state}"
