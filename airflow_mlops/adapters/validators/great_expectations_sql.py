"""Great Expectations on rows in a database: counts and aggregates leave it, and at most a few unexpected values.

The library's own asset for a query reads all of its rows to learn the columns; therefore columns and FROM clause are
given to its engine here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from airflow_mlops.adapters.validators.expectations import (
    Run,
    ephemeral_context,
    evaluate,
    outcomes_of,
    quiet_library,
    raised,
)
from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.validation.report import RuleResult
from airflow_mlops.validation.source import TableFacts
from airflow_mlops.validation.spec import SuiteSpec

__all__ = ["GreatExpectationsSqlBackend", "SqlRows"]

_ABOUT_TYPES = ("expect_column_values_to_be_of_type", "expect_column_values_to_be_in_type_list")


class SqlRows(Protocol):
    """A table or query that can be asked."""

    @property
    def connection(self) -> str:
        """Name of the connection."""

    @property
    def engine(self) -> Any:
        """SQLAlchemy's engine."""

    @property
    def columns(self) -> list[dict[str, Any]]:
        """Columns with ``name`` and SQLAlchemy's ``type``."""

    @property
    def selectable(self) -> Any:
        """What stands behind FROM."""

    def describe(self) -> TableFacts:
        """Count the rows and read the schema."""

    def count(self) -> int:
        """Count the rows as they are now."""


class GreatExpectationsSqlBackend:
    """Evaluates expectations where the rows lie.

    :param rows: the table or query
    """

    def __init__(self, rows: SqlRows) -> None:
        self._rows = rows

    def validate(self, suite: SuiteSpec, *, example_rows: int = 5) -> tuple[TableFacts, tuple[RuleResult, ...]]:
        """Evaluate every rule of the suite; without rows, none.

        :param suite: the rules; their types are names of expectations
        :param example_rows: at most how many distinct unexpected values a result shows; 0 shows none
        :return: what was seen of the table, and one result per rule
        :raises SpecificationError: on an unknown expectation (with the nearest name) or wrong arguments
        :raises PermanentAdapterError: if there is no such table, or the query is refused
        :raises TransientAdapterError: if the database cannot be reached, or the number of rows changed meanwhile
        """
        facts = self._rows.describe()
        if not facts.rows:
            return facts, ()

        def load() -> tuple[list[str], Run]:
            return list(facts.columns), self._run

        with quiet_library():
            results = evaluate(suite, load, example_rows=example_rows)
            # The library listens to the engine from now on, and talks about each connection.
            after = self._rows.count()
        if after != facts.rows:
            raise TransientAdapterError(
                f"connection {self._rows.connection!r}: there were {facts.rows:,} rows before the check and {after:,} "
                "after it, so the rules saw different rows; select rows that do not change any more"
            )
        return facts, tuple(_untyped(facts, result) for result in results)

    def _run(self, expectations: Sequence[Any], form: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        """Ask all at once; where the database refused something, ask those rules again one by one.

        The library joins the counts of many rules to one statement, which one bad rule spoils for all.
        """
        outcomes = self._ask(expectations, form)
        failed = [item for item in expectations if raised(outcomes[item.meta["rule"]])]
        if len(expectations) > 1:
            for item in failed:
                outcomes |= self._ask([item], form)
        return outcomes

    def _ask(self, expectations: Sequence[Any], form: Mapping[str, Any]) -> dict[int, dict[str, Any]]:
        from great_expectations.core.batch import Batch
        from great_expectations.execution_engine import SqlAlchemyExecutionEngine
        from great_expectations.execution_engine.sqlalchemy_batch_data import SqlAlchemyBatchData
        from great_expectations.validator.validator import Validator
        from sqlalchemy import quoted_name, select, text

        engine = SqlAlchemyExecutionEngine(engine=self._rows.engine, create_temp_table=False)
        engine.get_inspector = lambda: _Inspector(self._rows)
        data = SqlAlchemyBatchData(
            execution_engine=engine,
            # Some rules want a statement here, not a table.
            selectable=select(text("*")).select_from(self._rows.selectable),
            create_temp_table=False,
            source_table_name=quoted_name("rows", quote=True),
        )
        validator = Validator(execution_engine=engine, batches=[Batch(data=data)], data_context=ephemeral_context())
        found = validator.graph_validate(
            configurations=[item.configuration for item in expectations],
            runtime_configuration={"result_format": dict(form)},
        )
        return outcomes_of("sql", expectations, [result.to_json_dict() for result in found])


def _untyped(facts: TableFacts, result: RuleResult) -> RuleResult:
    """Call a rule about a type that is not known an error, whatever the library says."""
    unknown = [name for name in result.rule.columns if facts.columns.get(name) == ""]
    if not unknown or result.rule.type not in _ABOUT_TYPES:
        return result
    said = f"the type of {unknown[0]!r} is not known: a query does not tell types, a table or a view does"
    return RuleResult(rule=result.rule, passed=None, error=said)


class _Inspector:
    """Answers the library's questions about the one table there is, without asking the database again."""

    def __init__(self, rows: SqlRows) -> None:
        self._rows = rows
        self.dialect = rows.engine.dialect

    def get_columns(self, table_name: str, schema: str | None = None) -> list[dict[str, Any]]:
        """Columns of the table."""
        del table_name, schema
        return [dict(column) for column in self._rows.columns]

    def get_pk_constraint(self, table_name: str, schema: str | None = None) -> dict[str, Any]:
        """Primary keys decide nothing here."""
        del table_name, schema
        return {"constrained_columns": []}
