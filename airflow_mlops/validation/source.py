"""Data that are judged where they lie, in a database or by Spark: what names them in reports and evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from airflow_mlops.codec import digest_of
from airflow_mlops.exceptions import SpecificationError

__all__ = ["TableFacts", "TableRef", "reference_to"]


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What was seen of a table without reading its rows.

    :param rows: number of rows
    :param columns: column name to type, in order; a type that the engine does not tell is an empty text
    """

    rows: int
    columns: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class TableRef:
    """Rows that stay in a system which goes on changing; unlike a snapshot they cannot be had again.

    :param uri: ``sql://connection/schema.table``, or with ``query-…`` and the beginning of its digest
    :param digest: ``sha256:…`` of connection, table or query, schema and number of rows; not of the rows themselves
    :param format: ``sql``, ``spark``, or ``batch`` for a batch that Great Expectations reads
    :param connection: the Airflow connection, or ``function`` where one gave the rows; never an address or a credential
    :param table: name of the table, None for a query
    :param query: text of the query, None for a table
    :param rows: number of rows when they were judged
    :param seen_at: when they were judged, in UTC
    :param columns: column name to type, in order
    :param partition: which part of a larger dataset this is
    """

    uri: str
    digest: str
    format: Literal["sql", "spark", "batch"]
    connection: str
    table: str | None
    query: str | None
    rows: int
    seen_at: str
    columns: Mapping[str, str] = field(default_factory=dict)
    partition: str | None = None


def reference_to(
    *,
    kind: Literal["sql", "spark", "batch"],
    connection: str,
    table: str | None,
    query: str | None,
    facts: TableFacts,
    now: str,
) -> TableRef:
    """Name what was seen at a moment.

    :param kind: what holds the rows
    :param table: name of the table, with its schema where it has one; or a path that Spark reads
    :param query: the query, where there is no table
    :param now: when it was seen, as text
    :raises SpecificationError: unless there is exactly one of table and query
    """
    if (table is None) == (query is None):
        raise SpecificationError("table", table, "a table or a query, one of the two")
    what = table if query is None else f"query-{digest_of(query).removeprefix('sha256:')[:12]}"
    seen = {
        "kind": kind,
        "connection": connection,
        "table": table,
        "query": query,
        "rows": facts.rows,
        "columns": dict(facts.columns),
    }
    return TableRef(
        uri=f"{kind}://{connection}/{what}",
        digest=digest_of(seen),
        format=kind,
        connection=connection,
        table=table,
        query=query,
        rows=facts.rows,
        columns=facts.columns,
        seen_at=now,
    )
