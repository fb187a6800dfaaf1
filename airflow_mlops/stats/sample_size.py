"""How much more would have to be seen: sizes and differences by the normal approximation.

A standard error shrinks with the root of the size, the number of groups where rows come in groups; Student's
distribution with one degree of freedom less than there are groups takes the place of the normal one then. Both
functions assume that what comes is like what was seen.

Source: S. A. Julious, "Sample sizes for clinical trials with normal data", Statistics in Medicine 23 (2004),
1921-1986, sections 2 and 3.
"""

from __future__ import annotations

import math

from airflow_mlops.stats.interval import normal_quantile
from airflow_mlops.stats.student import student_quantile, student_upper_tail

__all__ = ["detectable_difference", "size_that_decides"]

#: An interval that must shrink by more than this needs a thousand times the size: nobody will wait for that.
_FARTHEST = 30


def size_that_decides(
    size: int, reach: float, distance: float, *, confidence: float, wanted: float | None = None, grouped: bool
) -> int | None:
    """Return the size at which an interval no longer reaches a bound; None if it is more than 900 times as large.

    :param size: number of rows, or of groups if ``grouped``
    :param reach: from the estimate to the interval's end on the bound's side
    :param distance: from the estimate to the bound, which is assumed to stay as it is
    :param confidence: two-sided coverage of the interval
    :param wanted: two-sided coverage of the interval that has to be clear of the bound; None for the same
    :param grouped: whether the interval was made with Student's distribution over groups
    """
    now = _quantile(confidence, size, grouped=grouped)
    wanted = confidence if wanted is None else wanted
    normal = normal_quantile(wanted)
    if reach * max(1.0, normal / now) >= _FARTHEST * distance:
        return None
    error = reach / now * math.sqrt(size)
    if error == 0:
        return size

    def decides(count: int) -> bool:
        # Asks for one tail at the bound, since a quantile would be searched for by many of them.
        errors = distance * math.sqrt(count) / error * (1 + 1e-9)
        tail = student_upper_tail(errors, count - 1) if grouped else math.erfc(errors / math.sqrt(2)) / 2
        return 2 * tail <= 1 - wanted

    few, many = size, size
    while not decides(many):
        few, many = many, 2 * many
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    return many


def detectable_difference(reach: float, size: int, *, confidence: float, power: float = 0.8, grouped: bool) -> float:
    """Return how far from a bound the truth must be so that an interval like this one is clear of it often enough.

    :param reach: from the estimate to the interval's end
    :param size: number of rows, or of groups if ``grouped``
    :param confidence: two-sided coverage of the interval
    :param power: how often it is to be clear, above 0.5
    :param grouped: whether the interval was made with Student's distribution over groups
    """
    often = _quantile(2 * power - 1, size, grouped=grouped)
    return reach * (1 + often / _quantile(confidence, size, grouped=grouped))


def _quantile(confidence: float, size: int, *, grouped: bool) -> float:
    return student_quantile(confidence, size - 1) if grouped else normal_quantile(confidence)
