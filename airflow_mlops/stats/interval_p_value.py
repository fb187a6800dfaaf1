"""The p-value that stands behind a confidence interval, for a hypothesis about one side.

An interval with a coverage of 95 % is where a one-sided test at 2.5 % does not reject. Its reach towards the bound is
that many standard errors as the interval's distribution says, so the distance to the bound in standard errors follows,
and from it the p-value: by Student's distribution where the interval was made with it, else by the normal one. At the
interval's own end this is exact for any interval; farther out it takes the standard error there to be the one at the
end, as it is for means.

Source: D. G. Altman and J. M. Bland, "How to obtain the P value from a confidence interval", BMJ 343 (2011), d2304,
here for each side by itself and with Student's distribution.
"""

from __future__ import annotations

import math

from airflow_mlops.stats.interval import Interval, normal_quantile
from airflow_mlops.stats.student import student_quantile, student_upper_tail

__all__ = ["p_value_below"]


def p_value_below(
    found: Interval, bound: float, *, confidence: float = 0.95, degrees_of_freedom: int | None = None
) -> float:
    """How likely an estimate this low or lower is, if the truth is ``bound``; small speaks for a truth below it.

    :param found: the estimate with its interval
    :param bound: the smallest value that the hypothesis allows
    :param confidence: two-sided coverage of the interval
    :param degrees_of_freedom: of Student's distribution, if the interval was made with it; None for the normal one
    """
    distance = bound - found.value
    reach = found.high - found.value if distance > 0 else found.value - found.low
    if distance == 0:
        return 0.5
    if reach == 0:
        return 0.0 if distance > 0 else 1.0
    if degrees_of_freedom is None:
        errors = normal_quantile(confidence) * distance / reach
        return 0.5 * math.erfc(errors / math.sqrt(2))
    errors = student_quantile(confidence, degrees_of_freedom) * distance / reach
    return student_upper_tail(errors, degrees_of_freedom)
