"""How much more would decide: by hand, and by doing it."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.stats.interval import normal_quantile
from airflow_mlops.stats.sample_size import detectable_difference, size_that_decides
from airflow_mlops.stats.student import student_quantile

np = pytest.importorskip("numpy")
stats = pytest.importorskip("scipy.stats")


def test_half_the_reach_needs_four_times_the_rows():
    assert size_that_decides(1000, 0.02, 0.01, confidence=0.95, grouped=False) == 4000


@pytest.mark.parametrize("groups", [2, 3, 5, 30, 365])
@pytest.mark.parametrize("ratio", [1.0, 1.1, 2.0, 7.0])
@pytest.mark.parametrize("wanted", [0.95, 0.999])
def test_with_groups_it_is_the_smallest_number_by_students_distribution(groups, ratio, wanted):
    found = size_that_decides(groups, ratio * 0.01, 0.01, confidence=0.95, wanted=wanted, grouped=True)

    def reach(count):
        error = ratio * 0.01 / student_quantile(0.95, groups - 1) * math.sqrt(groups)
        return student_quantile(wanted, count - 1) * error / math.sqrt(count)

    assert reach(found) <= 0.01 * (1 + 1e-6)
    assert found == groups or reach(found - 1) > 0.01


def test_fewer_groups_than_rows_suggest_because_students_distribution_narrows_too():
    assert size_that_decides(5, 0.02, 0.01, confidence=0.95, grouped=True) < 20


def test_a_stricter_question_needs_more():
    level = size_that_decides(1000, 0.02, 0.01, confidence=0.95, wanted=0.999, grouped=False)
    assert level == math.ceil(4000 * (normal_quantile(0.999) / normal_quantile(0.95)) ** 2)


@pytest.mark.parametrize("distance", [0.0, 1e-6])
def test_what_nobody_will_wait_for_has_no_number(distance):
    assert size_that_decides(1000, 0.02, distance, confidence=0.95, grouped=False) is None


def test_an_interval_without_width_has_decided():
    assert size_that_decides(1000, 0.0, 0.01, confidence=0.95, grouped=True) == 1000
    assert size_that_decides(1000, 0.0, 0.0, confidence=0.95, grouped=True) is None


@pytest.mark.parametrize("groups", [None, 8, 30])
def test_a_difference_as_large_as_the_detectable_one_is_shown_in_four_cases_of_five(groups):
    """Estimates of a truth that lies as far above the bound, 0, as is said to be detectable."""
    generator, runs, size = np.random.default_rng(2), 20_000, groups or 400
    rows = generator.normal(size=(runs, size))
    quantile = normal_quantile(0.95) if groups is None else student_quantile(0.95, size - 1)
    truth = detectable_difference(quantile / math.sqrt(size), size, confidence=0.95, grouped=groups is not None)
    lows = rows.mean(axis=1) + truth - quantile * rows.std(axis=1, ddof=1) / math.sqrt(size)
    assert (lows > 0).mean() == pytest.approx(0.8, abs=0.03)
