"""Spark by its Airflow connection."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import local_path

if TYPE_CHECKING:
    from airflow_mlops.adapters.tables.spark import SparkAddress

__all__ = ["open_frame", "spark_address"]

_REMOTE_TYPE = "spark_connect"
_CONFIGURATION = "spark_config"


@contextmanager
def open_frame(
    conn_id: str,
    *,
    table: str | None = None,
    query: str | None = None,
    path: str | None = None,
    format: str = "parquet",  # noqa: A002 - the word that references use
) -> Iterator[Any]:
    """Open a table, a statement or files as a frame of Spark; a session that was started for it is stopped at the end.

    :param conn_id: the Airflow connection
    :param table: name of a table of Spark's catalogue, with its schema where it has one
    :param query: a statement, instead of a table
    :param path: URI of files, instead of both
    :param format: format of the files, ``parquet`` or ``csv``
    :raises SpecificationError: if there is no such connection
    :raises PermanentAdapterError: if there is no such table or path, or Spark is not installed
    :raises TransientAdapterError: if Spark cannot be reached
    """
    from airflow_mlops.adapters.tables.spark import spark_frame, spark_session

    with spark_session(spark_address(conn_id), connection=conn_id) as session:
        local = None if path is None else local_path(path)
        where = path if local is None else str(local)
        yield spark_frame(session, connection=conn_id, table=table, query=query, path=where, format=format)


def spark_address(conn_id: str) -> SparkAddress:
    """Return where Spark is.

    A connection of type ``spark`` holds the master as its host and port, as in ``local[*]`` or ``spark://host`` with
    7077; one of type ``spark_connect`` names a server of Spark Connect. The extra ``spark_config`` is a mapping of
    Spark's options.

    :raises SpecificationError: if there is no such connection, or it has no host
    """
    from airflow_mlops.adapters.tables.spark import SparkAddress

    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowException as error:
        raise SpecificationError("spark_conn_id", conn_id, f"the id of an Airflow connection: {error}") from error
    host = connection.host or ""
    if not host:
        raise SpecificationError("spark_conn_id", conn_id, "a connection with a host, such as local[*]")
    options = connection.extra_dejson.get(_CONFIGURATION) or {}
    where = f"{host}:{connection.port}" if connection.port else host
    if connection.conn_type != _REMOTE_TYPE:
        return SparkAddress(master=where, options=dict(options))
    where = where.removeprefix("sc://")
    token = f"/;token={connection.password}" if connection.password else ""
    return SparkAddress(remote=f"sc://{where}{token}", options=dict(options))
