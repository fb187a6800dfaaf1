"""Which rows go aside, and that none is lost."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.quarantine import Separation, assign, plan_quarantine
from airflow_mlops.validation.report import RuleResult, ValidationReport, judge
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec

UNIQUE = RuleSpec(type="expect_column_values_to_be_unique", kwargs={"column": "id"})
BOUND = RuleSpec(type="expect_column_values_to_be_between", kwargs={"column": "delay", "max_value": 9})
SOFT = RuleSpec(type="expect_column_values_to_not_be_null", kwargs={"column": "temp"}, severity="warning")
NOTE = RuleSpec(type="expect_column_values_to_not_be_null", kwargs={"column": "wind"}, severity="info")
TABLE = RuleSpec(type="expect_table_row_count_to_be_between", kwargs={"min_value": 9})
SOFT_TABLE = RuleSpec(type="expect_column_mean_to_be_between", kwargs={"column": "temp"}, severity="warning")


def dataset(rows: int = 100) -> DatasetRef:
    return DatasetRef(uri="file:///d", digest="sha256:" + "0" * 64, format="parquet", size_bytes=9, rows=rows)


def report(*rules: RuleSpec, broken: int = 2) -> ValidationReport:
    about_table = (TABLE, SOFT_TABLE)
    results = [
        RuleResult(rule=rule, passed=False)
        if rule in about_table
        else RuleResult(rule=rule, passed=False, rows=100, unexpected_count=broken)
        for rule in rules
    ]
    return judge(SuiteSpec(name="s", rules=rules), dataset(), results)


@pytest.mark.parametrize(
    ("rules", "warnings", "positions"),
    [
        ((UNIQUE, SOFT, NOTE), False, (0,)),
        ((UNIQUE, SOFT, NOTE), True, (0, 1)),
        ((SOFT, NOTE), False, ()),
        ((BOUND, SOFT_TABLE), True, (0,)),
    ],
)
def test_severity_decides_which_rows_go_aside(rules, warnings, positions):
    plan = plan_quarantine(report(*rules), warnings=warnings)

    assert (plan.positions, plan.obstacle) == (positions, None)


def test_a_critical_rule_about_the_table_cannot_be_mended():
    plan = plan_quarantine(report(UNIQUE, TABLE), warnings=False)

    assert plan.positions == ()
    assert plan.obstacle == (
        "row count to be between: this rule is about the table, there are no rows to set aside for it"
    )


def test_nothing_is_set_aside_where_something_could_not_be_evaluated():
    results = [
        RuleResult(rule=BOUND, passed=False, rows=100, unexpected_count=1),
        RuleResult(rule=UNIQUE, passed=None, error="it broke"),
    ]
    found = judge(SuiteSpec(name="s", rules=(BOUND, UNIQUE)), dataset(), results)

    assert plan_quarantine(found, warnings=False).obstacle == "not every rule could be evaluated"


def test_a_row_keeps_every_rule_that_it_broke():
    bad = assign(report(UNIQUE, BOUND), {0: [7, 3], 1: [7, 50]}, max_share=0.5)

    assert list(bad) == [3, 7, 50]
    assert bad[7] == ("rules[0] id: values to be unique", "rules[1] delay: values to be between")


@pytest.mark.parametrize("rows", [[3], [3, 3], [3, 100], [-1, 3], [1, 2, 3]])
def test_rows_that_are_not_those_that_were_counted_are_refused(rows):
    with pytest.raises(ContractError, match="2 rows were counted as broken"):
        assign(report(UNIQUE), {0: rows}, max_share=0.5)


@pytest.mark.parametrize("share", [0, -0.1, 1.1, "half", True])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(SpecificationError, match="max_bad_share"):
        assign(report(UNIQUE), {0: [1, 2]}, max_share=share)


def test_a_lost_row_is_an_error():
    with pytest.raises(ContractError, match="100 rows were separated, but 90 good and 9 bad rows were written"):
        Separation(source=dataset(), good=dataset(90), bad=dataset(9), broken={})
