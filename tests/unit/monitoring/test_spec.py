"""Policies and reference profiles."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.monitoring.spec import MonitorPolicy, ReferenceProfile, parse_policy, parse_reference

DAY = {"day": "2013-04-01", "rows": 4, "label_sum": 1, "prediction_sum": 0.9, "brier_sum": 0.7}
PROFILE = {"rows": 4, "label_rate": 0.25, "mean_prediction": 0.225, "brier": 0.175, "by_day": [DAY]}


def test_a_policy_round_trips():
    policy = parse_policy({"min_rows": 1000, "calibration_gap": 0.02})

    assert decode(MonitorPolicy, encode(policy)) == policy


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"min_rows": 1000}, "policy: .* at least one limit: a policy without checks shows nothing"),
        ({"min_rows": 0, "calibration_gap": 0.02}, "policy.min_rows: 0 is not accepted; expected 2 or more"),
        ({"min_rows": 9, "calibration_gap": 0}, "policy.calibration_gap: .* a number between 0 and 1"),
        ({"min_rows": 9, "score_shift": 0.1, "confidence": 95}, "policy.confidence: 95.* between 0.5 and 1"),
        ({"min_rows": 9, "score_shift": 0.1, "min_days": 1}, "policy.min_days: 1 is not accepted"),
        ({"min_rows": 9, "score_shift": 0.1, "min_labelled_share": 2}, "a share between 0 and 1"),
        ({"min_rows": 9, "score_shift": 0.1, "day_characters": 0}, "policy.day_characters: 0"),
        ({"min_rows": 9, "calibration": 0.1}, r"policy.calibration: .* did you mean 'calibration_gap'\?"),
        ({"calibration_gap": 0.1}, "policy.min_rows: None is not accepted; expected a value"),
    ],
)
def test_a_policy_that_could_pass_without_evidence_is_refused(document, message):
    with pytest.raises(SpecificationError, match=message):
        parse_policy(document)


def test_a_reference_is_read_from_a_report_or_alone():
    alone = parse_reference(PROFILE)

    assert parse_reference({"reference": PROFILE, "metrics": {}}) == alone
    assert alone.by_day[0].rows == 4


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"metrics": {}}, "reference.metrics: .* no such field"),
        ({"reference": {**PROFILE, "rows": 0}}, "reference.rows: 0 is not accepted"),
        ({"reference": {**PROFILE, "rows": 9}}, "reference.by_day: 4 is not accepted; expected days that hold 9 rows"),
        (
            {"reference": None},
            "reference.reference: None .* the evaluation of a classification; this one has no reference",
        ),
        ({"reference": None, "unreferenced": "a ranking"}, "reference.reference: None .* classification; a ranking"),
    ],
)
def test_a_broken_reference_is_refused(document, message):
    with pytest.raises(SpecificationError, match=message):
        parse_reference(document)


def test_a_policy_says_whether_it_compares():
    assert not MonitorPolicy(min_rows=9, calibration_gap=0.1).needs_reference
    assert MonitorPolicy(min_rows=9, brier_increase=0.1).needs_reference
    assert ReferenceProfile(rows=1, label_rate=0, mean_prediction=0, brier=0).by_day == ()


def test_a_reference_is_what_an_evaluation_report_holds():
    from airflow_mlops.evaluation.report import DayReference, Reference

    day = DayReference(day="2013-04-01", rows=4, label_sum=1, prediction_sum=0.9, brier_sum=0.7)
    written = Reference(rows=4, label_rate=0.25, mean_prediction=0.225, brier=0.175, by_day=(day,))

    assert encode(parse_reference({"reference": encode(written)})) == encode(written)
