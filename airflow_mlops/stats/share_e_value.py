"""Shares that may be looked at as often as one likes: an e-value against "at most so much", and an interval.

Both mix the likelihood of every share with a beta prior and divide by the likelihood of the share in question. Where
that share is the true one, the ratio has an expectation of 1 at every size of the sample; by Ville's inequality the
chance that it *ever* reaches 1/alpha is at most alpha. One may therefore look after every observation and stop at any
time. With a share of one half, the e-value is a sequential sign test.

Sources: H. Robbins, Statistical Methods Related to the Law of the Iterated Logarithm, Annals of Mathematical Statistics
41 (1970), 1397-1409; S. R. Howard, A. Ramdas, J. McAuliffe, J. Sekhon, Time-uniform, nonparametric, nonasymptotic
confidence sequences, Annals of Statistics 49 (2021), 1055-1080 (beta-binomial mixtures, one- and two-sided); J. Ville,
Étude critique de la notion de collectif, 1939.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.student import incomplete_beta

__all__ = ["share_is_below", "share_log_e_value", "share_sequence"]

_PRIOR = 0.5  # Jeffreys' prior: narrow intervals near 0 and 1, where failures are


def share_log_e_value(hits: int, trials: int, at_most: float = 0.5) -> float:
    """Logarithm of the e-value against "the share is at most ``at_most``".

    :param at_most: between 0 and 1, both excluded
    :return: minus infinity where nothing speaks against it
    """
    _check(hits, trials)
    if not 0 < at_most < 1:
        raise SpecificationError("at_most", at_most, "a share between 0 and 1, both excluded")
    misses = trials - hits
    # The prior is uniform over the shares above; below them the ratio can only be smaller than at the edge.
    above = incomplete_beta(1 - at_most, misses + 1, hits + 1)
    if above == 0:
        return -math.inf
    mixed = _log_beta(hits + 1, misses + 1) + math.log(above) - math.log1p(-at_most)
    return mixed - _log_likelihood(hits, misses, at_most)


def share_sequence(hits: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Interval that holds the share at all sizes of the sample at once, with this confidence.

    :param trials: may be 0: nothing is known then
    :param confidence: between 0 and 1, both excluded
    """
    excluded = _excluder(hits, trials, confidence)
    if trials == 0:
        return Interval(value=0.5, low=0.0, high=1.0)
    value = hits / trials
    low = 0.0 if hits == 0 else _edge(excluded, 0.0, value)
    high = 1.0 if hits == trials else _edge(excluded, 1.0, value)
    return Interval(value=value, low=low, high=high)


def share_is_below(hits: int, trials: int, bound: float, *, confidence: float = 0.95) -> bool:
    """Whether the interval of :func:`share_sequence` ends at ``bound`` or below, without computing it.

    :param bound: between 0 and 1, both excluded
    """
    return trials > 0 and hits <= bound * trials and _excluder(hits, trials, confidence)(bound)


def _excluder(hits: int, trials: int, confidence: float) -> Callable[[float], bool]:
    """Return the function that tells whether a share lies outside of the interval."""
    _check(hits, trials)
    if not 0 < confidence < 1:
        raise SpecificationError("confidence", confidence, "a number between 0 and 1, both excluded")
    misses = trials - hits
    mixed = _log_beta(hits + _PRIOR, misses + _PRIOR) - _log_beta(_PRIOR, _PRIOR) + math.log1p(-confidence)
    return lambda share: mixed >= _log_likelihood(hits, misses, share)


def _edge(excluded: Callable[[float], bool], outside: float, inside: float) -> float:
    """Halve between an excluded share and one that is not; the likelihood falls from ``inside`` on."""
    for _ in range(40):
        middle = (outside + inside) / 2
        if excluded(middle):
            outside = middle
        else:
            inside = middle
    return outside


def _log_beta(a: float, b: float) -> float:
    return math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)


def _log_likelihood(hits: int, misses: int, share: float) -> float:
    one = hits * math.log(share) if hits else 0.0
    return one + (misses * math.log1p(-share) if misses else 0.0)


def _check(hits: int, trials: int) -> None:
    if not 0 <= hits <= trials:
        raise SpecificationError("hits, trials", (hits, trials), "counts with 0 <= hits <= trials")
