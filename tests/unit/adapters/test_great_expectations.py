"""Great Expectations, made strict. The library takes seconds to import, so all its tests stand here."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")

import yaml  # noqa: E402

from airflow_mlops.adapters.tables.files import load_frame  # noqa: E402
from airflow_mlops.adapters.validators.great_expectations import GreatExpectationsBackend  # noqa: E402
from airflow_mlops.exceptions import ContractError, SpecificationError  # noqa: E402
from airflow_mlops.references import DatasetRef  # noqa: E402
from airflow_mlops.validation.report import RuleResult, judge  # noqa: E402
from airflow_mlops.validation.spec import SuiteSpec, parse_suite  # noqa: E402
from airflow_mlops.verdict import Verdict  # noqa: E402

SUITE = Path(__file__).parents[3] / "dags" / "flights" / "suite.yaml"


def check(tmp_path: Path, frame, *rules, example_rows: int = 5) -> tuple[RuleResult, ...]:
    frame.to_parquet(tmp_path / "rows.parquet")
    suite = parse_suite({"name": "test", "rules": list(rules)})
    backend = GreatExpectationsBackend(load_frame)
    return backend.validate(tmp_path / "rows.parquet", suite, example_rows=example_rows)


def rule(kind: str, **kwargs) -> dict:
    return {"type": f"expect_{kind}", "kwargs": kwargs}


def test_results_stand_in_the_suites_order_with_counts_and_examples(tmp_path):
    frame = pd.DataFrame({"origin": ["EWR", "XXX", "XXX", "YYY"], "delay": [1.0, None, 2.0, 3.0]})

    origins, missing, mean, count = check(
        tmp_path,
        frame,
        rule("column_values_to_be_in_set", column="origin", value_set=["EWR"]),
        rule("column_values_to_not_be_null", column="delay"),
        rule("column_mean_to_be_between", column="delay", min_value=0, max_value=9),
        rule("table_row_count_to_be_between", min_value=1),
    )

    assert (origins.passed, origins.unexpected_count, origins.rows) == (False, 3, 4)
    assert [(one.value, one.count) for one in origins.examples] == [("XXX", 2), ("YYY", 1)]
    assert (missing.passed, missing.unexpected_count, missing.first_rows) == (False, 1, (1,))
    assert missing.examples == ()
    assert (mean.passed, mean.observed) == (True, "2")
    assert (count.passed, count.observed) == (True, "4")


def test_examples_are_bounded_and_can_be_switched_off(tmp_path):
    frame = pd.DataFrame({"id": [f"x{i}" * 60 for i in range(50)]})
    kind = rule("column_values_to_be_in_set", column="id", value_set=["a"])
    distinct = rule("column_distinct_values_to_be_in_set", column="id", value_set=["a"])

    (shown, _), (hidden, hidden_set) = (
        check(tmp_path, frame, kind, distinct, example_rows=3),
        check(tmp_path, frame, kind, distinct, example_rows=0),
    )

    assert len(shown.examples) == 3
    assert all(len(one.value) <= 80 for one in shown.examples)
    assert (hidden.unexpected_count, hidden.examples, hidden.first_rows) == (50, (), ())
    assert hidden_set.observed is None


def test_a_count_that_is_not_of_all_rows_is_not_given(tmp_path):
    frame = pd.DataFrame({"delay": [99_999.0] * 500})

    (found,) = check(tmp_path, frame, rule("column_values_to_be_between", column="delay", max_value=1500))

    assert found.unexpected_count == 500
    assert [(one.value, one.count) for one in found.examples] == [("99999.0", None)]


def test_a_missing_column_is_an_error_that_names_it_and_spares_the_other_rules(tmp_path):
    absent, kept = check(
        tmp_path,
        pd.DataFrame({"a": [1]}),
        rule("column_values_to_be_unique", column="carrier"),
        rule("column_values_to_be_unique", column="a"),
    )

    assert (absent.verdict, absent.error) == (Verdict.ERROR, "the column 'carrier' is missing")
    assert absent.missing_columns == ("carrier",)
    assert kept.passed


def test_an_exception_inside_a_rule_is_an_error_not_a_failure(tmp_path):
    (found,) = check(
        tmp_path, pd.DataFrame({"a": ["x", "y"]}), rule("column_values_to_be_between", column="a", min_value=0)
    )

    assert found.verdict is Verdict.ERROR
    assert found.error


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (rule("column_values_to_be_in_sett", column="a"), "did you mean 'expect_column_values_to_be_in_set'"),
        (rule("column_values_to_be_unique", colum="a"), r"rules\[0\].kwargs: .* extra fields not permitted"),
        (
            rule("column_values_to_be_unique", column="a", mostly=3),
            "mostly ensure this value is less than or equal to 1",
        ),
    ],
)
def test_a_rule_that_would_be_dropped_is_refused(tmp_path, wrong, message):
    with pytest.raises(SpecificationError, match=message):
        check(tmp_path, pd.DataFrame({"a": [1]}), wrong)


def test_all_rows_that_break_rules_are_found(tmp_path):
    frame = pd.DataFrame({"a": [1.0, 2, 2, None] * 200, "b": [1, 1, 1, 9] * 200}, index=range(100, 900))
    frame.to_parquet(tmp_path / "rows.parquet")
    rules = [
        rule("column_values_to_be_unique", column="b"),
        rule("column_values_to_not_be_null", column="a"),
        rule(
            "column_pair_values_a_to_be_greater_than_b",
            column_A="a",
            column_B="b",
            ignore_row_if="either_value_is_missing",
        ),
        rule(
            "column_values_to_be_between",
            column="a",
            max_value=1,
            row_condition='col("b")>0',
            condition_parser="great_expectations",
        ),
        rule("column_mean_to_be_between", column="a", max_value=1),
    ]
    suite, backend = parse_suite({"name": "test", "rules": rules}), GreatExpectationsBackend(load_frame)
    path = tmp_path / "rows.parquet"

    counted = [one.unexpected_count for one in backend.validate(path, suite)]
    found = backend.broken_rows(path, suite, (0, 1, 2, 3))

    assert [len(found[position]) for position in range(4)] == counted[:4] == [800, 200, 200, 400]
    assert found[1] == list(range(3, 800, 4))
    assert found[2] == list(range(0, 800, 4))
    with pytest.raises(ContractError, match="a: mean to be between: the rows that break it cannot be told"):
        backend.broken_rows(path, suite, (4,))


def test_the_library_stays_out_of_the_log(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)

    check(tmp_path, pd.DataFrame({"a": [1]}), rule("column_values_to_be_unique", column="a"))

    assert [one for one in caplog.records if one.name.startswith("great_expectations")] == []


# ---- the suite of the flight pipelines


def flights(rows: int = 1200):
    numbers = range(rows)
    return pd.DataFrame(
        {
            "flight_id": [f"2013-03-{1 + i % 31:02d}-UA-{i}-EWR-0515" for i in numbers],
            "date": [f"2013-03-{1 + i % 31:02d}" for i in numbers],
            "carrier": ["UA", "B6", "DL"] * (rows // 3),
            "origin": ["EWR", "JFK", "LGA"] * (rows // 3),
            "dest": ["IAH", "BOS", "ATL"] * (rows // 3),
            "distance": [1400, 200, 760] * (rows // 3),
            "sched_hour": [5 + i % 18 for i in numbers],
            "sched_minute": [i % 60 for i in numbers],
            "day_of_week": [i % 7 for i in numbers],
            "temp": [30.0 + i % 40 for i in numbers],
            "wind_speed": [float(i % 30) for i in numbers],
            "precip": [0.0 for _ in numbers],
            "visib": [10.0 for _ in numbers],
            "dep_delay": [float(i % 60) for i in numbers],
            "arr_delay": [float(i % 60) for i in numbers],
            "late": [int(i % 60 >= 45) for i in numbers],
        }
    )


@pytest.fixture
def suite() -> SuiteSpec:
    return parse_suite(yaml.safe_load(SUITE.read_text()))


def verdict(tmp_path: Path, suite: SuiteSpec, frame) -> tuple[Verdict, str]:
    frame.to_parquet(tmp_path / "rows.parquet")
    results = GreatExpectationsBackend(load_frame).validate(tmp_path / "rows.parquet", suite)
    dataset = DatasetRef(
        uri="file:///d", digest="sha256:" + "0" * 64, format="parquet", size_bytes=1, rows=len(frame), columns={}
    )
    found = judge(suite, dataset, results)
    return found.verdict, "; ".join(one.reason for one in found.broken)


def test_a_sound_month_only_warns_that_it_is_small(tmp_path, suite):
    found, reason = verdict(tmp_path, suite, flights())

    assert found is Verdict.WARN
    assert reason == "row count to be between: broken; observed 1200"


def test_a_renamed_column_is_an_error_that_names_it(tmp_path, suite):
    found, reason = verdict(tmp_path, suite, flights().rename(columns={"distance": "miles"}))

    assert found is Verdict.ERROR
    assert "the column 'distance' is missing" in reason


def test_impossible_delays_fail(tmp_path, suite):
    frame = flights()
    frame.loc[frame.index % 100 == 0, "dep_delay"] = 99_999.0

    found, reason = verdict(tmp_path, suite, frame)

    assert found is Verdict.FAIL
    assert "dep_delay: values to be between: broken by 12 of 1,200 rows (1.0%)" in reason


@pytest.mark.parametrize("column", ["carrier", "temp"])
def test_thirty_percent_missing_fail(tmp_path, suite, column):
    frame = flights()
    frame.loc[frame.index % 10 < 3, column] = None

    found, reason = verdict(tmp_path, suite, frame)

    assert found is Verdict.FAIL
    assert f"{column}: values to not be null: broken by 360 of 1,200 rows (30.0%)" in reason
