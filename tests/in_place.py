"""The suite of every engine that judges rows where they lie, as functions of the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.validation.report import RuleResult
from airflow_mlops.validation.source import TableFacts
from airflow_mlops.validation.spec import parse_suite
from airflow_mlops.verdict import Verdict
from tests.validation_rules import COLUMNS, ROWS, TABLE, document

__all__ = ["Engine", "checks", "fill", "sql_engine", "sqlite_engine"]

Judge = Callable[..., tuple[TableFacts, tuple[RuleResult, ...]]]


@dataclass(frozen=True)
class Engine:
    """An engine with the table ``Rows`` and the empty table ``Empty``.

    :param judge: ``judge(suite, table=…)`` or ``judge(suite, query=…)``
    :param type_name: how it calls the type of ``delay``
    :param quote: what it sets around names
    """

    judge: Judge
    type_name: str
    quote: str = '"'


def _judge(engine: Engine, *rules: tuple[str, dict[str, Any]], **what: Any) -> tuple[RuleResult, ...]:
    options = {name: what.pop(name) for name in ("example_rows",) if name in what}
    return engine.judge(parse_suite(document(*rules)), **(what or {"table": "Rows"}), **options)[1]


def counts_are_those_of_the_rows(engine: Engine) -> None:
    found = _judge(engine, *(rule for rule, _, _ in ROWS))

    assert [(a.rule.label, a.passed, a.unexpected_count, a.rows, a.error) for a in found] == [
        (a.rule.label, passed, broken, 21, None) for a, (_, passed, broken) in zip(found, ROWS, strict=True)
    ]


def rules_about_the_table_count_no_rows(engine: Engine) -> None:
    of_type = ("column_values_to_be_of_type", {"column": "delay", "type_": engine.type_name})
    found = _judge(engine, *(rule for rule, _ in TABLE), of_type)

    assert [(a.passed, a.unexpected_count) for a in found] == [(passed, None) for _, passed in [*TABLE, (None, True)]]


def a_query_is_judged_like_a_table(engine: Engine) -> None:
    facts, found = engine.judge(
        parse_suite(document(("column_values_to_be_between", {"column": "number", "max_value": 9}))),
        query=f"SELECT id, number FROM {engine.quote}Rows{engine.quote} "
        "WHERE number < 15 AND ':a' <> '50%' -- to be continued",
    )

    assert (facts.rows, list(facts.columns)) == (15, ["id", "number"])
    assert (found[0].unexpected_count, found[0].rows) == (5, 15)


def a_missing_column_is_an_error_that_names_it(engine: Engine) -> None:
    missing, kept = _judge(
        engine,
        ("column_values_to_be_unique", {"column": "carrier"}),
        ("column_values_to_be_unique", {"column": "number"}),
    )

    assert (missing.verdict, missing.error) == (Verdict.ERROR, "the column 'carrier' is missing")
    assert kept.passed


def an_exception_spares_the_other_rules(engine: Engine) -> None:
    crashed, kept, counted = _judge(
        engine,
        ("column_values_to_be_between", {"column": "id", "min_value": 0}),
        ("column_values_to_be_unique", {"column": "number"}),
        ("column_values_to_not_be_null", {"column": "id"}),
    )

    assert crashed.verdict is Verdict.ERROR
    assert crashed.error
    assert kept.passed
    assert counted.unexpected_count == 4


def nothing_is_judged_without_rows(engine: Engine) -> None:
    facts, found = engine.judge(parse_suite(document(TABLE[0][0])), table="Empty")

    assert (facts.rows, found) == (0, ())


def examples_are_the_most_frequent_and_can_be_switched_off(engine: Engine) -> None:
    rule = ("column_values_to_be_in_set", {"column": "id", "value_set": ["a2"]})
    most = ("column_max_to_be_between", {"column": "delay", "max_value": 3})

    shown, _ = _judge(engine, rule, most, example_rows=2)
    hidden, maximum = _judge(engine, rule, most, example_rows=0)

    assert sorted((example.value, example.count) for example in shown.examples) == [("a1", 4), ("b1", 4)]
    assert (hidden.unexpected_count, hidden.examples, maximum.passed, maximum.observed) == (9, (), False, None)


def what_would_check_less_is_refused(engine: Engine) -> None:
    for kind, kwargs in (
        ("column_values_to_be_in_sett", {"column": "id"}),
        ("column_values_to_be_unique", {"colum": "id"}),
    ):
        with pytest.raises(SpecificationError, match=r"s\.rules\[0\]"):
            _judge(engine, (kind, kwargs))


def checks() -> list[Callable[[Engine], None]]:
    """Give all of them."""
    return [
        counts_are_those_of_the_rows,
        rules_about_the_table_count_no_rows,
        a_query_is_judged_like_a_table,
        a_missing_column_is_an_error_that_names_it,
        an_exception_spares_the_other_rules,
        nothing_is_judged_without_rows,
        examples_are_the_most_frequent_and_can_be_switched_off,
        what_would_check_less_is_refused,
    ]


def fill(url: str, tables: Mapping[str, Mapping[str, Sequence[Any]]] | None = None) -> None:
    """Write tables into a database; the one that all checks know, unless others are given."""
    import sqlalchemy as sa

    kinds = {"id": sa.Text, "flight": sa.Text, "number": sa.Integer}
    engine = sa.create_engine(url)
    for name, columns in (tables or {"Rows": COLUMNS, "Empty": {key: [] for key in COLUMNS}}).items():
        table = sa.Table(name, sa.MetaData(), *(sa.Column(key, kinds.get(key, sa.Float)()) for key in columns))
        table.create(engine)
        rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        if rows:
            with engine.begin() as connection:
                connection.execute(table.insert(), rows)
    engine.dispose()


def sql_engine(url: str, type_name: str) -> Engine:
    """Give the engine of a database that :func:`fill` has filled."""
    from airflow_mlops.adapters.tables.sql import SqlTable
    from airflow_mlops.adapters.validators.great_expectations_sql import GreatExpectationsSqlBackend

    def judge(suite: Any, example_rows: int = 5, **what: Any) -> tuple[TableFacts, tuple[RuleResult, ...]]:
        table = SqlTable(url, connection="warehouse", **what)
        try:
            return GreatExpectationsSqlBackend(table).validate(suite, example_rows=example_rows)
        finally:
            table.close()

    return Engine(judge, type_name)


@contextmanager
def sqlite_engine(folder: Path) -> Iterator[Engine]:
    """Give SQLite."""
    url = f"sqlite:///{folder}/rows.db"
    fill(url)
    yield sql_engine(url, "FLOAT")
