"""Calibration: what is measured, and every verdict of its rule."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.evaluation.calibration import CalibrationReport, CalibrationSpec, measure_calibration
from airflow_mlops.evaluation.calibration_rule import CalibrationRule, judge_calibration
from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def diagnosed(scores):
    return Diagnosed(predict=lambda rows: scores, scores=scores, features={}, path=Path())


def subject(rows=3000, seed=1, wrong=lambda scores: scores, days=30, champion=False):
    """Labels drawn with the probabilities; the candidate answers what ``wrong`` makes of them."""
    generator = np.random.default_rng(seed)
    scores = generator.beta(2, 5, rows)
    labels = (generator.random(rows) < scores).astype(int)
    return Subject(
        rows=None,
        target="late",
        labels=labels,
        days=np.arange(rows) % days,
        candidate=diagnosed(wrong(scores)),
        champion=diagnosed(scores) if champion else None,
    )


def extreme(scores):
    odds = 2.5 * np.log(scores / (1 - scores)) + 0.5
    return 1 / (1 + np.exp(-odds))


def verdicts(report, **rule):
    return {check.name: check.verdict for check in judge_calibration(report, CalibrationRule(**rule))}


ALL = {"maximum_error": 0.05, "maximum_slope_deviation": 0.3, "maximum_intercept": 0.3}


def test_a_calibrated_model_passes_and_an_extreme_one_fails():
    report = measure_calibration(CalibrationSpec(), subject(wrong=extreme, champion=True))
    assert set(verdicts(report, **ALL).values()) == {Verdict.FAIL}
    assert report.candidate.slope.high < 1 < report.champion.slope.high
    assert report.champion.worst_p_value > 0.01 > report.candidate.worst_p_value
    good = replace(report, candidate=report.champion)
    assert set(verdicts(good, **ALL).values()) == {Verdict.PASS}
    assert decode(CalibrationReport, json.loads(canonical_json(encode(report)))) == report


def test_bins_add_up():
    report = measure_calibration(CalibrationSpec(bins=7), subject())
    bins = report.candidate.bins
    assert (len(bins), sum(one.rows for one in bins)) == (7, 3000)
    assert sum(one.rows * one.rate.value for one in bins) == pytest.approx(subject().labels.sum())
    error = sum(one.rows * abs(one.rate.value - one.mean_prediction) for one in bins) / 3000
    assert report.candidate.error.value == pytest.approx(error)
    assert all(one.rate.low <= one.rate.value <= one.rate.high for one in bins)


def test_few_rows_show_nothing_though_the_error_is_large():
    """On 100 rows chance alone brings a perfect model's error above 0.05: no reason to refuse, none to accept."""
    report = measure_calibration(CalibrationSpec(), subject(rows=100))
    (check,) = judge_calibration(report, CalibrationRule())
    assert report.candidate.error.value > 0.05
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "chance may explain that" in check.reason
    assert check.details["more_rows"] > 100


def test_a_significant_error_that_is_small_passes():
    """Enough rows make every deviation significant; one that matters to nobody must not stop a candidate."""
    report = measure_calibration(CalibrationSpec(), subject(rows=60_000, wrong=lambda scores: scores * 1.05))
    assert report.candidate.worst_p_value < 0.01
    assert verdicts(report, maximum_error=0.05) == {"calibration.error": Verdict.PASS}
    assert verdicts(report, maximum_error=0.005) == {"calibration.error": Verdict.FAIL}


def test_the_same_runs_give_the_same_numbers():
    assert measure_calibration(CalibrationSpec(), subject()) == measure_calibration(CalibrationSpec(), subject())


def test_rows_of_their_own_have_no_p_value_of_days():
    assert measure_calibration(CalibrationSpec(), subject(days=3000)).candidate.grouped_p_value is None
    assert measure_calibration(CalibrationSpec(), subject(days=1)).candidate.grouped_p_value is None


def test_what_is_not_measured_is_inconclusive_and_says_what_to_do():
    for check in judge_calibration(None, CalibrationRule(**ALL, severity="warn")):
        assert check.verdict is Verdict.INCONCLUSIVE
        assert "add the section 'calibration' to 'diagnostics'" in check.reason
    constant = measure_calibration(CalibrationSpec(), subject(wrong=lambda scores: np.full_like(scores, 0.3)))
    assert verdicts(constant, maximum_slope_deviation=0.2)["calibration.slope"] is Verdict.INCONCLUSIVE
    numbers = replace(subject(), labels=np.linspace(0, 9, 3000))
    (check,) = judge_calibration(measure_calibration(CalibrationSpec(), numbers), CalibrationRule())
    assert check.verdict is Verdict.INCONCLUSIVE
    assert "a label that is 0 or 1" in check.reason


def test_severity_turns_a_failure_into_a_warning():
    report = measure_calibration(CalibrationSpec(), subject(wrong=extreme))
    assert set(verdicts(report, **ALL, severity="warn").values()) == {Verdict.WARN}


@pytest.mark.parametrize("rows", [100, 500])
def test_the_rule_rarely_refuses_a_calibrated_model(rows):
    """Through measurement and rule, with so small a bound that only the p-value protects the model: 1 % nominal."""
    runs, rule = 80, CalibrationRule(maximum_error=1e-6)
    spec = CalibrationSpec(simulations=400)
    refused = 0
    for seed in range(runs):
        (check,) = judge_calibration(measure_calibration(spec, subject(rows=rows, seed=seed)), rule)
        refused += check.verdict is Verdict.FAIL
    assert refused / runs <= 0.01 + 3 * math.sqrt(0.01 * 0.99 * (1 / runs + 1 / 400))


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (CalibrationRule, {"maximum_error": None}, "at least one of"),
        (CalibrationRule, {"maximum_error": 0.0}, "above 0"),
        (CalibrationRule, {"significance": 1.0}, "between 0 and 1"),
        (CalibrationSpec, {"bins": 1}, "at least 2"),
        (CalibrationSpec, {"simulations": 10}, "at least 200"),
        (CalibrationSpec, {"seed": -1}, "0 or"),
    ],
)
def test_what_makes_no_sense_is_refused(cls, fields, message):
    with pytest.raises(SpecificationError, match=message):
        cls(**fields)
