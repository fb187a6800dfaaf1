"""Holm's step-down procedure: many questions asked at once, and the chance of any false alarm kept at the level.

Sort the p-values; the smallest is multiplied by how many there are, the next by one less, and so on, and none may be
smaller than the one before it. What is then below the level is rejected. Whatever the truth and however the questions
depend on each other, the chance that even one true hypothesis is rejected stays at or below the level.

Source: S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6
(1979), 65-70.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_mlops.exceptions import SpecificationError

__all__ = ["holm"]


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return adjusted p-values in the order given; compare each with the level that the whole family is to keep.

    :param p_values: one for each hypothesis, from 0 to 1
    :raises SpecificationError: if one is no probability
    """
    if not all(0 <= p_value <= 1 for p_value in p_values):
        raise SpecificationError("p_values", list(p_values), "numbers from 0 to 1")
    adjusted, reached = [0.0] * len(p_values), 0.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for before, position in enumerate(order):
        reached = max(reached, min(1.0, (len(p_values) - before) * p_values[position]))
        adjusted[position] = reached
    return tuple(adjusted)
