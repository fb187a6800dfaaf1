"""Tango's interval against reference values, a direct inversion, and by simulation at a margin."""

from __future__ import annotations

import math
import random

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.tango import tango_interval


@pytest.mark.parametrize(
    ("only_first", "only_second", "pairs", "confidence", "low", "high", "digits"),
    [
        # Printed by R's PropCIs 0.3-0, scoreci.mp(second, first, n), written by R. Scherer after A. Agresti.
        (28, 25, 618, 0.90, -0.0148, 0.0247, 5e-5),
        (20, 60, 1000, 0.95, -0.0584, -0.0231, 5e-5),
        (48, 41, 549, 0.90, -0.0157, 0.0414, 5e-5),
    ],
)
def test_reference_values(only_first, only_second, pairs, confidence, low, high, digits):
    found = tango_interval(only_first, only_second, pairs, confidence=confidence)
    assert (found.low, found.high) == pytest.approx((low, high), abs=digits)


def test_without_any_disagreement_the_interval_is_a_wilson_like_one():
    """With no discordant pair the score equation has the closed solution z² / (n + z²)."""
    z2 = 1.959963984540054**2
    found = tango_interval(0, 0, 50)
    assert (found.low, found.value, found.high) == pytest.approx((-z2 / (50 + z2), 0, z2 / (50 + z2)), abs=1e-12)


@pytest.mark.parametrize("counts", [(3, 9, 40), (0, 5, 12), (7, 0, 7), (1, 1, 2)])
def test_exchanging_the_two_mirrors_the_interval(counts):
    first, second, pairs = counts
    one, other = tango_interval(first, second, pairs), tango_interval(second, first, pairs)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)


@pytest.mark.parametrize("counts", [(4, 11, 60), (40, 20, 160), (2, 3, 30)])
def test_bounds_are_where_the_likelihood_under_the_hypothesis_says_so(counts):
    """An independent way: maximise the likelihood by search instead of by the closed formula."""
    first, second, pairs = counts
    found = tango_interval(first, second, pairs)
    for bound in (found.low, found.high):
        assert abs(_score_by_search(bound, first, second, pairs)) == pytest.approx(1.959964, abs=2e-3)


@pytest.mark.parametrize(("pairs", "expected"), [(143, 0.050), (500, 0.045)])
def test_at_the_margin_a_worse_model_passes_in_five_percent(pairs, expected):
    """Both right 90 % in agreement, 10 % discordant, exactly 2 points worse: one-sided 5 % by the 90 % interval."""
    generator, runs, accepted = random.Random(7), 2000, 0
    for _ in range(runs):
        draws = [generator.random() for _ in range(pairs)]
        better, worse = sum(draw < 0.04 for draw in draws), sum(0.04 <= draw < 0.10 for draw in draws)
        accepted += tango_interval(better, worse, pairs, confidence=0.90).low > -0.02
    assert accepted / runs == pytest.approx(expected, abs=0.01 + 3 * math.sqrt(0.05 * 0.95 / runs))


@pytest.mark.parametrize("counts", [(1, 1, 0), (-1, 0, 3), (3, 3, 5)])
def test_impossible_counts_are_refused(counts):
    with pytest.raises(SpecificationError, match="counts of at least 0 that sum to no more than pairs"):
        tango_interval(*counts)


def _score_by_search(delta, first, second, pairs):
    def likelihood(q):
        p, rest = q + delta, 1 - 2 * q - delta
        if min(p, q, rest) < 0:
            return -math.inf
        terms = ((first, p), (second, q), (pairs - first - second, rest))
        return sum(count * math.log(max(share, 1e-300)) for count, share in terms)

    low, high = max(0.0, -delta), (1 - delta) / 2
    for _ in range(200):
        third = (high - low) / 3
        if likelihood(low + third) < likelihood(high - third):
            low += third
        else:
            high -= third
    q = (low + high) / 2
    return (first - second - pairs * delta) / math.sqrt(pairs * (2 * q + delta * (1 - delta)))
