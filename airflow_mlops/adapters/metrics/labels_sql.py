"""Labels out of a database: a query that gives id, label and when it arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

from airflow_mlops.adapters.metrics.equal_age import ArrivedLabel
from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["COLUMNS", "Rows", "SqlLabels"]

COLUMNS = ("id", "label", "arrived_at")


class Rows(Protocol):
    """The result of a query in a database, as :class:`airflow_mlops.adapters.tables.sql.SqlTable` has it."""

    connection: str

    @property
    def engine(self) -> Any:
        """SQLAlchemy's engine."""
        ...

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Columns of the query."""
        ...

    @property
    def selectable(self) -> Any:
        """What stands behind FROM."""
        ...

    def guarded(self) -> AbstractContextManager[None]:
        """Translate the database's errors."""
        ...

    def close(self) -> None:
        """Close all connections."""
        ...


class SqlLabels:
    """Looks labels up by their ids, some hundred at a time; an index on the id makes that cheap.

    :param rows: a query with the columns ``id`` (a text, as in the log), ``label`` (0 or 1) and ``arrived_at`` (a
        timestamp, without a time zone in UTC, or seconds since the epoch)
    """

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self._checked = False

    def refresh(self, model_name: str) -> None:  # noqa: ARG002 - the query says whose labels they are
        """Look at the columns once.

        :raises SpecificationError: when one is missing
        :raises TransientAdapterError: when the database does not answer
        """
        if self._checked:
            return
        names = [column["name"] for column in self._rows.columns]
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            raise SpecificationError("query", ", ".join(names), f"a query with the columns {', '.join(COLUMNS)}")
        self._checked = True

    def forget(self, before: float) -> None:
        """Forget nothing, because nothing is remembered."""

    def close(self) -> None:
        """Close the connections: looks are rare, and a database has few."""
        self._rows.close()

    def find(
        self,
        model_name: str,  # noqa: ARG002
        ids: Sequence[str],
    ) -> Mapping[str, Sequence[ArrivedLabel]]:
        """Return the labels of some ids.

        :raises ContractError: when a label or a time is none
        :raises TransientAdapterError: when the database does not answer
        """
        import sqlalchemy

        selectable = self._rows.selectable
        columns: list[Any] = [sqlalchemy.literal_column(name) for name in COLUMNS]
        wanted = sqlalchemy.literal_column(COLUMNS[0], sqlalchemy.String).in_(sorted(set(ids)))
        statement = sqlalchemy.select(*columns).select_from(selectable).where(wanted)
        found: dict[str, list[ArrivedLabel]] = {}
        with self._rows.guarded(), self._rows.engine.connect() as connection:
            rows = connection.execute(statement).all()
        for identifier, label, arrived_at in rows:
            found.setdefault(str(identifier), []).append(self._label(identifier, label, arrived_at))
        return found

    def _label(self, identifier: Any, label: Any, arrived_at: Any) -> ArrivedLabel:
        try:
            number = float(label)
            if number not in (0, 1):
                raise ValueError(f"label is {label!r}, neither 0 nor 1")  # noqa: TRY301 - told like the others
            return ArrivedLabel(arrived_at=_seconds(arrived_at), label=int(number))
        except (ValueError, TypeError) as error:
            raise ContractError(f"connection {self._rows.connection!r}, label of {identifier!r}: {error}") from error


def _seconds(value: Any) -> float:
    if isinstance(value, str):
        # SQLite has no timestamps.
        value = datetime.fromisoformat(value)
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return float(value)
