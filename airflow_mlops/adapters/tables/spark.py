"""Tables, statements and files as frames of Spark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError

__all__ = ["SparkAddress", "spark_frame", "spark_session"]

_LONGEST_MESSAGE = 400
#: Classes of Spark's errors that another try cannot mend.
_FINAL = ("AnalysisException", "ParseException", "IllegalArgumentException")


@dataclass(frozen=True, kw_only=True)
class SparkAddress:
    """Where Spark is.

    :param master: URL of the master, such as ``local[*]``
    :param remote: URL of a server of Spark Connect, instead of a master; it may hold a token
    :param options: Spark's options
    """

    master: str | None = None
    remote: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def spark_session(address: SparkAddress, *, connection: str) -> Iterator[Any]:
    """Start a session, or use the one that this process has; one that was started here is stopped at the end.

    :param connection: name of the connection, for messages
    :raises PermanentAdapterError: if Spark or Java is not installed
    :raises TransientAdapterError: if Spark cannot be reached
    """
    try:
        from pyspark.errors import PySparkException
        from pyspark.sql import SparkSession
    except ModuleNotFoundError as error:
        raise PermanentAdapterError(
            f"data read by Spark need {error.name}, which is not installed; install airflow-mlops[spark]"
        ) from error
    builder = SparkSession.builder.appName("airflow-mlops")
    builder = builder.remote(address.remote) if address.remote else builder.master(str(address.master))
    for name, value in address.options.items():
        builder = builder.config(name, str(value))
    running = SparkSession.getActiveSession() if not address.remote else None
    try:
        session = builder.getOrCreate()
    except PySparkException as error:
        said = _first_line(error)
        if "JAVA_GATEWAY" in said or "Java gateway" in said:
            raise PermanentAdapterError(f"connection {connection!r}: Spark needs Java: {said}") from error
        raise TransientAdapterError(f"connection {connection!r}: Spark cannot be reached: {said}") from error
    except Exception as error:  # noqa: BLE001 - a Java error, or one of gRPC, has no common class here
        raise TransientAdapterError(
            f"connection {connection!r}: Spark cannot be reached: {_first_line(error)}"
        ) from None
    try:
        yield session
    finally:
        if running is None:
            session.stop()


def spark_frame(
    session: Any,
    *,
    connection: str,
    table: str | None = None,
    query: str | None = None,
    path: str | None = None,
    format: str = "parquet",  # noqa: A002 - the word that references use
) -> Any:
    """Return a frame; nothing of it is read yet but its schema.

    :param table: name of a table of Spark's catalogue
    :param query: a statement, instead of a table
    :param path: files, instead of both; the first line of CSV names the columns
    :raises SpecificationError: unless there is exactly one of the three
    :raises PermanentAdapterError: if there is no such table or path, or the statement is wrong
    """
    from pyspark.errors import PySparkException

    if sum(map(bool, (table, query, path))) != 1:
        raise SpecificationError("table", table, "one of a table, a query and a path")
    try:
        if query:
            return session.sql(query)
        if table:
            return session.table(table)
        if format == "csv":
            return session.read.csv(path, header=True, inferSchema=True)
        return session.read.parquet(path)
    except PySparkException as error:
        final = type(error).__name__ in _FINAL
        kind = PermanentAdapterError if final else TransientAdapterError
        raise kind(f"connection {connection!r}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:_LONGEST_MESSAGE]
