"""An estimate with its confidence interval."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

from airflow_mlops.exceptions import SpecificationError

__all__ = ["Interval", "normal_quantile", "t_quantile"]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and the bounds of its two-sided confidence interval.

    :param value: the estimate
    :param low: lower bound
    :param high: upper bound
    """

    value: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse bounds that do not hold the estimate."""
        if not all(map(math.isfinite, (self.value, self.low, self.high))):
            raise SpecificationError("Interval", (self.low, self.value, self.high), "finite numbers")
        if not self.low <= self.value <= self.high:
            raise SpecificationError("Interval", (self.low, self.value, self.high), "low <= value <= high")


def normal_quantile(confidence: float) -> float:
    """How many standard errors a two-sided interval reaches, by the normal distribution.

    :param confidence: between 0 and 1, for example 0.95
    """
    _check(confidence)
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def t_quantile(confidence: float, degrees_of_freedom: int) -> float:
    """How many standard errors a two-sided interval reaches, by Student's distribution.

    :param confidence: between 0 and 1, for example 0.95
    :param degrees_of_freedom: at least 1
    """
    from scipy.special import stdtrit

    _check(confidence)
    return float(stdtrit(degrees_of_freedom, 0.5 + confidence / 2))


def _check(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise SpecificationError("confidence", confidence, "a number between 0 and 1, such as 0.95")
