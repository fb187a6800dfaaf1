"""Databases by their Airflow connections."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowException

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.hooks.places import note_database

if TYPE_CHECKING:
    from airflow.sdk import Connection
    from sqlalchemy import URL

    from airflow_mlops.adapters.tables.sql import SqlTable

__all__ = ["open_table", "sqlalchemy_url"]

#: Connection types that SQLAlchemy calls otherwise.
_NAMES = {"postgres": "postgresql"}
#: Drivers in the order in which they are tried where the connection names none.
_DRIVERS = {"postgresql": ("psycopg", "psycopg2", "pg8000")}
_SCHEME = "sqlalchemy_scheme"


def open_table(
    conn_id: str,
    *,
    table: str | None = None,
    schema: str | None = None,
    query: str | None = None,
    connection: Connection | None = None,
) -> SqlTable:
    """Open a table or a query; nothing is connected yet.

    :param conn_id: the Airflow connection
    :param table: name of the table
    :param schema: schema of the table, None for the database's default
    :param query: a SELECT statement, instead of a table
    :param connection: the connection, if it was read already
    :raises SpecificationError: if there is no such connection, or not exactly one of table and query
    """
    from airflow_mlops.adapters.tables.sql import SqlTable

    return SqlTable(sqlalchemy_url(conn_id, connection), connection=conn_id, table=table, schema=schema, query=query)


def sqlalchemy_url(conn_id: str, connection: Connection | None = None) -> URL:
    """Return SQLAlchemy's URL of a connection.

    Where the provider of the connection's type is installed, its hook says it, and which extras count. Else it is
    made of the connection: host (of SQLite, the file), port, login, password and schema (the database); all extras
    become parameters of the URL. The extra ``sqlalchemy_scheme`` names dialect and driver, as in
    ``postgresql+pg8000``.

    :param connection: the connection, if it was read already
    :raises SpecificationError: if there is no such connection
    :raises PermanentAdapterError: if SQLAlchemy is not installed
    """
    if find_spec("sqlalchemy") is None:
        raise PermanentAdapterError("data in a database need SQLAlchemy; install airflow-mlops[sql]")
    try:
        connection = connection or BaseHook.get_connection(conn_id)
    except AirflowException as error:
        raise SpecificationError("sql_conn_id", conn_id, f"the id of an Airflow connection: {error}") from error
    url = _url(connection)
    note_database(conn_id, url)
    return url


def _url(connection: Any) -> URL:
    scheme = connection.extra_dejson.get(_SCHEME)
    url = _from_hook(connection)
    if url is None:
        return _from_fields(connection, scheme)
    if scheme or "+" not in url.drivername:
        url = url.set(drivername=scheme or _with_driver(url.drivername))
    # What Airflow wants of a connection is no parameter of the database.
    return url.difference_update_query([_SCHEME, "__extra__"])


def _from_hook(connection: Any) -> URL | None:
    """URL as the installed provider says it; None if there is none, or it says none."""
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime

    if ProvidersManagerTaskRuntime().hooks.get(connection.conn_type) is None:
        return None
    try:
        url: URL = connection.get_hook().sqlalchemy_url
    except (NotImplementedError, AttributeError, ImportError):
        return None
    return url


def _from_fields(connection: Any, scheme: str | None) -> URL:
    from sqlalchemy import URL

    name = scheme or _with_driver(_NAMES.get(connection.conn_type, connection.conn_type))
    if name.split("+")[0] == "sqlite":
        return URL.create(name, database=connection.host or connection.schema or None)
    others = {key: str(value) for key, value in connection.extra_dejson.items() if key != _SCHEME}
    return URL.create(
        name,
        username=connection.login or None,
        password=connection.password or None,
        host=connection.host or None,
        port=connection.port,
        database=connection.schema or None,
        query=others,
    )


def _with_driver(name: str) -> str:
    installed = [driver for driver in _DRIVERS.get(name, ()) if find_spec(driver) is not None]
    return f"{name}+{installed[0]}" if installed else name
