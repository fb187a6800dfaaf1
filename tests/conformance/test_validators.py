"""What every validation backend has to do; a suite of rules that all of them have means the same to each."""

from __future__ import annotations

from pathlib import Path

import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("great_expectations")
pytest.importorskip("pandera")

from airflow_mlops.adapters.tables.files import load_frame  # noqa: E402
from airflow_mlops.adapters.validators.great_expectations import GreatExpectationsBackend  # noqa: E402
from airflow_mlops.adapters.validators.pandera import PanderaBackend  # noqa: E402
from airflow_mlops.exceptions import ContractError, SpecificationError  # noqa: E402
from airflow_mlops.validation.ports import ValidationBackend  # noqa: E402
from airflow_mlops.validation.report import RuleResult  # noqa: E402
from airflow_mlops.validation.spec import SuiteSpec, parse_suite  # noqa: E402
from airflow_mlops.verdict import Verdict  # noqa: E402
from tests.validation_rules import COLUMNS, ROWS, TABLE, document  # noqa: E402

FRAME = pd.DataFrame({**COLUMNS, "void": pd.Series([None] * 21, dtype="float64")})
#: Names of types are the engine's own.
TYPES = [
    (("column_values_to_be_of_type", {"column": "delay", "type_": "float64"}), True),
    (("column_values_to_be_of_type", {"column": "number", "type_": "float64"}), False),
]


@pytest.fixture(params=[GreatExpectationsBackend, PanderaBackend], scope="module")
def backend(request) -> ValidationBackend:
    return request.param(load_frame)


@pytest.fixture(scope="module")
def rows(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    FRAME.to_parquet(path)
    return path


def suite(*rules: tuple[str, dict]) -> SuiteSpec:
    return parse_suite(document(*rules))


def one(backend: ValidationBackend, rows: Path, kind: str, **kwargs) -> RuleResult:
    (found,) = backend.validate(rows, suite((kind, kwargs)))
    return found


def test_rules_about_rows_count_the_rows_that_break_them(backend, rows):
    asked = suite(*(rule for rule, _, _ in ROWS))

    found = backend.validate(rows, asked)

    assert [(a.rule.label, a.passed, a.unexpected_count, a.rows, a.error) for a in found] == [
        (rule.label, passed, broken, 21, None) for rule, (_, passed, broken) in zip(asked.rules, ROWS, strict=True)
    ]


def test_the_rows_found_are_those_that_were_counted(backend, rows):
    asked = suite(*(rule for rule, _, _ in ROWS))
    positions = [number for number, (_, _, broken) in enumerate(ROWS) if broken]

    found = backend.broken_rows(rows, asked, positions)

    assert {number: len(found[number]) for number in positions} == {number: ROWS[number][2] for number in positions}
    assert sorted(found[0]) == [2, 7, 12, 17]
    assert sorted(found[3]) == sorted(set(range(20)) - {3, 8, 13, 18})


def test_rules_about_the_table_count_no_rows(backend, rows):
    asked = suite(*(rule for rule, _ in [*TABLE, *TYPES]))

    found = backend.validate(rows, asked)

    assert [(a.passed, a.unexpected_count) for a in found] == [(passed, None) for _, passed in [*TABLE, *TYPES]]
    with pytest.raises(ContractError, match="the rows that break it cannot be told"):
        backend.broken_rows(rows, suite(TABLE[7][0]), [0])


def test_a_missing_column_is_an_error_that_names_it(backend, rows):
    found = one(backend, rows, "column_values_to_be_unique", column="carrier")

    assert (found.verdict, found.error) == (Verdict.ERROR, "the column 'carrier' is missing")
    assert found.missing_columns == ("carrier",)


def test_a_rule_that_cannot_be_evaluated_is_an_error_and_spares_the_others(backend, rows):
    crashed, kept = backend.validate(
        rows,
        suite(
            ("column_values_to_be_between", {"column": "id", "min_value": 0}),
            ("column_values_to_be_unique", {"column": "number"}),
        ),
    )

    assert crashed.verdict is Verdict.ERROR
    assert crashed.error
    assert kept.passed


def test_examples_are_the_most_frequent_and_can_be_switched_off(backend, rows):
    asked = suite(("column_values_to_be_in_set", {"column": "id", "value_set": ["a2"]}))

    (shown,) = backend.validate(rows, asked, example_rows=2)
    (hidden,) = backend.validate(rows, asked, example_rows=0)

    assert sorted((example.value, example.count) for example in shown.examples) == [("a1", 4), ("b1", 4)]
    assert shown.first_rows == (0, 4)
    assert (hidden.unexpected_count, hidden.examples, hidden.first_rows) == (9, (), ())


@pytest.mark.parametrize(
    ("kind", "kwargs"),
    [
        ("column_values_to_be_in_sett", {"column": "id"}),
        ("column_values_to_be_unique", {"colum": "id"}),
        ("column_values_to_be_unique", {"column": "id", "mostly": 3}),
        ("column_values_to_be_in_set", {"column": "id", "value_sett": ["a"]}),
        ("column_value_lengths_to_equal", {"column": "id", "value": "two"}),
    ],
)
def test_what_would_check_less_than_was_asked_is_refused(backend, rows, kind, kwargs):
    with pytest.raises(SpecificationError, match=r"s\.rules\[0\]"):
        one(backend, rows, kind, **kwargs)
