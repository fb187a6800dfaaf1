"""Where the connections lead that this process has used: for lineage, which may ask too late to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from airflow_mlops.governance.lineage_nodes import Place

__all__ = ["known_places", "note_database", "note_server"]

# A task's process uses a handful of connections, and ends with it.
_NOTED: dict[str, tuple[str, str, str]] = {}
#: SQLAlchemy's dialects: OpenLineage's scheme, the port that needs no saying, and the schema that needs none.
_DIALECTS: Mapping[str, tuple[str, int | None, str]] = {
    "postgresql": ("postgres", 5432, "public"),
    "mysql": ("mysql", 3306, ""),
    "mariadb": ("mysql", 3306, ""),
    "mssql": ("sqlserver", 1433, "dbo"),
}


def note_database(conn_id: str, url: Any) -> None:
    """Keep where a database is; nothing of who logs in.

    :param url: SQLAlchemy's
    """
    dialect = url.drivername.partition("+")[0]
    scheme, port, schema = _DIALECTS.get(dialect, (dialect, None, ""))
    if url.host is None:
        # A file is the database.
        _NOTED[conn_id] = (f"{scheme}://{url.database or ''}", "", schema)
        return
    port = url.port or port
    _NOTED[conn_id] = (f"{scheme}://{url.host}{f':{port}' if port else ''}", url.database or "", schema)


def note_server(conn_id: str, scheme: str, address: str) -> None:
    """Keep where a server is; nothing of who logs in.

    :param scheme: what kind of server it is, for its namespace
    :param address: its URL
    """
    _NOTED[conn_id] = (f"{scheme}://{urlsplit(address).netloc.rpartition('@')[2]}", "", "")


def known_places() -> dict[str, Place]:
    """Return where connections lead, by their ids."""
    from airflow_mlops.governance.lineage_nodes import Place

    return {
        conn_id: Place(namespace=namespace, database=database, schema=schema)
        for conn_id, (namespace, database, schema) in _NOTED.items()
    }
