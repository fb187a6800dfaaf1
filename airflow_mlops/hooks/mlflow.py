"""The connection type ``mlflow``: a tracking server with a model registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from airflow_mlops.exceptions import AdapterError, SpecificationError
from airflow_mlops.hooks.defaults import MLFLOW
from airflow_mlops.hooks.places import note_server

if TYPE_CHECKING:
    from airflow_mlops.adapters.registry.mlflow_runs import RunStatus
    from airflow_mlops.adapters.registry.mlflow_server import MLflowServer
    from airflow_mlops.evidence import Origin
    from airflow_mlops.governance.awaited import Sighting
    from airflow_mlops.governance.ports import ModelRegistry

__all__ = ["MLflowHook", "origin_key", "origin_tags"]


def origin_tags(who: Origin) -> dict[str, str]:
    """Tags that lead from MLflow back to the task instance."""
    return {
        "mlops.dag_id": who.dag_id,
        "mlops.run_id": who.run_id,
        "mlops.task_id": who.task_id,
        "mlops.map_index": str(who.map_index),
    }


def origin_key(who: Origin) -> str:
    """Identify a task instance whatever its try."""
    return "/".join((who.dag_id, who.run_id, who.task_id, str(who.map_index))).replace("'", "~")


class MLflowHook(BaseHook):
    """Reaches an MLflow server.

    The connection holds the tracking URI as its host; login and password for basic authentication; a password without
    a login is a bearer token.

    :param mlflow_conn_id: the connection
    """

    conn_name_attr = "mlflow_conn_id"
    default_conn_name = MLFLOW
    conn_type = "mlflow"
    hook_name = "MLflow"

    def __init__(self, mlflow_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.mlflow_conn_id = mlflow_conn_id

    @property
    def server(self) -> MLflowServer:
        """Address and credentials.

        :raises SpecificationError: if the connection has no host
        """
        from airflow_mlops.adapters.registry.mlflow_server import MLflowServer

        connection = self.get_connection(self.mlflow_conn_id)
        if connection.password:
            mask_secret(connection.password)
        address = _address(self.mlflow_conn_id, connection)
        note_server(self.mlflow_conn_id, "mlflow", address)
        return MLflowServer(
            tracking_uri=address,
            username=connection.login or None,
            password=connection.password if connection.login else None,
            token=None if connection.login else connection.password or None,
        )

    @property
    def tracking_uri(self) -> str:
        """Address of the server, without credentials."""
        return self.server.tracking_uri

    def registry(self) -> ModelRegistry:
        """Give the server's model registry."""
        from airflow_mlops.adapters.registry.mlflow import MLflowRegistry

        return MLflowRegistry(self.server)

    def look(self, name: str, *, after: int = 0, newest: int | None = None) -> Sighting:
        """See a model's aliases and versions; cheaper than :meth:`registry`, for those who look often.

        :param after: only versions with higher numbers, and those that aliases name
        :param newest: at most so many of the newest; None for all
        """
        from airflow_mlops.adapters.registry.mlflow_look import look

        return look(self.server, name, after=after, newest=newest)

    def start_run(self, experiment: str, who: Origin, *, name: str, tags: Mapping[str, str] | None = None) -> str:
        """Return the tracking run of a task instance, opened at its first try and found again at the next.

        :param experiment: name of the experiment, made if it does not exist
        :param who: the task instance
        :param name: what people see in MLflow
        :return: the run's id
        """
        from airflow_mlops.adapters.registry.mlflow_runs import MLflowRuns

        return MLflowRuns(self.server).start(
            experiment, origin_key(who), name=name, tags={**(tags or {}), **origin_tags(who)}
        )

    def finish_run(self, run_id: str, status: RunStatus) -> None:
        """Close a run.

        :param status: ``FINISHED``, ``FAILED`` or ``KILLED``
        """
        from airflow_mlops.adapters.registry.mlflow_runs import MLflowRuns

        MLflowRuns(self.server).finish(run_id, status)

    def run_url(self, run_id: str) -> str:
        """Address of a run's page for people."""
        from airflow_mlops.adapters.registry.mlflow_runs import MLflowRuns

        return MLflowRuns(self.server).url(run_id)

    def test_connection(self) -> tuple[bool, str]:
        """Ask the server for its health and for one registered model, within seconds; never shows the token."""
        import httpx

        try:
            server = self.server
            authentication = (server.username, server.password or "") if server.username else None
            headers = {"Authorization": f"Bearer {server.token}"} if server.token else {}
            with httpx.Client(
                base_url=server.tracking_uri, timeout=3.0, auth=authentication, headers=headers
            ) as client:
                health = client.get("/health")
                found = client.get("/api/2.0/mlflow/registered-models/search", params={"max_results": 1})
        except (SpecificationError, AdapterError) as error:
            return False, str(error)
        except httpx.HTTPError as error:
            return False, f"MLflow at {server.tracking_uri} does not answer ({error or type(error).__name__})"
        for what, answer in (("/health", health), ("the model registry", found)):
            if answer.status_code != 200:
                return False, f"MLflow at {server.tracking_uri}: {what} answers {answer.status_code}"
        return True, f"MLflow at {server.tracking_uri} is healthy and its model registry answers"


def _address(conn_id: str, connection: Any) -> str:
    host = (connection.host or "").rstrip("/")
    if not host:
        raise SpecificationError(
            f"connection {conn_id!r}: host", connection.host, "the tracking URI, for example http://127.0.0.1:5000"
        )
    if "://" not in host:
        host = f"{connection.schema or 'http'}://{host}"
    return f"{host}:{connection.port}" if connection.port else host
