"""The area under the ROC curve with an interval, and the difference of two areas on the same rows.

Sources: E. R. DeLong, D. M. DeLong and D. L. Clarke-Pearson, "Comparing the areas under two or more correlated
receiver operating characteristic curves: a nonparametric approach", Biometrics 44 (1988); the computation by midranks
in O(n log n) is from X. Sun and W. Xu, "Fast implementation of DeLong's algorithm", IEEE Signal Processing Letters 21
(2014). For rows that come in groups the components are summed within each group first: N. A. Obuchowski,
"Nonparametric analysis of clustered ROC curve data", Biometrics 53 (1997).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_codes
from airflow_mlops.stats.interval import Interval, normal_quantile, t_quantile

__all__ = ["auc_difference", "auc_influences", "auc_interval"]


def auc_interval(labels: Any, scores: Any, *, clusters: Any = None, confidence: float = 0.95) -> Interval:
    """Area under the ROC curve: how often a positive row scores above a negative one, ties counting half.

    :param labels: array of 0 and 1, both present
    :param scores: array of numbers, higher for more likely positive
    :param clusters: array that names each row's group; None where rows are independent
    :param confidence: two-sided coverage
    :raises SpecificationError: if a class is missing, lengths differ or there is only one group
    """
    groups = _Groups.of(labels, clusters)
    area, positives, negatives = _components(groups.positive, scores)
    reach = groups.reach(confidence) * math.sqrt(_variance(groups, positives - area, negatives - area))
    return Interval(value=area, low=max(0.0, area - reach), high=min(1.0, area + reach))


def auc_difference(labels: Any, first: Any, second: Any, *, clusters: Any = None, confidence: float = 0.95) -> Interval:
    """Area of ``first`` minus area of ``second``, both scored on the same rows.

    :param labels: array of 0 and 1, both present
    :param first: scores of one model
    :param second: scores of the other
    :param clusters: array that names each row's group; None where rows are independent
    :param confidence: two-sided coverage
    :raises SpecificationError: if a class is missing, lengths differ or there is only one group
    """
    groups = _Groups.of(labels, clusters)
    area, positives, negatives = _components(groups.positive, first)
    other_area, other_positives, other_negatives = _components(groups.positive, second)
    difference = area - other_area
    variance = _variance(groups, positives - other_positives - difference, negatives - other_negatives - difference)
    reach = groups.reach(confidence) * math.sqrt(variance)
    return Interval(value=difference, low=difference - reach, high=difference + reach)


def auc_influences(labels: Any, scores: Any) -> tuple[float, Any]:
    """Return the area and what each row moves it by: DeLong's components, centred, over the size of the row's class.

    :param labels: array of 0 and 1, both present
    :param scores: array of numbers, higher for more likely positive
    :raises SpecificationError: if a class is missing or lengths differ
    """
    import numpy as np

    positive = _Groups.of(labels, None).positive
    area, of_positives, of_negatives = _components(positive, scores)
    influences = np.empty(len(positive))
    influences[positive] = (of_positives - area) / len(of_positives)
    influences[~positive] = (of_negatives - area) / len(of_negatives)
    return area, influences


@dataclass(frozen=True, kw_only=True)
class _Groups:
    """Which rows are positive, and which group each row belongs to."""

    positive: Any
    codes: Any
    count: int
    independent: bool

    @classmethod
    def of(cls, labels: Any, clusters: Any) -> _Groups:
        import numpy as np

        values = np.asarray(labels)
        positive = values == 1
        if not np.isin(values, (0, 1)).all() or positive.all() or not positive.any():
            raise SpecificationError("labels", np.unique(values)[:10].tolist(), "0 and 1, each at least once")
        if clusters is None:
            return cls(positive=positive, codes=np.arange(len(values)), count=len(values), independent=True)
        codes, count = cluster_codes(clusters, len(values))
        return cls(positive=positive, codes=codes, count=count, independent=False)

    def reach(self, confidence: float) -> float:
        return normal_quantile(confidence) if self.independent else t_quantile(confidence, self.count - 1)


def _components(positive: Any, scores: Any) -> tuple[float, Any, Any]:
    """Return the area, and for each row the share of the other class that it is placed right against."""
    import numpy as np

    values = np.asarray(scores, dtype="float64")
    if len(values) != len(positive):
        raise SpecificationError("scores", f"{len(values)} rows", f"as many as there are labels, {len(positive)}")
    if not np.isfinite(values).all():
        raise SpecificationError("scores", "not finite", "finite numbers")
    ranks = _midranks(values)
    of_positives = (ranks[positive] - _midranks(values[positive])) / (~positive).sum()
    of_negatives = 1 - (ranks[~positive] - _midranks(values[~positive])) / positive.sum()
    return float(of_positives.mean()), of_positives, of_negatives


def _midranks(values: Any) -> Any:
    """Ranks from 1; equal values share the middle of their ranks."""
    import numpy as np

    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def _variance(groups: _Groups, of_positives: Any, of_negatives: Any) -> float:
    """Variance of the area from centred components (Obuchowski's equation; DeLong's when every row is a group)."""
    import numpy as np

    positive, negative = groups.codes[groups.positive], groups.codes[~groups.positive]
    positive_sums = np.bincount(positive, weights=of_positives, minlength=groups.count)
    negative_sums = np.bincount(negative, weights=of_negatives, minlength=groups.count)
    total = 2 * _corrected(groups.count) * float(positive_sums @ negative_sums) / (len(positive) * len(negative))
    for codes, sums in ((positive, positive_sums), (negative, negative_sums)):
        total += _corrected(int(np.count_nonzero(np.bincount(codes)))) * float(sums @ sums) / len(codes) ** 2
    return max(total, 0.0)


def _corrected(count: int) -> float:
    if count < 2:
        raise SpecificationError("labels", count, "each class in at least two groups (or rows)")
    return count / (count - 1)
