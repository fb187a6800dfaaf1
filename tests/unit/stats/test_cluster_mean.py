"""The mean of grouped observations: against a textbook case, the plain t interval, and by simulation."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean

np = pytest.importorskip("numpy")


def test_single_rows_as_groups_give_the_plain_t_interval():
    """W. S. Gosset's sleep data (Biometrika 6, 1908): mean 1.58, 95 % interval 0.7001 to 2.4599."""
    hours = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = cluster_mean(hours, range(10))
    assert (found.value, found.low, found.high) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-6)


def test_groups_of_equal_size_give_the_t_interval_of_their_means():
    values = np.random.default_rng(3).normal(size=(12, 20)) + np.random.default_rng(4).normal(size=(12, 1))
    days = np.repeat([f"2013-01-{day:02d}" for day in range(1, 13)], 20)
    found, of_means = cluster_mean(values.ravel(), days), cluster_mean(values.mean(axis=1), range(12))
    assert (found.low, found.high) == pytest.approx((of_means.low, of_means.high), abs=1e-12)


def test_covers_where_independent_rows_would_not():
    """30 days of 50 rows with a common part each: ignoring the days covers far too rarely."""
    generator, runs = np.random.default_rng(11), 2000
    days, covered, naive = np.repeat(np.arange(30), 50), 0, 0
    for _ in range(runs):
        values = generator.normal(size=1500) + np.repeat(generator.normal(scale=0.5, size=30), 50)
        found = cluster_mean(values, days)
        covered += found.low <= 0 <= found.high
        naive += abs(values.mean()) <= 1.96 * values.std(ddof=1) / math.sqrt(1500)
    assert covered / runs == pytest.approx(0.95, abs=3 * math.sqrt(0.95 * 0.05 / runs))
    assert naive / runs < 0.60


def test_one_group_says_nothing():
    with pytest.raises(SpecificationError, match=r"clusters: \['2013-01-01'\] .* at least two groups"):
        cluster_mean([1.0, 2.0], ["2013-01-01"] * 2)


def test_lengths_must_agree():
    with pytest.raises(SpecificationError, match=r"clusters: '3 rows' .* as many rows as there are values, 2"):
        cluster_mean([1.0, 2.0], [1, 2, 3])
