"""How far groups lie apart: what the intervals promise, by simulation, and what they are in plain cases."""

from __future__ import annotations

import functools
import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.spread import Spread
from airflow_mlops.stats.student import student_quantile

np = pytest.importorskip("numpy")

from airflow_mlops.stats.cluster_mean import cluster_mean  # noqa: E402 - numpy is needed
from airflow_mlops.stats.group_rates import rates_by_group  # noqa: E402
from airflow_mlops.stats.simultaneous import pair_tail  # noqa: E402

RUNS = 400


def spread(values, errors, *, days=30, tail=0.0125):
    covariance = [
        [error**2 if one == other else 0.0 for other in range(len(errors))] for one, error in enumerate(errors)
    ]
    return Spread(values=values, covariance=covariance, clusters=[days] * len(values), tail=tail)


@functools.cache
def simulated(truth, days=40, daily=25):
    """Spreads of as many samples: rows of one day share a part of their rate, in all groups."""
    generator = np.random.default_rng(len(truth) + days)
    rates = np.asarray(truth) * generator.gamma(100, 1 / 100, size=(RUNS, days, 1))
    totals = generator.poisson(daily, size=rates.shape)
    hits = generator.binomial(totals, rates)
    found = []
    for one, of in zip(hits, totals, strict=True):
        values, covariance = rates_by_group(one, of)
        tail = pair_tail(values, covariance, beyond=0.025)
        found.append(
            Spread(values=values.tolist(), covariance=covariance.tolist(), clusters=[days] * len(truth), tail=tail)
        )
    return found


def allowed(nominal):
    return nominal + 3 * math.sqrt(nominal * (1 - nominal) / RUNS)


@pytest.mark.parametrize("groups", [2, 5])
def test_groups_that_are_equal_are_rarely_called_different(groups):
    found = simulated((0.3,) * groups)
    assert np.mean([one.difference().low > 0 for one in found]) <= allowed(0.025)
    assert np.mean([one.ratio().high < 1 for one in found]) <= allowed(0.025)
    # The estimate is never 0, however equal the groups; that is why no interval is built around it.
    assert np.mean([one.difference().value for one in found]) > 0.01


@pytest.mark.parametrize("truth", [(0.2, 0.3), (0.2, 0.25, 0.3, 0.3, 0.3), (0.01, 0.03)])
def test_the_true_gap_and_ratio_are_rarely_missed_on_either_side(truth):
    found, gap, ratio = simulated(truth), max(truth) - min(truth), min(truth) / max(truth)
    gaps, ratios = [one.difference() for one in found], [one.ratio() for one in found]
    for intervals, true in ((gaps, gap), (ratios, ratio)):
        assert np.mean([one.low > true for one in intervals]) <= allowed(0.025)
        assert np.mean([one.high < true for one in intervals]) <= allowed(0.025)


def test_a_large_gap_is_found():
    found = simulated((0.2, 0.25, 0.3, 0.3, 0.3))
    assert np.mean([one.difference().low > 0 for one in found]) > 0.9
    assert np.mean([one.ratio().high < 1 for one in found]) > 0.9


def test_two_groups_give_the_plain_interval_of_the_difference():
    found = spread([0.3, 0.5], [0.03, 0.04]).difference()
    assert found.value == pytest.approx(0.2)
    assert found.high == pytest.approx(0.2 + student_quantile(0.95, 29) * 0.05)
    assert found.low == pytest.approx(0.2 - student_quantile(0.975, 29) * 0.05)


def test_a_ratio_whose_larger_number_may_be_nothing_may_be_anything():
    assert spread([0.01, 0.02], [0.02, 0.02]).ratio() == pytest.approx(
        spread([0.01, 0.02], [0.02, 0.02]).ratio().__class__(value=0.5, low=0.0, high=1.0)
    )


def test_an_imprecise_group_in_the_middle_keeps_the_gap_from_being_small():
    assert spread([0.3, 0.32, 0.31], [0.01, 0.01, 0.2]).difference().high > 0.3


def test_more_groups_need_more_to_be_called_different():
    few, many = (pair_tail(np.full(count, 0.3), np.eye(count) * 1e-4, beyond=0.025) for count in (3, 10))
    assert 0.025 / 2 / 45 <= many < few < 0.0125
    # Tukey's studentised range for 10 equal means and 97.5 %, in standard errors of a difference: 4.83 / sqrt(2).
    from statistics import NormalDist

    assert NormalDist().inv_cdf(1 - many) == pytest.approx(3.36, abs=0.06)


def test_a_group_without_hits_is_not_taken_to_be_certain():
    hits, totals = np.array([[0, 3], [0, 4], [0, 2]]), np.full((3, 2), 20)
    rates, covariance = rates_by_group(hits, totals)
    assert rates.tolist() == [0.0, 0.15]
    assert math.sqrt(covariance[0, 0]) > 0.01


def test_the_variances_are_those_of_cluster_robust_means():
    generator = np.random.default_rng(5)
    days, group = np.repeat(np.arange(20), 100), generator.integers(0, 2, size=2000)
    outcome = generator.random(2000) < 0.3 + 0.2 * np.sin(days)
    tables = [
        np.stack(
            [np.bincount(days[group == one], weights=values[group == one], minlength=20) for one in (0, 1)], axis=1
        )
        for values in (outcome.astype(float), np.ones(2000))
    ]
    rates, covariance = rates_by_group(*tables)
    for one in (0, 1):
        found = cluster_mean(outcome[group == one], days[group == one])
        assert rates[one] == pytest.approx(found.value)
        reach = student_quantile(0.95, 19) * math.sqrt(covariance[one, one])
        assert reach == pytest.approx(found.high - found.value)
    # Both groups share their days.
    assert covariance[0, 1] > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spread([0.3], [0.1]), "two or more"),
        (lambda: spread([0.3, 0.4], [0.1, 0.1], days=1), "at least two clusters for each group"),
        (lambda: spread([0.0, 0.0], [0.1, 0.1]).ratio(), "at least one above 0"),
        (lambda: rates_by_group([[1, 0]], [[2, 0]]), "more than 0 in each group"),
        (lambda: rates_by_group([[1, 1]], [[2, 2]]), "clusters: 1 is not accepted; expected at least two"),
    ],
)
def test_what_says_nothing_is_refused(make, message):
    with pytest.raises(SpecificationError, match=message):
        make()
