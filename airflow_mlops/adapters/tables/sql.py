"""Tables and queries of a database, through SQLAlchemy: columns, number of rows, and the way in for who asks more.

Rows stay in the database. What goes wrong is told without the statement's parameters and without credentials.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError, TransientAdapterError
from airflow_mlops.validation.source import TableFacts

__all__ = ["SqlTable"]

_LONGEST_MESSAGE = 400
#: SQLSTATE classes that another try cannot mend: authorisation, syntax or missing objects.
_FINAL_STATES = ("28", "42", "3D", "3F")

_UNKNOWN = "UNKNOWN"


class SqlTable:
    """A table, a view or the result of a query.

    :param url: SQLAlchemy's URL; it is shown nowhere
    :param connection: name of the connection, for messages
    :param table: name of the table, as the database writes it
    :param schema: schema of the table, None for the database's default
    :param query: a SELECT statement, instead of a table
    :raises SpecificationError: unless there is exactly one of table and query
    """

    def __init__(
        self,
        url: Any,
        *,
        connection: str,
        table: str | None = None,
        schema: str | None = None,
        query: str | None = None,
    ) -> None:
        if bool(table) == bool(query):
            raise SpecificationError("table", table, "a table or a query, one of the two")
        if query and schema:
            raise SpecificationError("schema", schema, "nothing with a query, whose text names schemas itself")
        if query and not re.match(r"\s*(select|with)\s", query, re.IGNORECASE):
            raise SpecificationError("query", query, "a statement that begins with SELECT or WITH")
        self._url = url
        self.connection = connection
        self.table = table or None
        self.schema = schema or None
        self.query = query.strip().rstrip(";").rstrip() if query else None

    @property
    def name(self) -> str | None:
        """The table with its schema, None for a query."""
        return self.table if self.schema is None else f"{self.schema}.{self.table}"

    @cached_property
    def engine(self) -> Any:
        """SQLAlchemy's engine; it hides the parameters of statements.

        :raises PermanentAdapterError: if the driver is not installed, or there is no such kind of database
        """
        try:
            import sqlalchemy
        except ModuleNotFoundError as error:
            raise PermanentAdapterError(
                "data in a database need SQLAlchemy, which is not installed; install airflow-mlops[sql]"
            ) from error
        with self.guarded():
            url = sqlalchemy.make_url(self._url)
            file = url.database if url.get_backend_name() == "sqlite" else None
            # SQLite would make an empty database of a wrong path.
            if file and file != ":memory:" and not file.startswith("file:") and not Path(file).is_file():
                raise PermanentAdapterError(f"connection {self.connection!r}: there is no SQLite database at {file}")
            return sqlalchemy.create_engine(url, hide_parameters=True, pool_pre_ping=True)

    @cached_property
    def columns(self) -> list[dict[str, Any]]:
        """Columns in order, each with ``name`` and SQLAlchemy's ``type``; a query's types are not known.

        :raises PermanentAdapterError: if there is no such table, or the query is refused
        :raises TransientAdapterError: if the database cannot be reached
        """
        import sqlalchemy

        with self.guarded():
            if self.query is None:
                return self._reflected(sqlalchemy.inspect(self.engine))
            nothing = sqlalchemy.select(sqlalchemy.text("*")).select_from(self.selectable).where(sqlalchemy.false())
            with self.engine.connect() as connection:
                names = list(connection.execute(nothing).keys())
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise SpecificationError("query", self.query, f"columns with names of their own; twice: {doubled}")
        return [{"name": name, "type": _unknown_type(), "nullable": True} for name in names]

    @cached_property
    def selectable(self) -> Any:
        """What stands behind FROM."""
        import sqlalchemy

        if self.query is None:
            columns = [sqlalchemy.Column(column["name"], column["type"]) for column in self.columns]
            name = sqlalchemy.quoted_name(str(self.table), quote=True)
            schema = None if self.schema is None else sqlalchemy.quoted_name(self.schema, quote=True)
            return sqlalchemy.Table(name, sqlalchemy.MetaData(), *columns, schema=schema)
        # A colon that stands alone would name a parameter. A comment at the end must not swallow the bracket.
        literal = re.sub(r"(?<!:):(?=\w)", r"\\:", self.query)
        return sqlalchemy.text(f"{literal}\n").columns().subquery("rows_of_query")

    def describe(self) -> TableFacts:
        """Count the rows and read the schema.

        :raises PermanentAdapterError: if there is no such table, or the query is refused
        :raises TransientAdapterError: if the database cannot be reached
        """
        columns = {column["name"]: self._type(column["type"]) for column in self.columns}
        return TableFacts(rows=self.count(), columns=columns)

    def count(self) -> int:
        """Count the rows as they are now."""
        import sqlalchemy

        statement = sqlalchemy.select(sqlalchemy.func.count()).select_from(self.selectable)
        with self.guarded(), self.engine.connect() as connection:
            return int(connection.execute(statement).scalar_one())

    def close(self) -> None:
        """Close all connections."""
        if "engine" in self.__dict__:
            self.engine.dispose()

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Translate the database's errors.

        :raises PermanentAdapterError: for what another try cannot mend
        :raises TransientAdapterError: for everything else, above all a database that cannot be reached
        """
        from sqlalchemy import exc

        try:
            yield
        except (exc.ArgumentError, exc.NoSuchModuleError, ImportError) as error:
            raise PermanentAdapterError(
                f"connection {self.connection!r}: its type, host and extras make no database that can be opened: "
                f"{self._safe(error)}"
            ) from None
        except exc.ProgrammingError as error:
            raise PermanentAdapterError(f"connection {self.connection!r}: {self._safe(error)}") from None
        except exc.SQLAlchemyError as error:
            final = _state(error).startswith(_FINAL_STATES) or "no such" in str(getattr(error, "orig", ""))
            kind = PermanentAdapterError if final else TransientAdapterError
            raise kind(f"connection {self.connection!r}: {self._safe(error)}") from None
        except OSError as error:
            raise TransientAdapterError(f"connection {self.connection!r}: {self._safe(error)}") from None

    def _reflected(self, inspector: Any) -> list[dict[str, Any]]:
        from sqlalchemy import exc

        try:
            found = inspector.get_columns(self.table, schema=self.schema)
        except exc.NoSuchTableError:
            found = []
        if found:
            return [dict(column) for column in found]
        names = [*inspector.get_table_names(schema=self.schema), *inspector.get_view_names(schema=self.schema)]
        near = difflib.get_close_matches(str(self.table), names, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; there are {len(names)} others"
        raise PermanentAdapterError(f"connection {self.connection!r}: there is no table {self.name!r}{hint}")

    def _type(self, declared: Any) -> str:
        from sqlalchemy.types import NullType

        if isinstance(declared, NullType):
            return ""
        text = str(declared.compile(dialect=self.engine.dialect))
        return "" if text == _UNKNOWN else text

    def _safe(self, error: BaseException) -> str:
        """Tell what happened in one line without the password, the statement or its parameters."""
        cause = getattr(error, "orig", None) or error
        said = str(_fields(cause).get("M") or cause) or type(cause).__name__
        text = " ".join(said.split("[SQL:")[0].split())
        for secret in _secrets(self._url):
            text = text.replace(secret, "***")
        return text[:_LONGEST_MESSAGE]


def _unknown_type() -> Any:
    """Make a type for columns of a query that, unlike SQLAlchemy's own, every dialect can name."""
    from sqlalchemy.types import UserDefinedType

    class Unknown(UserDefinedType[Any]):
        cache_ok = True

        def get_col_spec(self, **_options: Any) -> str:
            return _UNKNOWN

    return Unknown()


def _state(error: Any) -> str:
    """SQLSTATE of an error, as the drivers tell it; empty if they do not."""
    cause = getattr(error, "orig", None)
    return str(getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or _fields(cause).get("C") or "")


def _fields(cause: Any) -> Mapping[str, Any]:
    """Fields of an error of pg8000."""
    first: Any = next(iter(getattr(cause, "args", ())), None)
    return first if isinstance(first, Mapping) else {}


def _secrets(url: Any) -> list[str]:
    """Texts that must not be shown: the URL itself, the password and values of the query part."""
    from urllib.parse import quote, quote_plus

    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return [str(url)]
    password = str(parsed.password or "")
    return [text for text in {password, quote(password), quote_plus(password)} if text]
