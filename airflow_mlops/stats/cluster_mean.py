"""The mean of observations that come in groups, such as the flights of one day.

Rows of one group share weather, crowds and strikes, so they tell less than as many independent rows. The standard
error sums residuals within each group first (the cluster-robust "sandwich" with the correction G / (G - 1)), and the
interval uses Student's distribution with G - 1 degrees of freedom.

Source: K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73
(1986); A. C. Cameron and D. L. Miller, "A practitioner's guide to cluster-robust inference", Journal of Human
Resources 50 (2015).
"""

from __future__ import annotations

import math
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval, t_quantile

__all__ = ["cluster_codes", "cluster_mean"]


def cluster_mean(values: Any, clusters: Any, *, confidence: float = 0.95) -> Interval:
    """Mean with an interval that respects the groups.

    :param values: array of numbers
    :param clusters: array of the same length that names each row's group
    :param confidence: two-sided coverage
    :raises SpecificationError: with fewer than two groups, which say nothing about how groups differ
    """
    import numpy as np

    numbers = np.asarray(values, dtype="float64")
    codes, count = cluster_codes(clusters, len(numbers))
    mean = float(numbers.mean())
    sums = np.bincount(codes, weights=numbers - mean, minlength=count)
    error = math.sqrt(count / (count - 1) * float(sums @ sums)) / len(numbers)
    reach = t_quantile(confidence, count - 1) * error
    return Interval(value=mean, low=mean - reach, high=mean + reach)


def cluster_codes(clusters: Any, length: int) -> tuple[Any, int]:
    """Give each group a number from 0.

    :param clusters: array that names each row's group
    :param length: how many rows there must be
    :return: array of numbers and how many groups there are
    :raises SpecificationError: if the lengths differ or there are fewer than two groups
    """
    import numpy as np

    given = np.asarray(clusters)
    if len(given) != length:
        raise SpecificationError("clusters", f"{len(given)} rows", f"as many rows as there are values, {length}")
    if given.dtype.kind in "iu" and length and given.min() >= 0 and given.max() <= length:
        # Small numbers are counted, which takes a tenth of the time that sorting a million of them does.
        present = np.bincount(given) > 0
        names, codes = np.flatnonzero(present), (np.cumsum(present) - 1)[given]
    else:
        names, codes = np.unique(given, return_inverse=True)
    if len(names) < 2:
        raise SpecificationError("clusters", names.tolist(), "at least two groups")
    return codes, len(names)
