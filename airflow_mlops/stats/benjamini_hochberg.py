"""The procedure of Benjamini and Hochberg: among the alarms raised, the expected share of false ones is limited.

Sort the p-values; each is multiplied by how many there are and divided by its rank, and none may be larger than the
one after it. What is then below the level is rejected. It finds more than Holm's procedure does where much is wrong,
and where nothing is wrong it keeps the chance of any alarm at the level too. It holds for independent questions and
for positively dependent ones, such as those about overlapping parts of the same rows.

Sources: Y. Benjamini and Y. Hochberg, "Controlling the false discovery rate: a practical and powerful approach to
multiple testing", Journal of the Royal Statistical Society B 57 (1995), 289-300; on dependence Y. Benjamini and
D. Yekutieli, Annals of Statistics 29 (2001), 1165-1188.
"""

from __future__ import annotations

from collections.abc import Sequence

from airflow_mlops.exceptions import SpecificationError

__all__ = ["benjamini_hochberg"]


def benjamini_hochberg(p_values: Sequence[float]) -> tuple[float, ...]:
    """Return adjusted p-values in the order given; compare each with the share of false alarms that is accepted.

    :param p_values: one for each hypothesis, from 0 to 1
    :raises SpecificationError: if one is no probability
    """
    if not all(0 <= p_value <= 1 for p_value in p_values):
        raise SpecificationError("p_values", list(p_values), "numbers from 0 to 1")
    adjusted, reached = [0.0] * len(p_values), 1.0
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    for rank in range(len(order), 0, -1):
        position = order[rank - 1]
        reached = min(reached, len(p_values) * p_values[position] / rank)
        adjusted[position] = reached
    return tuple(adjusted)
