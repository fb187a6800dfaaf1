"""Interval of a mean that may be looked at as often as one likes.

Moments are all that it needs, so sums kept from look to look are enough. It holds asymptotically, as the usual interval
of a mean does, but at all sizes of the sample at once; it is narrowest, relative to what is possible, at ``tuned_for``.

Source: I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas, Time-uniform central limit theory and asymptotic
confidence sequences, Annals of Statistics 52 (2024).
"""

from __future__ import annotations

import math

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval

__all__ = ["mean_sequence"]


def mean_sequence(
    size: int, total: float, squares: float, *, confidence: float = 0.95, tuned_for: int = 500
) -> Interval:
    """Interval that holds the mean at all sizes of the sample at once, with this confidence.

    :param size: number of observations, at least 2
    :param total: their sum
    :param squares: the sum of their squares
    :param confidence: between 0 and 1, both excluded
    :param tuned_for: size of the sample at which the interval matters most
    """
    if size < 2 or tuned_for < 1:
        raise SpecificationError("size, tuned_for", (size, tuned_for), "at least 2 observations, tuned for 1 or more")
    if not 0 < confidence < 1:
        raise SpecificationError("confidence", confidence, "a number between 0 and 1, both excluded")
    error, mean = 1 - confidence, total / size
    deviation = math.sqrt(max(squares / size - mean * mean, 0.0))
    spread = (-2 * math.log(error) + math.log(1 - 2 * math.log(error))) / tuned_for
    grown = size * spread + 1
    reach = deviation * math.sqrt(2 * grown / (size * size * spread) * math.log(math.sqrt(grown) / error))
    return Interval(value=mean, low=mean - reach, high=mean + reach)
