"""Great Expectations' own form of a suite: nothing is dropped, and what is unknown is refused."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.validation.spec import RuleSpec, parse_suite

UNIQUE = {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}}


def suite(*expectations: dict, **change) -> dict:
    return {"name": "own", "id": None, "expectations": list(expectations), "meta": {}, "notes": None} | change


def test_every_expectation_becomes_a_rule():
    other = {"type": "expect_column_to_exist", "kwargs": {"column": "a"}, "severity": "warning", "meta": {"x": 1}}

    found = parse_suite(suite(UNIQUE | {"notes": ["It is", "the key."], "id": "7"}, other | {"description": "Needed."}))

    assert (found.name, found.backend) == ("own", "great_expectations")
    assert found.rules == (
        RuleSpec(type=UNIQUE["type"], kwargs={"column": "id"}, because="It is the key."),
        RuleSpec(type="expect_column_to_exist", kwargs={"column": "a"}, severity="warning", because="Needed."),
    )


def test_it_may_be_judged_by_another_backend():
    assert parse_suite(suite(UNIQUE, backend="pandera")).backend == "pandera"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (suite(), "a suite without rules shows nothing"),
        (suite(UNIQUE, UNIQUE), "a rule that is not there already"),
        (suite(UNIQUE, exspectations=[]), "no such field; did you mean 'expectations'?"),
        (suite(UNIQUE | {"severty": "info"}), r"expectations\[0\].severty.*did you mean 'severity'"),
        (suite(UNIQUE | {"severity": "fatal"}), r"rules\[0\].severity"),
        (suite({"kwargs": {}}), "the name of a rule"),
        (suite({"type": "expect_x", "kwargs": {"max_value": {"$PARAMETER": "top"}}}), "there are no parameters here"),
        (suite(UNIQUE, suite_parameters={"top": 1}), "values written in place"),
        (suite("expect_x"), "a mapping with 'type' and 'kwargs'"),
        (suite(expectations={}), "a list of expectations"),
        ({"expectation_suite_name": "old", "expectations": []}, r"written by Great Expectations 1\.x"),
        (suite({"expectation_type": "expect_x", "kwargs": {}}), r"written by Great Expectations 1\.x"),
    ],
)
def test_what_would_check_less_is_refused(document, message):

    with pytest.raises(SpecificationError, match=message):
        parse_suite(document)
