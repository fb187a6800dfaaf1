"""Group-sequential test of harm: when it is known how much will be seen at most, no test finds more.

As in :mod:`airflow_mlops.stats.e_value`, what counts is how many of both arms' failures are the canary's, given how
many there are. The test looks at a few points on the way to the largest sample and rejects when the canary's failures
so far reach a bound. How much error may be spent until then is a function of the share of the sample seen, fixed
beforehand; the bound is the smallest count that spends no more, given that no bound was reached before. Paths that
survived are followed exactly, count by count, so the level holds for a handful of failures, too, where the usual normal
approximation is too eager. At the bound itself the canary's failures since the look before decide; without this second
number the steps between counts would leave much of the error unspent.

The spending function is that of O'Brien and Fleming's type, which keeps nearly everything for the end, with the share
of the sample to the power 1.1: that little more for the end makes good what following exact counts costs. It never
spends less than a fiftieth of ``alpha`` in proportion, so that a canary that is broken is not kept until the end.

Source: K. K. G. Lan, D. L. DeMets, Discrete sequential boundaries for clinical trials, Biometrika 70 (1983), 659-663;
P. Armitage, C. K. McPherson, B. C. Rowe, Repeated significance tests on accumulating data, Journal of the Royal
Statistical Society A 132 (1969), 235-244, for following the paths; C. Jennison, B. W. Turnbull, Group Sequential
Methods with Applications to Clinical Trials, 2000, chapters 7 and 12.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

__all__ = ["NOBODY_YET", "Bound", "Survivors", "chances", "follow", "spent"]

_NORMAL = NormalDist()
_AT_ONCE = 0.02
_POWER = 1.1
_NEGLIGIBLE = 1e-18


@dataclass(frozen=True)
class Survivors:
    """Where paths are that reached no bound, if the canary is just as bad as is tolerated.

    :param first: the canary's failures that the first probability belongs to
    :param density: probability of each number of failures; together with ``spent`` they sum to 1
    :param spent: probability that a bound was reached
    """

    first: int
    density: Sequence[float]
    spent: float


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What rejects at one look.

    :param count: more failures of the canary since the beginning than this reject
    :param recent: this many since the look before reject, too, if those since the beginning are just ``count``
    """

    count: int
    recent: int

    def reached(self, total: int, recent: int) -> bool:
        """Whether the canary's failures, since the beginning and since the look before, reject."""
        return total > self.count or (total == self.count and recent >= self.recent)


NOBODY_YET = Survivors(0, (1.0,), 0.0)


def spent(alpha: float, fraction: float) -> float:
    """Return how much error may be spent until a share of the largest sample was seen.

    :param alpha: level of the whole test
    :param fraction: share of the largest sample, 0 or more
    """
    if fraction >= 1.0:
        return alpha
    if fraction <= 0.0:
        return 0.0
    quantile = _NORMAL.inv_cdf(1.0 - alpha / 2.0)
    late = math.erfc(quantile / math.sqrt(2.0 * fraction**_POWER))
    return max(late, _AT_ONCE * alpha * fraction)


def follow(
    before: Survivors,
    *,
    span: tuple[int, Sequence[float]],
    allowed: float | None,
    convolve: Callable[[Sequence[float], Sequence[float]], Sequence[float]] | None = None,
) -> tuple[Survivors, Bound | None]:
    """Follow paths over one more span and return its bound.

    :param span: what :func:`chances` returns for it
    :param allowed: how much error may be spent until now; None if nothing is tested here
    :param convolve: convolution of two sequences; None for one without numpy
    :return: the paths that go on, and what rejects
    """
    least, likely = span
    density = list((convolve or _convolve)(before.density, likely))
    first = before.first + least
    if allowed is None:
        return Survivors(*_trimmed(first, density), before.spent), None
    now = before.spent
    while density and now + density[-1] <= allowed:
        now += density.pop()
    count = first + len(density) - 1
    if not density:  # all paths may be rejected: nothing was seen that could be the canary's or not
        return Survivors(count, (0.0,), now), Bound(count=count, recent=0)
    recent = least + len(likely)
    for position in range(len(likely) - 1, -1, -1):
        here = count - (least + position) - before.first
        chance = likely[position] * before.density[here] if 0 <= here < len(before.density) else 0.0
        if now + chance > allowed:
            break
        now += chance
        density[-1] -= chance
        recent = least + position
    density[-1] = max(0.0, density[-1])
    return Survivors(*_trimmed(first, density), now), Bound(count=count, recent=recent)


@functools.lru_cache(maxsize=4096)
def chances(
    failures: int, canary_trials: int, baseline_trials: int, harm_ratio: float = 1.0
) -> tuple[int, tuple[float, ...]]:
    """Return how likely each number of the canary's failures is, if it is just as bad as is tolerated.

    Between equal arms the numbers are hypergeometric, exactly. For a tolerated ratio they are binomial, which is right
    for rare failures and careful for common ones.

    :param failures: of both arms in one span
    :return: the smallest number worth following, and the probabilities from there on
    """
    both = canary_trials + baseline_trials
    if failures == 0 or canary_trials == 0 or baseline_trials == 0:
        return (failures if baseline_trials == 0 else 0), (1.0,)
    if harm_ratio == 1.0:
        lowest, highest = max(0, failures - baseline_trials), min(failures, canary_trials)
        mode = (failures + 1) * (canary_trials + 1) // (both + 2)
        log_peak = (
            _log_choose(canary_trials, mode)
            + _log_choose(baseline_trials, failures - mode)
            - _log_choose(both, failures)
        )

        def rise(count: int) -> float:
            return (
                (failures - count) * (canary_trials - count) / ((count + 1) * (baseline_trials - failures + count + 1))
            )
    else:
        share = harm_ratio * canary_trials / (harm_ratio * canary_trials + baseline_trials)
        lowest, highest = 0, failures
        mode = min(failures, int((failures + 1) * share))
        log_peak = _log_choose(failures, mode) + mode * math.log(share) + (failures - mode) * math.log1p(-share)

        def rise(count: int) -> float:
            return (failures - count) / (count + 1) * share / (1.0 - share)

    up, down = [math.exp(log_peak)], list[float]()
    for count in range(mode, highest):
        up.append(up[-1] * rise(count))
        if up[-1] < _NEGLIGIBLE:
            break
    for count in range(mode - 1, lowest - 1, -1):
        down.append((down or up[:1])[-1] / rise(count))
        if down[-1] < _NEGLIGIBLE:
            break
    return mode - len(down), (*down[::-1], *up)


def _log_choose(many: int, few: int) -> float:
    return math.lgamma(many + 1) - math.lgamma(few + 1) - math.lgamma(many - few + 1)


def _convolve(first: Sequence[float], second: Sequence[float]) -> list[float]:
    total = [0.0] * (len(first) + len(second) - 1)
    for position, chance in enumerate(first):
        for offset, more in enumerate(second):
            total[position + offset] += chance * more
    return total


def _trimmed(first: int, density: list[float]) -> tuple[int, tuple[float, ...]]:
    low, high = 0, len(density)
    while high - low > 1 and density[high - 1] < _NEGLIGIBLE:
        high -= 1
    while high - low > 1 and density[low] < _NEGLIGIBLE:
        low += 1
    return first + low, tuple(density[low:high]) or (0.0,)
