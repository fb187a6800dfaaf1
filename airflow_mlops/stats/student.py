"""Quantiles and tails of Student's distribution with the standard library alone.

The distribution function is the regularised incomplete beta function (M. Abramowitz and I. A. Stegun, *Handbook of
Mathematical Functions*, 26.7.1), evaluated by its continued fraction (26.5.8) with Lentz's method; the quantile is
found by bisection.
"""

from __future__ import annotations

import functools
import math

from airflow_mlops.exceptions import SpecificationError

__all__ = ["incomplete_beta", "student_quantile", "student_upper_tail"]

_TINY = 1e-300
_STEPS = 10_000


@functools.lru_cache(maxsize=256)
def student_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """How many standard errors a two-sided interval reaches.

    :param confidence: between 0 and 1, for example 0.95
    :param degrees_of_freedom: at least 1
    :raises SpecificationError: if one is out of range
    """
    if not 0 < confidence < 1:
        raise SpecificationError("confidence", confidence, "a number between 0 and 1, both excluded")
    if degrees_of_freedom < 1:
        raise SpecificationError("degrees_of_freedom", degrees_of_freedom, "1 or more")
    low, high = 0.0, 1.0
    while _coverage(high, degrees_of_freedom) < confidence:
        high *= 2
    while high - low > 1e-12 * high:
        middle = (low + high) / 2
        low, high = (middle, high) if _coverage(middle, degrees_of_freedom) < confidence else (low, middle)
    return (low + high) / 2


def student_upper_tail(errors: float, degrees_of_freedom: int) -> float:
    """How likely it is to lie ``errors`` standard errors or more above the truth.

    :param errors: any number
    :param degrees_of_freedom: at least 1
    :raises SpecificationError: if there are no degrees of freedom
    """
    if degrees_of_freedom < 1:
        raise SpecificationError("degrees_of_freedom", degrees_of_freedom, "1 or more")
    share = degrees_of_freedom / (degrees_of_freedom + errors * errors)
    beyond = incomplete_beta(share, degrees_of_freedom / 2, 0.5) / 2
    return beyond if errors >= 0 else 1 - beyond


def _coverage(reach: float, degrees: int) -> float:
    """Probability of lying within ``reach`` standard errors on either side."""
    return 1 - incomplete_beta(degrees / (degrees + reach * reach), degrees / 2, 0.5)


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Regularised incomplete beta function: chance that a beta variable with parameters a and b is at most x."""
    if x in (0, 1):
        return float(x)
    if x > (a + 1) / (a + b + 2):
        return 1 - incomplete_beta(1 - x, b, a)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(front) / (a * _continued_fraction(x, a, b))


def _continued_fraction(x: float, a: float, b: float) -> float:
    value = ratio_above = 1.0
    ratio_below = 0.0
    for step in range(1, _STEPS):
        half = step // 2
        if step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        ratio_below = 1 / ((1 + term * ratio_below) or _TINY)
        ratio_above = (1 + term / ratio_above) or _TINY
        change = ratio_above * ratio_below
        value *= change
        if abs(change - 1) < 1e-15:
            break
    return value
