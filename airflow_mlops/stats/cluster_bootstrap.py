"""An interval for any function of sums over rows that come in groups, by resampling the groups.

A group is what is independent of the others: an entity with all its rows, or a block of time. Groups are drawn with
replacement, and since the function needs only sums, a resample costs one row of a matrix product however many rows
there are. Two models are compared by a function of both models' sums: both are resampled together, so that what they
share cancels.

The interval is found by *tilting*: which weights of the groups, bent as little as possible from equal ones, make what
was seen just surprising? The resamples are not drawn again for each of them but weighted anew. So the spread is the one
that the hypothesis at the interval's end implies, as in a score test, which keeps its level where few rows decide and
the interval from percentiles does not. Few groups make any such interval too short; its tails are taken as much smaller
as Student's distribution and the factor G / (G - 1) say. Functions that do not react smoothly, like a median, get the
interval from percentiles with the same tails.

Sources: B. Efron, "Nonparametric standard errors and confidence intervals", Canadian Journal of Statistics 9 (1981),
section 11 (tilting); T. Hesterberg, "Bootstrap tilting confidence intervals and hypothesis tests", Computing Science
and Statistics 31 (1999) (tilting by weighting resamples anew, with the direction fixed); the same, "What teachers
should know about the bootstrap", The American Statistician 69 (2015), section 5.2 (the tails for few groups);
A. C. Davison and D. V. Hinkley, *Bootstrap Methods and their Application* (1997), section 3.8 (groups); E. Carlstein,
"The use of subseries values for estimating the variance of a general statistic from a stationary sequence", Annals of
Statistics 14 (1986) (blocks of time).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval, t_quantile

__all__ = [
    "GROUPS_AT_LEAST",
    "GROUPS_AT_MOST",
    "RESAMPLES",
    "cluster_bootstrap",
    "gathered",
    "resample",
    "resampling_weights",
]

RESAMPLES = 1999

#: An interval made of resamples ends inside what the groups hold, so it covers too seldom where they are few: at 95 %,
#: ten groups miss a normal mean in 6 % of all cases, and five in 13 %.
GROUPS_AT_LEAST = 10

#: More groups are gathered into so many at random: their spread is as good an estimate, and memory stays small.
GROUPS_AT_MOST = 1000

# Of so many resamples at most may the number not exist, say for want of a positive row.
_UNDEFINED_AT_MOST = 0.05
# Numbers in one step of the resampling: what a step holds fits into a processor's cache.
_AT_ONCE = 250_000


def cluster_bootstrap(
    sums: Any,
    statistic: Callable[[Any], Any],
    *,
    confidence: float = 0.95,
    unseen: Any = None,
    smooth: bool = True,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Return the statistic of the column sums, with an interval.

    :param sums: array of groups by columns: each group's sums over its rows
    :param statistic: from an array of resamples by columns to one number each; it must not depend on a common factor
    :param confidence: two-sided coverage
    :param unseen: rows like those of ``sums`` that are resampled with them, though nobody saw them, so that what did
        not happen is not taken for impossible; the returned value is that of ``sums`` alone
    :param smooth: False for statistics that jump, such as quantiles
    :param resamples: how many
    :param seed: the same seed gives the same interval
    :raises SpecificationError: with fewer than ten groups (more for confidences beyond 99 %), or if the number does not
        exist in many resamples
    """
    import numpy as np

    groups = np.asarray(sums, dtype="float64")
    count = len(groups)
    least = max(GROUPS_AT_LEAST, 3 + math.ceil(-math.log2(1 - confidence)))
    if count < least:
        raise SpecificationError("clusters", count, f"at least {least} groups (days), so that they can be resampled")
    value = float(_of(statistic, groups.sum(axis=0, keepdims=True))[0])
    if not math.isfinite(value):
        raise SpecificationError("sums", value, "rows for which the number exists")
    tail = 0.5 * math.erfc(math.sqrt(count / (count - 1)) * t_quantile(confidence, count - 1) / math.sqrt(2))
    if unseen is not None:
        groups = np.concatenate([groups, np.asarray(unseen, dtype="float64")])
    weights = resampling_weights(len(groups), resamples, seed)
    found = resample(groups, statistic, weights)
    lost = float(np.isnan(found).mean())
    if lost > _UNDEFINED_AT_MOST:
        raise SpecificationError("sums", f"no number in {lost:.0%} of the resamples", "more groups, or fuller ones")
    if smooth:
        low, high = _tilted(groups, statistic, weights, found, tail)
    else:
        low, high = (float(end) for end in np.nanquantile(found, [tail, 1 - tail]))
    return Interval(value=value, low=min(low, value), high=max(high, value))


