"""The p-value behind an interval: against the tests that made the interval."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.holm import holm
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.interval_p_value import p_value_below
from airflow_mlops.stats.student import student_upper_tail
from airflow_mlops.stats.tango import tango_interval

np = pytest.importorskip("numpy")
stats = pytest.importorskip("scipy.stats")


@pytest.mark.parametrize("bound", [-1.0, -0.2, 0.0, 0.3, 2.0])
def test_it_is_the_p_value_of_the_t_test_behind_the_interval_of_a_mean(bound):
    values = np.random.default_rng(1).normal(size=12)
    found = cluster_mean(values, np.arange(12))
    expected = stats.ttest_1samp(values, bound, alternative="less").pvalue
    assert p_value_below(found, bound, degrees_of_freedom=11) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("degrees", [None, 1, 29])
@pytest.mark.parametrize("confidence", [0.8, 0.95])
def test_at_the_ends_of_any_interval_it_is_the_level_of_one_side(degrees, confidence):
    found = Interval(value=0.2, low=0.1, high=0.5)
    given = {"confidence": confidence, "degrees_of_freedom": degrees}
    assert p_value_below(found, 0.5, **given) == pytest.approx((1 - confidence) / 2)
    assert p_value_below(found, 0.1, **given) == pytest.approx((1 + confidence) / 2)
    assert p_value_below(found, 0.2, **given) == 0.5


def test_an_interval_without_width_knows():
    found = Interval(value=0.2, low=0.2, high=0.2)
    assert [p_value_below(found, bound) for bound in (0.1, 0.2, 0.3)] == [1.0, 0.5, 0.0]


def test_tails_agree_with_scipy_and_need_degrees_of_freedom():
    for degrees in (1, 4, 29, 1000):
        for errors in (-3.0, 0.0, 0.1, 2.0, 20.0):
            expected = stats.t.sf(errors, degrees)
            assert student_upper_tail(errors, degrees) == pytest.approx(expected, rel=1e-9)
    with pytest.raises(SpecificationError, match="degrees_of_freedom"):
        student_upper_tail(1.0, 0)


def test_thirty_slices_of_means_over_few_days_raise_an_alarm_as_rarely_as_promised():
    """Eight days: the tails of the distribution are what matters; the normal one would alarm four times as often."""
    generator, runs, days = np.random.default_rng(3), 2000, 8
    numbers = generator.normal(size=(runs, 30, days))
    values = numbers.mean(axis=2)
    reaches = stats.t.ppf(0.975, days - 1) * numbers.std(axis=2, ddof=1) / np.sqrt(days)
    assert _any_alarm(values, reaches, bound=0.0, degrees=days - 1) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs)
    assert _any_alarm(values, reaches, bound=0.0, degrees=None) > 0.05


@pytest.mark.parametrize("pairs", [200, 1000])
def test_thirty_slices_by_tango_at_the_margin_raise_an_alarm_as_rarely_as_promised(pairs):
    """Ten per cent of the answers differ and the candidate is two points worse, which the margin just allows."""
    generator, runs = np.random.default_rng(5), 1000
    counts = generator.multinomial(pairs, [0.04, 0.06, 0.90], size=(runs, 30))
    known = {}
    for better, worse, _ in counts.reshape(-1, 3):
        if (better, worse) not in known:
            known[better, worse] = p_value_below(tango_interval(int(better), int(worse), pairs), -0.02)
    alarms = [min(holm([known[one[0], one[1]] for one in row])) < 0.025 for row in counts]
    assert np.mean(alarms) <= 0.025 + 3 * np.sqrt(0.025 * 0.975 / runs)


def _any_alarm(values, reaches, *, bound, degrees):
    alarms = 0
    for row, around in zip(values.tolist(), reaches.tolist(), strict=True):
        found = [Interval(value=v, low=v - r, high=v + r) for v, r in zip(row, around, strict=True)]
        alarms += min(holm([p_value_below(one, bound, degrees_of_freedom=degrees) for one in found])) < 0.025
    return alarms / len(values)
