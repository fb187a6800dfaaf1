"""The area under the curve: against the definition, the original formulas, and by simulation."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.delong import auc_difference, auc_interval

np = pytest.importorskip("numpy")


def rows(seed, count=120, ties=False):
    generator = np.random.default_rng(seed)
    labels = (generator.random(count) < 0.3).astype(int)
    first = generator.normal(size=count) + labels
    second = first * 0.6 + generator.normal(size=count) + 0.5 * labels
    return labels, first.round(1) if ties else first, second.round(1) if ties else second


def by_definition(labels, scores):
    """DeLong's structural components from all pairs, as the paper writes them."""
    positive, negative = scores[labels == 1], scores[labels == 0]
    kernel = (positive[:, None] > negative) + 0.5 * (positive[:, None] == negative)
    return kernel.mean(), kernel.mean(axis=1), kernel.mean(axis=0)


@pytest.mark.parametrize("ties", [False, True])
def test_equals_the_definition(ties):
    labels, first, second = rows(5, ties=ties)
    area, positives, negatives = by_definition(labels, first)
    error = math.sqrt(positives.var(ddof=1) / len(positives) + negatives.var(ddof=1) / len(negatives))
    found = auc_interval(labels, first)
    assert (found.value, found.high - found.value) == pytest.approx((area, 1.959964 * error), abs=1e-6)

    other, other_positives, other_negatives = by_definition(labels, second)
    paired = np.cov(positives, other_positives) / len(positives) + np.cov(negatives, other_negatives) / len(negatives)
    error = math.sqrt(paired[0, 0] + paired[1, 1] - 2 * paired[0, 1])
    difference = auc_difference(labels, first, second)
    assert difference.value == pytest.approx(area - other, abs=1e-12)
    assert difference.high - difference.value == pytest.approx(1.959964 * error, abs=1e-6)


def test_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    labels, first, _ = rows(6, count=2000, ties=True)
    assert auc_interval(labels, first).value == pytest.approx(metrics.roc_auc_score(labels, first), abs=1e-12)


def test_hanley_and_mcneil_ratings():
    """J. A. Hanley and B. J. McNeil, Radiology 143 (1982): 109 patients, five ratings, area 0.893."""
    normal, abnormal = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)
    scores = [rating for counts in (normal, abnormal) for rating, count in enumerate(counts) for _ in range(count)]
    labels = [0] * sum(normal) + [1] * sum(abnormal)
    assert auc_interval(labels, scores).value == pytest.approx(0.893, abs=5e-4)


def test_single_rows_as_groups_change_only_the_small_sample_reach():
    labels, first, second = rows(8)
    plain, grouped = auc_difference(labels, first, second), auc_difference(labels, first, second, clusters=range(120))
    # Student's quantile with 119 degrees of freedom instead of the normal one.
    assert (grouped.high - grouped.value) / (plain.high - plain.value) == pytest.approx(1.980100 / 1.959964, abs=1e-6)


def test_difference_covers_on_independent_rows():
    generator, runs, covered = np.random.default_rng(13), 600, 0
    for _ in range(runs):
        labels = (generator.random(200) < 0.3).astype(int)
        common = generator.normal(size=200) + labels
        first, second = common + generator.normal(size=200), common + generator.normal(size=200)
        found = auc_difference(labels, first, second)
        covered += found.low <= 0 <= found.high
    assert covered / runs == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / runs))


def test_groups_keep_the_coverage_that_dependence_takes():
    """30 days of 40 rows; a bad day makes flights late and moves what the scores are worth."""
    generator, runs, days = np.random.default_rng(17), 400, np.repeat(np.arange(30), 40)
    truth, covered, naive = _area_of_the_daily_model(), 0, 0
    for _ in range(runs):
        labels, scores = _daily_model(generator, days)
        plain, grouped = auc_interval(labels, scores), auc_interval(labels, scores, clusters=days)
        naive += plain.low <= truth <= plain.high
        covered += grouped.low <= truth <= grouped.high
    # Thirty groups are few: the interval covers a little less than it says, the one for independent rows far less.
    assert covered / runs > 0.91
    assert naive / runs < 0.75


@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1], [0, 1, 2]])
def test_both_classes_are_needed(labels):
    with pytest.raises(SpecificationError, match=r"labels: .* expected 0 and 1, each at least once"):
        auc_interval(labels, [0.1, 0.2, 0.3])


def test_scores_must_be_finite():
    with pytest.raises(SpecificationError, match="scores: 'not finite' is not accepted"):
        auc_interval([0, 1, 1], [0.1, float("nan"), 0.3])


def test_a_single_positive_row_says_nothing_about_spread():
    with pytest.raises(SpecificationError, match=r"labels: 1 .* each class in at least two groups"):
        auc_interval([0, 1, 0], [0.1, 0.4, 0.3])


def _daily_model(generator, days):
    day = generator.normal(size=days.max() + 1)[days]
    labels = (generator.random(len(days)) < 1 / (1 + np.exp(1 - 1.5 * day))).astype(int)
    return labels, generator.normal(size=len(days)) + day + 0.5 * labels


def _area_of_the_daily_model():
    labels, scores = _daily_model(np.random.default_rng(1), np.arange(400_000))
    return auc_interval(labels, scores).value
