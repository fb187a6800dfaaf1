"""A measured number, as every part of a report holds it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Estimate"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One number with its interval.

    :param value: the estimate
    :param low: lower bound
    :param high: upper bound
    :param method: how the interval was made
    """

    value: float
    low: float
    high: float
    method: str
