"""What rule results mean for a dataset."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.report import RuleResult, UnexpectedValue, failing_facts, judge, summarise, without_values
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec
from airflow_mlops.verdict import Verdict

KEPT = RuleSpec(type="expect_column_values_to_be_unique", kwargs={"column": "id"})
BOUND = RuleSpec(type="expect_column_values_to_be_between", kwargs={"column": "delay", "max_value": 9})
SOFT = RuleSpec(type="expect_column_values_to_not_be_null", kwargs={"column": "temp"}, severity="warning")
NOTE = RuleSpec(type="expect_column_mean_to_be_between", kwargs={"column": "temp"}, severity="info")


def dataset(rows: int = 1000) -> DatasetRef:
    return DatasetRef(uri="file:///d.parquet", digest="sha256:" + "0" * 64, format="parquet", size_bytes=9, rows=rows)


def result(rule: RuleSpec, *, broken: int = 0, **more) -> RuleResult:
    return RuleResult(rule=rule, passed=not broken, rows=1000, unexpected_count=broken, **more)


def report(*results: RuleResult, rows: int = 1000, rules: tuple[RuleSpec, ...] = ()):
    suite = SuiteSpec(name="flights", rules=rules or tuple(one.rule for one in results))
    return judge(suite, dataset(rows), results)


@pytest.mark.parametrize(
    ("results", "verdict"),
    [
        ([result(KEPT), result(BOUND)], Verdict.PASS),
        ([result(KEPT), result(SOFT, broken=3)], Verdict.WARN),
        ([result(KEPT), result(NOTE, broken=3)], Verdict.PASS),
        ([result(SOFT, broken=3), result(BOUND, broken=1)], Verdict.FAIL),
        ([result(BOUND, broken=1), RuleResult(rule=KEPT, passed=None, error="no such column")], Verdict.ERROR),
    ],
)
def test_the_worst_rule_decides(results, verdict):
    assert report(*results).verdict is verdict


def test_a_soft_rule_that_cannot_be_evaluated_is_an_error_too():
    found = report(result(KEPT), RuleResult(rule=SOFT, passed=None, error="it broke"))

    assert found.verdict is Verdict.ERROR


def test_no_rows_are_an_error_whatever_the_rules_say():
    found = report(result(KEPT), rows=0)

    assert found.verdict is Verdict.ERROR
    assert "the dataset has no rows, so nothing was shown about it" in [check.reason for check in found.checks]


def test_nothing_evaluated_is_an_error():
    found = report(rules=(KEPT, BOUND))

    assert found.verdict is Verdict.ERROR
    assert "none of the 2 declared rules was evaluated" in [check.reason for check in found.checks]


def test_a_rule_without_a_result_is_an_error():
    found = report(result(KEPT), rules=(KEPT, BOUND))

    assert found.verdict is Verdict.ERROR
    assert found.checks[-1].reason == "delay: values to be between: the backend gave no result"


def test_the_reason_holds_the_numbers():
    found = report(result(BOUND, broken=12))

    assert found.checks[0].reason == "delay: values to be between: broken by 12 of 1,000 rows (1.2%)"
    assert found.checks[0].value == pytest.approx(0.012)


def test_facts_are_small_and_name_rule_rows_and_examples():
    broken = result(BOUND, broken=12, examples=(UnexpectedValue(value="99999.0", count=12),))

    (fact,) = failing_facts(report(result(KEPT), broken), examples=True)
    (bare,) = failing_facts(report(result(KEPT), broken))

    assert fact == bare | {"examples": ["99999.0"]}
    assert fact["rule"] == "expect_column_values_to_be_between"
    assert (fact["column"], fact["unexpected_count"], fact["rows"]) == ("delay", 12, 1000)


def test_the_summary_counts():
    found = report(result(KEPT), result(BOUND, broken=1), RuleResult(rule=SOFT, passed=None, error="it broke"))

    assert summarise(found) == {"rules": 3, "evaluated": 2, "kept": 1, "broken": 1, "errors": 1, "rows": 1000}


def test_facts_about_the_data_are_final_but_an_exception_is_not():
    crashed = RuleResult(rule=KEPT, passed=None, error="out of memory")
    absent = RuleResult(rule=KEPT, passed=None, error="the column 'id' is missing", missing_columns=("id",))

    assert not report(crashed).is_final
    assert report(absent).is_final
    assert report(crashed, result(BOUND, broken=1)).is_final


def test_a_result_that_contradicts_itself_is_refused():
    with pytest.raises(SpecificationError, match="a text exactly when passed is None"):
        RuleResult(rule=KEPT, passed=True, error="it broke")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("could not convert string to float: 'Ann Lee'", "could not convert string to float: '…'"),
        ('invalid input syntax for type integer: "12 Main St"', 'invalid input syntax for type integer: "…"'),
        ("the column 'delay' is missing", "the column 'delay' is missing"),
        ("'>=' not supported between instances of 'str' and 'int'",) * 2,
        ("max_value 9 of 'expect_column_values_to_be_between'",) * 2,
    ],
)
def test_what_an_exception_quotes_is_taken_out_unless_it_is_of_the_rule(said, shown):
    assert without_values(said, BOUND) == shown
    assert shown in RuleResult(rule=BOUND, passed=None, error=said).reason


def test_a_measured_value_of_a_row_is_no_part_of_the_reason():
    mean = RuleResult(rule=KEPT, passed=False, observed="4.5")
    most = RuleResult(rule=KEPT, passed=False, observed="99999", observed_is_value=True)

    assert mean.reason.endswith("broken; observed 4.5")
    assert "99999" not in most.reason


def test_a_rule_whose_condition_selects_no_row_warns_and_shows_nothing():
    vacuous = RuleResult(rule=BOUND, passed=True, rows=0, unexpected_count=0)

    assert vacuous.verdict is Verdict.WARN
    assert "selects no row" in vacuous.reason
    assert report(result(KEPT), vacuous).verdict is Verdict.WARN
    assert report(vacuous).verdict is Verdict.ERROR
    assert summarise(report(vacuous))["evaluated"] == 0
