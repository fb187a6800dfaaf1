"""Suites as users write them."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec, check_rule_types, parse_suite

RULE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}


def test_a_suite_round_trips_and_keeps_its_digest():
    suite = parse_suite({"name": "flights", "rules": [RULE, {**RULE, "severity": "warning", "because": "ids join"}]})

    again = decode(SuiteSpec, encode(suite))

    assert again == suite
    assert again.digest == suite.digest


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"name": "s", "rules": []}, "suite.rules: .* at least one rule: a suite without rules shows nothing"),
        ({"name": "", "rules": [RULE]}, "suite.name: '' is not accepted"),
        ({"name": "s"}, "suite.rules: None is not accepted; expected a value: rules is required"),
        ({"name": "s", "rule": [RULE]}, r"suite.rule: .* did you mean 'rules'\?"),
        ({"name": "s", "rules": [{**RULE, "kwarg": {}}]}, r"suite.rules\[0\].kwarg: .* did you mean 'kwargs'\?"),
        ({"name": "s", "rules": [{**RULE, "severity": "fatal"}]}, "one of 'critical', 'warning', 'info'"),
        ({"name": "s", "rules": [RULE, RULE]}, r"suite.rules\[1\]: .* a rule that is not there already"),
        ({"name": "s", "rules": [{"type": ""}]}, "rule.type: '' is not accepted"),
        (["rules"], "suite: .* a mapping with the fields of SuiteSpec"),
        ({"name": "s", "rules": {"a": RULE}}, "suite.rules: .* a list"),
    ],
)
def test_what_is_not_a_suite_is_refused(document, message):
    with pytest.raises(SpecificationError, match=message):
        parse_suite(document)


def test_an_unknown_rule_type_names_the_nearest_one():
    suite = parse_suite({"name": "s", "rules": [RULE, {"type": "expect_column_values_to_be_unik"}]})

    with pytest.raises(SpecificationError, match=r"s.rules\[1\].type: .* mean 'expect_column_values_to_be_unique'\?"):
        check_rule_types(suite, {"expect_column_values_to_be_unique", "expect_column_to_exist"})


def test_a_rule_type_near_to_nothing_lists_what_there_is():
    suite = parse_suite({"name": "s", "rules": [{"type": "zzz"}]})

    with pytest.raises(SpecificationError, match="one of expect_column_to_exist, expect_x"):
        check_rule_types(suite, {"expect_x", "expect_column_to_exist"})


@pytest.mark.parametrize(
    ("kwargs", "columns"),
    [
        ({"column": "a"}, ("a",)),
        ({"column_A": "a", "column_B": "b"}, ("a", "b")),
        ({"column_list": ["a", "b"]}, ("a", "b")),
        ({"min_value": 1}, ()),
    ],
)
def test_a_rule_knows_the_columns_that_it_reads(kwargs, columns):
    assert RuleSpec(type="expect_something", kwargs=kwargs).columns == columns
