"""How wide intervals must be so that all pairs of several estimates are covered at once.

Among ten groups some pair looks different by chance. The largest of all pairs' differences in standard errors is drawn
from the joint normal distribution of the estimates, with a fixed seed; a single pair is taken to differ only if it does
so by more than that maximum does in all but ``beyond`` of the draws. The answer is the tail probability that one pair
may use, so that each pair can look it up in Student's distribution with its own degrees of freedom.

Source: T. Hothorn, F. Bretz and P. Westfall, "Simultaneous inference in general parametric models", Biometrical
Journal 50 (2008), 346-363.
"""

from __future__ import annotations

import math
from typing import Any

__all__ = ["pair_tail"]

_DRAWS = 10_000
_AT_ONCE = 2_000


def pair_tail(values: Any, covariance: Any, *, beyond: float, seed: int = 0) -> float:
    """Return the one-sided tail probability for one pair with which all pairs together err with ``beyond``.

    Both the differences and the ratios of the estimates are kept by it.

    :param values: array of estimates
    :param covariance: square array of their covariances
    :param beyond: how often any pair may be called different by mistake
    :param seed: of the draws
    :return: between Bonferroni's share and half of ``beyond``
    """
    import numpy as np

    values, covariance = np.asarray(values, dtype="float64"), np.asarray(covariance, dtype="float64")
    first, second = np.triu_indices(len(values), k=1)
    bonferroni = beyond / 2 / len(first)
    if len(first) == 1:
        return bonferroni
    root = _root(covariance)
    normal = np.random.default_rng(seed).standard_normal((_DRAWS, len(values)))
    draws = normal @ root.T
    quantile = max(
        float(np.quantile(_largest(draws, covariance, first, second, factors), 1 - beyond))
        for factors in (np.ones(len(first)), _ratios(values, first, second))
    )
    # The draws are themselves a sample; never claim more than what holds whatever the estimates' dependence.
    return min(max(math.erfc(quantile / math.sqrt(2)) / 2, bonferroni), beyond / 2)


def _root(covariance: Any) -> Any:
    import numpy as np

    eigenvalues, vectors = np.linalg.eigh(covariance)
    return vectors * np.sqrt(np.maximum(eigenvalues, 0.0))


def _ratios(values: Any, first: Any, second: Any) -> Any:
    """Return smaller over larger estimate, by which the larger is multiplied where a ratio is asked for."""
    import numpy as np

    low, high = np.minimum(values[first], values[second]), np.maximum(values[first], values[second])
    return np.where(high > 0, low / np.where(high > 0, high, 1.0), 1.0)


def _largest(draws: Any, covariance: Any, first: Any, second: Any, factors: Any) -> Any:
    """Return for each draw the largest contrast ``first - factor * second`` in standard errors."""
    import numpy as np

    variances = np.diag(covariance)
    variance = variances[first] + factors**2 * variances[second] - 2 * factors * covariance[first, second]
    errors = np.sqrt(np.maximum(variance, np.finfo("float64").tiny))
    parts = [
        np.abs((part[:, first] - factors * part[:, second]) / errors).max(axis=1)
        for part in np.split(draws, range(_AT_ONCE, len(draws), _AT_ONCE))
    ]
    return np.concatenate(parts)
