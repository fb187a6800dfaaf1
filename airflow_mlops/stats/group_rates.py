"""Rates of several groups of rows, and how uncertain they are together, where the rows come in clusters such as days.

The rates' covariance is the cluster-robust one: what each cluster moves each rate by (its residual over the rate's
denominator) is multiplied out cluster by cluster, with the correction G / (G - 1). Groups that share days share their
weather, which the covariances keep. A rate near 0 or 1 shows hardly any scatter, so no variance is taken to be smaller
than that of as many independent rows after two successes and two failures more (Agresti and Coull).

Sources: K.-Y. Liang and S. L. Zeger, "Longitudinal data analysis using generalized linear models", Biometrika 73
(1986), 13-22; A. Agresti and B. A. Coull, "Approximate is better than 'exact' for interval estimation of binomial
proportions", The American Statistician 52 (1998), 119-126.
"""

from __future__ import annotations

from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["covariance_of_influences", "rates_by_group"]


def rates_by_group(hits: Any, totals: Any) -> tuple[Any, Any]:
    """Return each group's rate and the covariance of the rates.

    :param hits: array of counts, one row per cluster and one column per group
    :param totals: array of the same form: how many could have been hits
    :return: array of rates, and square array of their covariances
    :raises SpecificationError: with fewer than two clusters, or a group in which nothing could have been a hit
    """
    import numpy as np

    hits, totals = np.asarray(hits, dtype="float64"), np.asarray(totals, dtype="float64")
    sizes = totals.sum(axis=0)
    if not (sizes > 0).all():
        raise SpecificationError("totals", sizes.tolist(), "more than 0 in each group")
    rates = hits.sum(axis=0) / sizes
    covariance = covariance_of_influences((hits - rates * totals) / sizes)
    padded = (hits.sum(axis=0) + 2) / (sizes + 4)
    least = padded * (1 - padded) / (sizes + 4)
    diagonal = np.arange(len(sizes))
    covariance[diagonal, diagonal] = np.maximum(covariance[diagonal, diagonal], least)
    return rates, covariance


def covariance_of_influences(influences: Any) -> Any:
    """Return the covariance of several estimates from what each cluster moves each of them by.

    :param influences: array with one row per cluster and one column per estimate; columns sum to 0
    :raises SpecificationError: with fewer than two clusters
    """
    import numpy as np

    influences = np.asarray(influences, dtype="float64")
    count = len(influences)
    if count < 2:
        raise SpecificationError("clusters", count, "at least two")
    return count / (count - 1) * (influences.T @ influences)
