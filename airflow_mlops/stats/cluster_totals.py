"""The mean of grouped observations from the groups' sums alone, so that rows need not be kept.

The same interval as :mod:`airflow_mlops.stats.cluster_mean` gives from rows: residuals are summed within each group,
the variance carries the correction G / (G - 1), and Student's distribution with G - 1 degrees of freedom gives the
reach. Only the standard library is needed.

Source: A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust inference", Journal of Human
Resources 50 (2015), section II.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.student import student_quantile

__all__ = ["cluster_mean_of_totals"]


def cluster_mean_of_totals(sums: Sequence[float], counts: Sequence[int], *, confidence: float = 0.95) -> Interval:
    """Mean of all observations with an interval that respects the groups.

    :param sums: sum of the observations of each group
    :param counts: number of observations of each group, each at least 1
    :param confidence: two-sided coverage
    :raises SpecificationError: if the lengths differ or there are fewer than two groups
    """
    if len(sums) != len(counts):
        raise SpecificationError("counts", len(counts), f"as many counts as sums, {len(sums)}")
    groups, rows = len(sums), sum(counts)
    if groups < 2:
        raise SpecificationError("sums", groups, "at least two groups")
    if min(counts) < 1:
        raise SpecificationError("counts", min(counts), "at least one observation in each group")
    mean = math.fsum(sums) / rows
    squares = math.fsum((total - mean * count) ** 2 for total, count in zip(sums, counts, strict=True))
    reach = student_quantile(confidence, groups - 1) * math.sqrt(groups / (groups - 1) * squares) / rows
    return Interval(value=mean, low=mean - reach, high=mean + reach)
