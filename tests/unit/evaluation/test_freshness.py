"""Ages, and every verdict of the rule about them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject
from airflow_mlops.evaluation.freshness import FreshnessReport, FreshnessSpec, measure_freshness
from airflow_mlops.evaluation.freshness_rule import FreshnessRule, judge_freshness
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.verdict import Verdict

pd = pytest.importorskip("pandas", reason="rows are a pandas frame; pandas is no dependency of the domain")

SPEC = FreshnessSpec(time_column="at", now="2013-03-02T12:00:00+01:00")
BOTH = {"maximum_evaluation_days": 3.0, "maximum_training_days": 30.0}


def subject(evaluation=("2013-02-27", None, "2013-02-28"), training=("2013-01-31",)):
    return Subject(
        rows=pd.DataFrame({"at": evaluation}),
        target="late",
        labels=None,
        days=None,
        candidate=Diagnosed(predict=len, scores=None, features={}, path=Path()),
        training_rows=None if training is None else pd.DataFrame({"at": training}),
    )


def verdicts(report, **rule):
    return [check.verdict for check in judge_freshness(report, FreshnessRule(**rule))]


def test_ages_count_from_the_moment_that_was_told():
    report = measure_freshness(SPEC, subject())
    assert report.now == "2013-03-02T11:00:00+00:00"
    assert report.evaluation.newest == "2013-02-28T00:00:00+00:00"
    assert report.evaluation.days == pytest.approx(2 + 11 / 24)
    assert verdicts(report, **BOTH) == [Verdict.PASS, Verdict.FAIL]
    assert verdicts(report, maximum_evaluation_days=2.0, maximum_training_days=31.0) == [Verdict.FAIL, Verdict.PASS]
    assert verdicts(report, maximum_evaluation_days=2.0, severity="warn") == [Verdict.WARN]
    assert decode(FreshnessReport, json.loads(canonical_json(encode(report)))) == report


def test_what_is_not_known_is_inconclusive_and_says_what_to_do():
    for report, words in (
        (None, "add the section 'freshness'"),
        (measure_freshness(SPEC, subject(training=None)), "name them as 'training_data'"),
        (measure_freshness(SPEC, replace(subject(), training_rows=pd.DataFrame({"x": [1]}))), "lack the column at"),
        (measure_freshness(SPEC, subject(training=(None,))), "no row has a value"),
        (measure_freshness(SPEC, subject(training=("2013-03-03",))), "lies ahead of 2013-03-02T11:00:00"),
    ):
        (check,) = judge_freshness(report, FreshnessRule(maximum_training_days=30.0, severity="warn"))
        assert check.verdict is Verdict.INCONCLUSIVE
        assert words in check.reason


def test_a_column_that_does_not_serve_is_named():
    with pytest.raises(ContractError, match="lack the column when"):
        measure_freshness(replace(SPEC, time_column="when"), subject())
    with pytest.raises(ContractError, match="holds 20130228, which is no point in time"):
        measure_freshness(SPEC, subject(evaluation=(20130228,)))


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (FreshnessSpec, {"time_column": "at", "now": "yesterday"}, r"freshness\.now: 'yesterday'"),
        (FreshnessSpec, {"time_column": "", "now": "2013-03-01"}, "name of a column"),
        (FreshnessRule, {}, "at least one of"),
        (FreshnessRule, {"maximum_training_days": 0.0}, "above 0"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, fields, message):
    with pytest.raises(SpecificationError, match=message):
        cls(**fields)
