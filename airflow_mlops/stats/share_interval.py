"""Interval of a share whose rows come in groups, that does not collapse where the share is 0 or 1.

The interval over groups is honest about dependence but has no width where all groups agree; Wilson's has, but takes
rows for independent. The union of the two covers at least as often as either.

Sources: :mod:`airflow_mlops.stats.cluster_mean` and :mod:`airflow_mlops.stats.wilson`.
"""

from __future__ import annotations

from typing import Any

from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.wilson import wilson_interval

__all__ = ["share_interval"]


def share_interval(hits: Any, clusters: Any = None, *, confidence: float = 0.95) -> Interval:
    """Share of rows that are hit.

    :param hits: array of true and false, at least one
    :param clusters: array that names each row's group; None where rows are independent
    :param confidence: two-sided coverage
    :raises SpecificationError: if there are clusters, but fewer than two
    """
    import numpy as np

    found = np.asarray(hits, dtype=bool)
    low, high = wilson_interval(int(found.sum()), len(found), confidence)
    if clusters is not None:
        grouped = cluster_mean(found, clusters, confidence=confidence)
        low, high = min(low, max(0.0, grouped.low)), max(high, min(1.0, grouped.high))
    return Interval(value=float(found.mean()), low=low, high=high)
