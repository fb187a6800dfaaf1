"""Weights as numbers of pods, and in which order pods come and go; pure."""

from __future__ import annotations

import math
from collections.abc import Mapping

from airflow_mlops.exceptions import SpecificationError

__all__ = ["grain", "next_counts", "replica_counts"]


def grain(total: int) -> int:
    """Return the step, in percent, in which shares can be set with so many pods: 10 for 10 pods, 5 for 20."""
    return 100 // math.gcd(100, total)


def replica_counts(weights: Mapping[str, int], total: int) -> dict[str, int]:
    """Return how many of ``total`` pods each target has at these weights.

    :param weights: target to percent
    :raises SpecificationError: if a weight is no whole number of pods; it names the nearest that are
    """
    step = grain(total)
    for name, weight in weights.items():
        if weight % step:
            below = weight - weight % step
            raise SpecificationError(
                f"weights.{name}",
                weight,
                f"a share that {total} pods can make, a multiple of {step} %; the nearest are {below} % and "
                f"{below + step} %. More total_replicas make finer ones",
            )
    return {name: weight * total // 100 for name, weight in weights.items()}


def next_counts(
    live: Mapping[str, int], ready: Mapping[str, int], wanted: Mapping[str, int], *, at_once: bool = False
) -> dict[str, int]:
    """Return the numbers of pods to ask for now, on the way to the wanted ones.

    Targets grow at once. Others shrink as far as the ready pods of all targets together stay as many as are wanted, so
    that capacity comes before traffic and goes after it; pods that are not ready are no capacity, but go only when all
    that grows is ready.

    :param live: pods that each target asks for
    :param ready: those of them that are ready
    :param wanted: the numbers to come to; the same targets as in ``live``
    :param at_once: shrink without waiting
    """
    if at_once:
        return dict(wanted)
    spare = sum(ready.values()) - sum(wanted.values())
    grown = all(ready[name] >= wanted[name] for name in wanted if wanted[name] >= live[name])
    counts = {}
    for name, number in live.items():
        if number <= wanted[name]:
            counts[name] = wanted[name]
            continue
        idle = max(0, number - ready[name]) if grown else 0
        least = max(wanted[name], number - idle)
        # The controller takes pods that are not ready first, so while there are such, spare ready ones stay longer.
        going = max(0, min(least - wanted[name], spare)) if number - least == max(0, number - ready[name]) else 0
        counts[name] = least - going
        spare -= going
    return counts
