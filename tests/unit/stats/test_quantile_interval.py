"""Quantiles from order statistics: positions from a table, coverage by simulation."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.quantile_interval import quantile_interval


def test_positions_of_the_median_of_ten():
    """The 2nd and the 9th of ten cover the median with 97.9 %; the 3rd and the 8th only with 89.1 %."""
    found = quantile_interval(range(1, 11), 0.5)
    assert (found.low, found.value, found.high) == (2, 5, 9)


def test_bounds_that_too_few_reach_are_the_ends():
    found = quantile_interval(range(100), 0.99)
    assert found.high == 99
    assert quantile_interval([3.0], 0.5).low == 3.0


@pytest.mark.parametrize("share", [0.5, 0.95])
def test_covers_at_least_as_often_as_it_says(share):
    np = pytest.importorskip("numpy")
    truth = -math.log(1 - share)
    hits = 0
    for sample in np.random.default_rng(7).exponential(size=(1000, 150)).tolist():
        found = quantile_interval(sample, share)
        hits += found.low <= truth <= found.high
    assert hits / 1000 >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 1000)


@pytest.mark.parametrize(("values", "share"), [([], 0.5), ([1.0], 0), ([1.0], 1)])
def test_refuses_what_has_no_quantile(values, share):
    with pytest.raises(SpecificationError):
        quantile_interval(values, share)
