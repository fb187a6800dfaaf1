"""Confidence interval for the difference of two independent proportions: the hybrid score method.

Each proportion gets its Wilson interval; the distances from the estimates to those bounds are combined like standard
errors. It keeps its level for small samples and for proportions at 0 or 1, where the textbook interval collapses.

Source: R. G. Newcombe, Interval estimation for the difference between independent proportions: comparison of eleven
methods, Statistics in Medicine 17 (1998), 873-890, method 10.
"""

from __future__ import annotations

import math

from airflow_mlops.stats.wilson import wilson_interval

__all__ = ["newcombe_interval"]


def newcombe_interval(
    first_successes: int, first_trials: int, second_successes: int, second_trials: int, confidence: float = 0.95
) -> tuple[float, float]:
    """Return the interval of ``first - second``.

    :param first_trials: at least 1
    :param second_trials: at least 1
    :param confidence: two-sided, above 0 and below 1
    :return: lower and upper bound, from -1 to 1
    """
    first = first_successes / first_trials
    second = second_successes / second_trials
    first_low, first_high = wilson_interval(first_successes, first_trials, confidence)
    second_low, second_high = wilson_interval(second_successes, second_trials, confidence)
    difference = first - second
    low = difference - math.hypot(first - first_low, second_high - second)
    high = difference + math.hypot(first_high - first, second - second_low)
    return max(-1.0, low), min(1.0, high)
