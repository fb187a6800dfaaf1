"""Whether what the connections lead to answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from airflow.sdk.exceptions import AirflowException

from airflow_mlops.cli.doctor.finding import Finding, failed, note, ok, warn
from airflow_mlops.cli.doctor.site import DEFAULT_CONNECTIONS, Site
from airflow_mlops.exceptions import MLOpsError

__all__ = ["connection_check", "database"]

_USED_BY = {
    "mlflow": "registration, promotion and tracking",
    "model_gateway": "rollouts",
    "docker": "a private registry of images",
    "kubernetes": "pods, where neither a kubeconfig nor the pod's own account is used",
    "prometheus": "measurements of rollouts",
}
_DOCKER_SECONDS = 5
_GIT_VERSION = re.compile(r"'git_version': '([^']+)'")
_WEB = ("http", "https", "generic", "prometheus")


def database(site: Site) -> Iterator[Finding]:
    """Say whether connections that are kept in Airflow's database can be seen at all; Airflow itself does not."""
    del site
    from airflow.models.connection import Connection
    from airflow.utils.session import create_session
    from sqlalchemy import func, select
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session() as session:
            count = session.scalar(select(func.count()).select_from(Connection))
    except SQLAlchemyError as error:
        yield warn(
            "metadata database",
            f"it cannot be asked: {str(error).splitlines()[0]}; connections that are kept there look undefined",
            "on a worker that is in order: its tasks ask the API server; "
            "elsewhere look at [database] sql_alchemy_conn, and run `airflow db migrate`",
        )
    else:
        yield ok("metadata database", f"{count} connections are kept there")


def connection_check(conn_id: str) -> Callable[[Site], Iterator[Finding]]:
    """Return a check of one connection, by the test of its hook."""

    def look(site: Site) -> Iterator[Finding]:
        connection = site.connection(conn_id)
        kind = next((kind for kind, default in DEFAULT_CONNECTIONS.items() if default == conn_id), None)
        if connection is None and kind is not None:
            yield note(conn_id, f"not defined; it is for {_USED_BY[kind]}")
        elif connection is None:
            yield failed(conn_id, "not defined", f"airflow connections add {conn_id} …, or correct --conn-id")
        else:
            yield _tested(site, conn_id, connection)

    return look


def _is_prometheus(site: Site, conn_id: str, conn_type: str) -> bool:
    """Whether a connection is asked as Prometheus: the default one, and those that gateways' metrics name as such."""
    from airflow_mlops.hooks.metric_sources import connections_of

    if conn_id == DEFAULT_CONNECTIONS["prometheus"]:
        return True
    gateways = (site.connection(gateway) for gateway in site.connections("model_gateway"))
    named = {name for one in gateways for name in connections_of(one.extra_dejson.get("metrics"))}
    # Databases of labels are named there, too.
    return conn_id in named and conn_type in _WEB


def _tested(site: Site, conn_id: str, connection: Any) -> Finding:
    test = _TESTS.get(connection.conn_type)
    if test is None and _is_prometheus(site, conn_id, connection.conn_type):
        test = _prometheus
    remedy = f"correct the connection {conn_id}, or start what it leads to"
    try:
        works, message = test(conn_id) if test is not None else _by_hook(conn_id, connection.conn_type)
    except (MLOpsError, AirflowException) as error:
        return failed(conn_id, str(error), remedy)
    if works is None:
        return note(conn_id, message)
    return ok(conn_id, message) if works else failed(conn_id, message, remedy)


def _mlflow(conn_id: str) -> tuple[bool, str]:
    from airflow_mlops.hooks.mlflow import MLflowHook

    return MLflowHook(conn_id).test_connection()


def _gateway(conn_id: str) -> tuple[bool, str]:
    from airflow_mlops.hooks.gateway import ModelGatewayHook

    return ModelGatewayHook(conn_id).test_connection()


def _docker(conn_id: str) -> tuple[bool, str]:
    from airflow_mlops.hooks.docker import docker_client

    client = docker_client(conn_id, timeout_seconds=_DOCKER_SECONDS)
    return (
        True,
        f"Docker {client.version().get('Version', 'of unknown version')} answers and the registry took the login",
    )


def _kubernetes(conn_id: str) -> tuple[bool, str]:
    from airflow_mlops.hooks.cluster import ClusterAccess

    works, message = ClusterAccess(conn_id=conn_id).hook().test_connection()
    version = _GIT_VERSION.search(message)
    return works, f"Kubernetes {version[1]} answers" if works and version else str(message)


def _prometheus(conn_id: str) -> tuple[bool, str]:
    """Ask for the counters of a model that does not exist, as a rollout asks for those of one that does."""
    from airflow.sdk import BaseHook

    from airflow_mlops.hooks.metric_sources import open_metrics

    source = open_metrics(
        {"source": "prometheus", "conn_id": conn_id, "series": "model_server"},
        envoy=_never,
        read=BaseHook.get_connection,
        where=f"connection {conn_id!r}",
    )
    source.read(["doctor-v0"], slow_ms=None)
    return True, "Prometheus answers queries"


def _never() -> Any:
    raise AssertionError("Prometheus was asked for")


def _by_hook(conn_id: str, conn_type: str) -> tuple[bool | None, str]:
    """Test any other connection, if its type has a hook, and that a test."""
    from airflow.sdk import BaseHook
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    known = ProvidersManagerTaskRuntime().hooks.get(conn_type)
    if known is not None and not known.hook_class_name:
        return None, f"defined; the type {conn_type!r} has no test"
    hook = BaseHook.get_hook(conn_id)
    test = getattr(hook, "test_connection", None)
    if test is None:
        return None, f"defined; {type(hook).__name__} has no test"
    works, message = test()
    return bool(works), str(message)


_TESTS: Mapping[str, Callable[[str], tuple[bool, str]]] = {
    "mlflow": _mlflow,
    "model_gateway": _gateway,
    "docker": _docker,
    "kubernetes": _kubernetes,
}
