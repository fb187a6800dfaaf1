"""The logistic line: against scikit-learn, and its coverage by simulation."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.calibration_line import calibration_line

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def rows(seed, count=800, slope=1.0, intercept=0.0):
    generator = np.random.default_rng(seed)
    odds = generator.normal(-1, 1.2, count)
    labels = (generator.random(count) < 1 / (1 + np.exp(-(intercept + slope * odds)))).astype(int)
    return labels, 1 / (1 + np.exp(-odds)), odds


def test_equals_scikit_learn():
    linear_model = pytest.importorskip("sklearn.linear_model")
    labels, scores, odds = rows(1, slope=0.7, intercept=0.4)
    slope, intercept = calibration_line(labels, scores)
    model = linear_model.LogisticRegression(C=np.inf, tol=1e-10).fit(odds[:, None], labels)
    assert slope.value == pytest.approx(model.coef_[0, 0], abs=1e-5)
    fitted = 1 / (1 + np.exp(-(odds + intercept.value)))
    assert fitted.sum() == pytest.approx(labels.sum(), abs=1e-6)  # the equation that the intercept solves


def test_says_which_way_probabilities_are_wrong():
    slope, intercept = calibration_line(*rows(2, count=4000, slope=0.5)[:2])
    assert slope.high < 1
    slope, intercept = calibration_line(*rows(3, count=4000, intercept=0.8)[:2])
    assert slope.low < 1 < slope.high
    assert intercept.low > 0


@pytest.mark.parametrize("grouped", [False, True])
def test_intervals_cover_the_truth(grouped):
    """600 samples: three standard errors of 95 % are 2.7 points; sandwich errors are a little short at 400 rows."""
    hits = {"slope": 0, "intercept": 0}
    groups = np.arange(400) % 40 if grouped else None
    for seed in range(600):
        slope, intercept = calibration_line(*rows(seed, count=400)[:2], clusters=groups)
        hits["slope"] += slope.low <= 1 <= slope.high
        hits["intercept"] += intercept.low <= 0 <= intercept.high
    slack = 3 * math.sqrt(0.95 * 0.05 / 600)
    assert all(0.95 - slack <= count / 600 <= 0.95 + slack for count in hits.values())


def test_probabilities_of_exactly_0_and_1_are_measured():
    labels, scores, _ = rows(4)
    slope, _ = calibration_line(labels, np.where(np.arange(800) % 50 == 0, labels, scores))
    assert 0 < slope.value < 1.5


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([0, 0, 0], [0.1, 0.2, 0.3], "each at least once"),
        ([0, 1, 0], [0.2, 0.2, 0.2], "probabilities that differ"),
        ([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9], "do not separate the labels"),
    ],
)
def test_where_no_line_fits_that_is_said(labels, scores, message):
    with pytest.raises(SpecificationError, match=message):
        calibration_line(labels, scores)
