"""Counts in bins: exact where each value has its own, and close where it has not."""

from __future__ import annotations

from functools import partial

import pytest

from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.ordered_counts import average_precision, binned, counts_by_group, lift, moved_to, quantile

np = pytest.importorskip("numpy")


def rows(count, digits, seed=1):
    generator = np.random.default_rng(seed)
    scores = np.round(generator.random(count), digits)
    return scores, (generator.random(count) < scores).astype(float)


def from_bins(scores, labels, statistic):
    bins, edges = binned(scores, scores[labels == 1])
    one_group = np.zeros(len(scores), dtype="int64")
    counts = [counts_by_group(one_group, 1, bins, len(edges) + 1, chosen) for chosen in (labels, 1 - labels)]
    return float(statistic(np.concatenate(counts, axis=1))[0])


@pytest.mark.parametrize(("count", "digits", "tolerance"), [(300, 2, 1e-12), (300, 9, 1e-12), (50_000, 9, 2e-3)])
def test_average_precision_is_that_of_scikit_learn(count, digits, tolerance):
    metrics = pytest.importorskip("sklearn.metrics")
    scores, labels = rows(count, digits)
    expected = metrics.average_precision_score(labels, scores)
    assert from_bins(scores, labels, average_precision) == pytest.approx(expected, abs=tolerance)


def test_lift_is_the_share_of_positives_at_the_top_over_that_of_all():
    scores, labels = rows(1000, 9)
    first = labels[np.argsort(-scores)[:100]]
    counts = np.concatenate([labels[np.argsort(scores)], 1 - labels[np.argsort(scores)]])[None]
    assert lift(counts, 0.1)[0] == pytest.approx(first.mean() / labels.mean(), abs=1e-12)
    assert from_bins(scores, labels, partial(lift, share=0.1)) == pytest.approx(first.mean() / labels.mean(), abs=0.05)


def test_a_model_that_scores_all_alike_has_no_lift():
    assert from_bins(np.full(100, 0.5), np.arange(100) % 2.0, partial(lift, share=0.1)) == pytest.approx(1.0)


def test_quantiles_from_bins_are_close_to_those_of_the_rows():
    values = np.random.default_rng(3).exponential(size=20_000)
    bins, edges = binned(values, values)
    counts = counts_by_group(np.zeros(len(values), dtype="int64"), 1, bins, len(edges) + 1)
    for share in (0.1, 0.5, 0.9):
        assert quantile(counts, edges, share)[0] == pytest.approx(np.quantile(values, share), rel=0.01)


def test_a_moved_interval_holds_its_number_and_stays_inside_what_there_can_be():
    found = moved_to(0.98, Interval(value=0.97, low=0.9, high=0.995), least=0.0, most=1.0)
    assert (found.low, found.value, found.high) == pytest.approx((0.91, 0.98, 1.0))
