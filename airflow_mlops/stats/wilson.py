"""Confidence interval for one proportion: the score interval.

Source: E. B. Wilson, Probable Inference, the Law of Succession, and Statistical Inference, Journal of the American
Statistical Association 22 (1927), 209-212.
"""

from __future__ import annotations

import math
from statistics import NormalDist

__all__ = ["wilson_interval"]


def wilson_interval(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the interval of the proportion ``successes / trials``.

    :param trials: at least 1
    :param confidence: two-sided, above 0 and below 1
    :return: lower and upper bound, from 0 to 1
    """
    z = NormalDist().inv_cdf(0.5 + confidence / 2.0)
    share = successes / trials
    denominator = 1.0 + z * z / trials
    centre = (share + z * z / (2.0 * trials)) / denominator
    reach = z / denominator * math.sqrt(share * (1.0 - share) / trials + z * z / (4.0 * trials * trials))
    # At the ends the exact bounds are 0 and 1; rounding must not move them.
    low = 0.0 if successes == 0 else max(0.0, centre - reach)
    high = 1.0 if successes == trials else min(1.0, centre + reach)
    return low, high