def resampling_weights(groups: int, resamples: int, seed: int) -> Any:
    """How often each group is drawn: an array of resamples by groups, whose rows sum to the number of groups."""
    return _drawn(groups, resamples, seed)


@functools.lru_cache(maxsize=2)
def _drawn(groups: int, resamples: int, seed: int) -> Any:
    import numpy as np

    generator = np.random.default_rng(seed)
    weights = np.empty((resamples, groups))
    step = max(1, _AT_ONCE // groups)
    for first in range(0, resamples, step):
        part = weights[first : first + step]
        which = generator.integers(0, groups, size=part.shape) + groups * np.arange(len(part))[:, None]
        part[:] = np.bincount(which.ravel(), minlength=part.size).reshape(part.shape)
    weights.setflags(write=False)
    return weights


def resample(sums: Any, statistic: Callable[[Any], Any], weights: Any) -> Any:
    """Return the statistic of every resample; NaN where it does not exist.

    :param sums: array of groups by columns
    :param weights: array of resamples by groups: how often each group was drawn
    """
    import numpy as np

    step = max(1, _AT_ONCE // sums.shape[1])
    parts = [_of(statistic, weights[first : first + step] @ sums) for first in range(0, len(weights), step)]
    return np.concatenate(parts)


def gathered(codes: Any, count: int, *, at_most: int = GROUPS_AT_MOST, seed: int = 0) -> tuple[Any, int]:
    """Gather many groups into few, at random and as evenly as possible.

    :param codes: number of each row's group, from 0
    :param count: how many groups there are
    :return: numbers of the gathered groups, and how many there are
    """
    import numpy as np

    if count <= at_most:
        return codes, count
    return (np.random.default_rng(seed).permutation(count) % at_most)[codes], at_most


def _of(statistic: Callable[[Any], Any], totals: Any) -> Any:
    import numpy as np

    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.asarray(statistic(totals), dtype="float64")
    return np.where(np.isfinite(found), found, np.nan)


def _tilted(groups: Any, statistic: Callable[[Any], Any], weights: Any, found: Any, tail: float) -> tuple[float, float]:
    """Return both ends: the statistic under the weights that make what was seen as unlikely as ``tail``."""
    import numpy as np

    mean = groups.mean(axis=0, keepdims=True)
    centre = float(_of(statistic, mean)[0])
    influence = _influence(groups, mean, statistic)
    scale = float(np.sqrt((influence**2).mean()))
    # Rounding leaves some 1e-10 where no group has any influence: two models that are the same.
    if not scale > 1e-9 * max(1.0, abs(centre)):
        return centre, centre
    direction = influence / scale
    linear = weights @ direction
    ends = []
    for sign in (-1.0, 1.0):
        beyond = sign * (centre - found)
        # A resample without the number speaks for whatever is farther out.
        share = np.where(np.isnan(found), 1.0, np.where(beyond > 0, 1.0, np.where(beyond == 0, 0.5, 0.0)))
        bend = sign * _bend(sign * direction, sign * linear[share > 0], share[share > 0], len(found), tail)
        bent = np.exp(bend * direction - (bend * direction).max())
        ends.append(float(_of(statistic, (bent / bent.sum()) @ groups[None])[0]))
    return (min(ends), max(ends)) if all(map(math.isfinite, ends)) else _widest(found)


def _widest(found: Any) -> tuple[float, float]:
    import numpy as np

    return float(np.nanmin(found)), float(np.nanmax(found))


def _influence(groups: Any, mean: Any, statistic: Callable[[Any], Any]) -> Any:
    """How the statistic changes as the weight of each group grows, by central differences."""
    import numpy as np

    step = 1e-3 / len(groups)
    change = step * (groups - mean)
    above, below = _of(statistic, mean + change), _of(statistic, mean - change)
    found = (above - below) / (2 * step)
    return np.nan_to_num(found - np.nanmean(found))


def _bend(direction: Any, linear: Any, share: Any, resamples: int, tail: float) -> float:
    """Return how far to bend upwards so that the chance of what was seen, or less, is ``tail``."""
    import numpy as np
    from scipy.optimize import brentq

    count = len(direction)

    def excess(bend: float) -> float:
        largest = float((bend * direction).max())
        normaliser = largest + math.log(float(np.exp(bend * direction - largest).mean()))
        chance = float(share @ np.exp(bend * linear - count * normaliser)) / resamples
        return math.log(max(chance, 1e-300)) - math.log(tail)

    low, high = 0.0, 3.0 / math.sqrt(count)
    while excess(high) > 0 and high < 1e3:
        low, high = high, 2 * high
    return high if excess(high) > 0 else float(brentq(excess, low, high, xtol=1e-6 / math.sqrt(count)))
