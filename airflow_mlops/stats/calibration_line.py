"""Slope and intercept of a logistic line through the outcomes, on the log-odds of the probabilities.

A slope below 1 means that the probabilities are too extreme, above 1 that they are too timid; the intercept, taken with
the slope held at 1, says whether they are too low (above 0) or too high on the whole. Intervals come from the
cluster-robust covariance and Student's distribution where rows come in groups, else from the normal one.

Sources: D. R. Cox, "Two further applications of a model for binary regression", Biometrika 45 (1958), 562-565;
B. Van Calster et al., "A calibration hierarchy for risk models was defined", Journal of Clinical Epidemiology 74
(2016), 167-176, for the intercept; the covariance as in :mod:`airflow_mlops.stats.cluster_mean`.
"""

from __future__ import annotations

import math
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_codes
from airflow_mlops.stats.interval import Interval, normal_quantile, t_quantile

__all__ = ["calibration_line"]

# Log-odds of a probability of exactly 0 or 1 do not exist.
_CLIP = 1e-7
_STEPS = 50
# A line steeper than this, or farther up, is on its way to infinity.
_FAR = 1e3


def calibration_line(
    labels: Any, scores: Any, *, clusters: Any = None, confidence: float = 0.95
) -> tuple[Interval, Interval]:
    """Fit both numbers.

    :param labels: array of 0 and 1, both present
    :param scores: array of probabilities
    :param clusters: array that names each row's group; None where rows are independent
    :param confidence: two-sided coverage
    :return: slope, and intercept with the slope held at 1, in log-odds
    :raises SpecificationError: if no line fits, because the scores are all equal or separate the labels
    """
    import numpy as np

    outcomes = np.asarray(labels, dtype="float64")
    clipped = np.clip(np.asarray(scores, dtype="float64"), _CLIP, 1 - _CLIP)
    odds = np.log(clipped) - np.log1p(-clipped)
    if outcomes.min() == outcomes.max():
        raise SpecificationError("labels", outcomes[:1].tolist(), "0 and 1, each at least once")
    if np.ptp(odds) == 0:
        raise SpecificationError("scores", "all equal", "probabilities that differ")
    codes, count = (None, len(outcomes)) if clusters is None else cluster_codes(clusters, len(outcomes))
    reach = normal_quantile(confidence) if codes is None else t_quantile(confidence, count - 1)
    ones = np.ones_like(odds)
    # Centred, the two columns do not run into each other; the slope is the same.
    slope = _fit(outcomes, np.column_stack([ones, odds - odds.mean()]), np.zeros_like(odds), codes, count)
    intercept = _fit(outcomes, ones[:, None], odds, codes, count)
    return tuple(
        Interval(value=value, low=value - reach * error, high=value + reach * error)
        for value, error in (slope, intercept)
    )  # type: ignore[return-value]


def _fit(outcomes: Any, design: Any, offset: Any, codes: Any, count: int) -> tuple[float, float]:
    """Newton's method; return the last coefficient and its standard error."""
    import numpy as np

    found = np.zeros(design.shape[1])
    for _ in range(_STEPS):
        fitted = 1 / (1 + np.exp(-np.clip(offset + design @ found, -700, 700)))
        information = (design * (fitted * (1 - fitted))[:, None]).T @ design
        try:
            step = np.linalg.solve(information, design.T @ (outcomes - fitted))
        except np.linalg.LinAlgError:
            break
        # A step of more than a few log-odds overshoots where the curve is flat.
        step *= min(1.0, 5.0 / max(float(np.abs(design @ step).max()), 1e-300))
        found += step
        if float(np.abs(step).max()) < 1e-10:
            return float(found[-1]), _error(design * (outcomes - fitted)[:, None], information, codes, count)
        if float(np.abs(found).max()) > _FAR:
            break
    raise SpecificationError("scores", "no logistic line fits", "probabilities that do not separate the labels")


def _error(parts: Any, information: Any, codes: Any, count: int) -> float:
    import numpy as np

    if codes is not None:
        parts = np.column_stack([np.bincount(codes, weights=part, minlength=count) for part in parts.T])
    inverse = np.linalg.inv(information)
    covariance = inverse @ (parts.T @ parts) @ inverse * count / (count - 1)
    return math.sqrt(float(covariance[-1, -1]))
