"""The shift between two samples and its interval."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.mann_whitney import shift_between


def test_the_estimate_is_the_median_difference() -> None:
    found = shift_between([3.0, 5.0, 9.0], [1.0, 2.0])
    assert found.estimate == pytest.approx(3.5)
    assert (found.low, found.high) == (-math.inf, math.inf)


def test_the_interval_agrees_with_the_test() -> None:
    import numpy as np
    from scipy.stats import mannwhitneyu

    random = np.random.default_rng(20130101)
    agreed = 0
    for _ in range(300):
        first, second = random.normal(0.6, 1, 30), random.normal(0, 1, 30)
        low = shift_between(first.tolist(), second.tolist(), confidence=0.95).low
        p = mannwhitneyu(first, second, alternative="greater", use_continuity=False, method="asymptotic").pvalue
        agreed += (low > 0) == (p < 0.025)
    assert agreed >= 297


def test_the_interval_covers_the_truth() -> None:
    import numpy as np

    random = np.random.default_rng(1)
    inside = 0
    for _ in range(1000):
        found = shift_between(
            random.exponential(1, 20).tolist(), (random.exponential(1, 25) - 0.5).tolist(), confidence=0.9
        )
        inside += found.low <= 0.5 <= found.high
    assert 0.87 <= inside / 1000 <= 0.94


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(SpecificationError, match="two samples"):
        shift_between([], [1.0])
