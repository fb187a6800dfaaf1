"""By how much one sample lies above another: the Hodges-Lehmann shift with the interval that belongs to Mann-Whitney.

The estimate is the median of all differences between a value of one sample and one of the other. Two of these
differences, counted from both ends as the test's normal approximation says, bound the shift; ties are not corrected
for, which makes the interval a little too wide.

Source: J. L. Hodges, E. L. Lehmann, Estimates of location based on rank tests, Annals of Mathematical Statistics 34
(1963), 598-611; M. Hollander, D. A. Wolfe, Nonparametric Statistical Methods, 1999, section 4.3.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Shift", "shift_between"]


@dataclass(frozen=True, kw_only=True)
class Shift:
    """By how much the first sample lies above the second.

    :param estimate: the median difference
    :param low: lower end of the interval, minus infinity where the samples are too small for one
    :param high: upper end
    """

    estimate: float
    low: float
    high: float


def shift_between(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.98) -> Shift:
    """Return the shift from the second sample to the first.

    :param confidence: two-sided coverage of the interval, above 0 and below 1
    :raises SpecificationError: if a sample is empty
    """
    if not first or not second:
        raise SpecificationError("shift_between", (len(first), len(second)), "two samples with values in them")
    pairs = len(first) * len(second)
    differences = sorted(one - other for one in first for other in second)
    middle = pairs // 2
    estimate = differences[middle] if pairs % 2 else (differences[middle - 1] + differences[middle]) / 2
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    cut = math.floor(pairs / 2 - z * math.sqrt(pairs * (len(first) + len(second) + 1) / 12))
    if cut < 1:
        return Shift(estimate=estimate, low=-math.inf, high=math.inf)
    return Shift(estimate=estimate, low=differences[cut - 1], high=differences[pairs - cut])
