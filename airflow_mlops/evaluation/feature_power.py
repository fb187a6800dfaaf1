"""How well each feature predicts the label by itself: one that needs no model is likely to be the answer in disguise.

A feature's values are put into categories (numbers into bins of equal mass, missing values into one of their own, since
being missing may give the answer away). Every row is given the mean label of its category among the *other* half of the
groups, so that a category of few rows does not predict its own label, and any shape of dependence counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.delong import auc_interval

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["FeaturePower", "feature_powers"]

_BINS = 50
# Rows at the mean of all that a category is filled up with: a mean of two rows is mostly chance.
_PRIOR = 5.0
# The best are what matters; a report of a model with thousands of columns stays small.
_SHOWN = 100


@dataclass(frozen=True, kw_only=True)
class FeaturePower:
    """One feature by itself.

    :param feature: its column
    :param measure: ``roc_auc`` for labels 0 and 1, ``r_squared`` for numbers
    :param power: how well it predicts; 0.5 of the one and 0 of the other are nothing, 1 is all
    """

    feature: str
    measure: Literal["roc_auc", "r_squared"]
    power: Estimate


def feature_powers(subject: Subject) -> tuple[tuple[FeaturePower, ...], dict[str, str]]:
    """Measure every feature of the candidate that the rows have.

    :return: the best first, and ``features`` to the reason if there are none
    """
    import numpy as np

    labels = np.asarray(subject.labels, dtype="float64")
    binary = bool(np.isin(labels, (0, 1)).all())
    names, groups = np.unique(np.asarray(subject.days), return_inverse=True)
    half = groups % 2 if len(names) > 1 else np.arange(len(labels)) % 2
    found = []
    for name in subject.candidate.features:
        if name not in subject.rows.columns:
            continue
        scores = _scores(_categories(subject.rows[name]), labels, half)
        try:
            power = _auc(labels, scores, groups, subject) if binary else _r_squared(labels, scores, groups, subject)
        except SpecificationError as error:
            return (), {"features": str(error)}
        found.append(FeaturePower(feature=name, measure="roc_auc" if binary else "r_squared", power=power))
    found.sort(key=lambda one: (-one.power.value, one.feature))
    return tuple(found[:_SHOWN]), {} if found else {"features": "the rows hold none of the candidate's features"}


def _categories(column: Any) -> Any:
    import numpy as np

    if column.dtype.kind not in "iuf":
        codes, _ = column.factorize()
        return codes + 1  # missing is -1
    values = column.to_numpy(dtype="float64", na_value=np.nan)
    known = ~np.isnan(values)
    codes = np.zeros(len(values), dtype="int64")
    if known.any():
        inner = np.unique(np.quantile(values[known], np.linspace(0, 1, _BINS + 1)[1:-1], method="inverted_cdf"))
        codes[known] = 1 + np.searchsorted(inner, values[known], side="left")
    return codes


def _scores(codes: Any, labels: Any, half: Any) -> Any:
    import numpy as np

    scores = np.empty(len(labels))
    for one in (0, 1):
        other = half != one
        prior = labels[other].mean()
        rows = np.bincount(codes[other], minlength=codes.max() + 1)
        sums = np.bincount(codes[other], weights=labels[other], minlength=codes.max() + 1)
        scores[~other] = ((sums + _PRIOR * prior) / (rows + _PRIOR))[codes[~other]]
    return scores


def _auc(labels: Any, scores: Any, groups: Any, subject: Subject) -> Estimate:
    clusters = groups if groups.max() > 0 else None
    found = auc_interval(labels, scores, clusters=clusters, confidence=subject.confidence)
    return Estimate(value=found.value, low=found.low, high=found.high, method="DeLong, two halves of the days")


def _r_squared(labels: Any, scores: Any, groups: Any, subject: Subject) -> Estimate:
    """Share of the variance that is explained, as a ratio of means: linearised for the interval."""
    import numpy as np

    spread, left = (labels - labels.mean()) ** 2, (labels - scores) ** 2
    if spread.sum() == 0:
        raise SpecificationError("labels", "all equal", "labels that differ")
    value = 1 - float(left.sum() / spread.sum())
    linear = ((1 - value) * spread - left) / spread.mean()
    clusters = groups if groups.max() > 0 else np.arange(len(labels))
    found = cluster_mean(linear, clusters, confidence=subject.confidence)
    low, high = value + found.low - found.value, min(1.0, value + found.high - found.value)
    return Estimate(value=value, low=low, high=max(high, value), method="mean over days, two halves of the days")
