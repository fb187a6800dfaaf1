"""A share that is looked at a hundred times: false alarms stay below alpha, and what is wrong is found."""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.share_e_value import share_is_below, share_log_e_value, share_sequence

LOOKS, RUNS = 100, 4000


def _hits(share: float, per_look: int, seed: int) -> Any:
    """Hits so far of every run (row) at every look (column)."""
    import numpy as np

    return np.random.default_rng(seed).binomial(per_look, share, size=(RUNS, LOOKS)).cumsum(axis=1)


def _needed(trials: int, at_most: float, alpha: float) -> int:
    """Smallest number of hits that shows more than ``at_most``; one more than there are trials if none does."""
    bound = -math.log(alpha)
    return bisect_left(range(trials + 1), 1, key=lambda hits: int(share_log_e_value(hits, trials, at_most) >= bound))


def _found(share: float, at_most: float, *, per_look: int = 10, alpha: float = 0.05, seed: int = 5) -> Any:
    """Share of runs in which more than ``at_most`` was shown up to every look."""
    import numpy as np

    needed = np.array([_needed(per_look * (look + 1), at_most, alpha) for look in range(LOOKS)])
    return np.logical_or.accumulate(_hits(share, per_look, seed) >= needed, axis=1).mean(axis=0)


@pytest.mark.parametrize(("share", "at_most"), [(0.5, 0.5), (0.05, 0.05), (0.01, 0.01), (0.9, 0.9)])
@pytest.mark.parametrize("per_look", [1, 10, 100])
def test_a_hundred_looks_raise_no_more_false_alarms_than_alpha(share: float, at_most: float, per_look: int) -> None:
    assert _found(share, at_most, per_look=per_look)[-1] <= 0.05


def test_power_of_the_sequential_sign_test() -> None:
    """How many discordant pairs it takes: share of runs found after 50, 100, 200, 500 and 1000 of them."""
    table = {share: [round(float(_found(share, 0.5)[look]), 2) for look in (4, 9, 19, 49, 99)] for share in _POWER}
    print(table)
    for share, expected in _POWER.items():
        assert table[share] == pytest.approx(expected, abs=0.05)


#: Chance that the candidate is the worse one in a discordant pair, and how soon that is found.
_POWER = {
    0.55: [0.03, 0.06, 0.12, 0.29, 0.57],
    0.6: [0.11, 0.25, 0.52, 0.94, 1.0],
    0.7: [0.54, 0.91, 1.0, 1.0, 1.0],
    0.8: [0.95, 1.0, 1.0, 1.0, 1.0],
}


@pytest.mark.parametrize("share", [0.002, 0.05, 0.5])
def test_the_interval_holds_the_share_at_all_looks_at_once(share: float) -> None:
    import numpy as np

    held = []
    for look in range(LOOKS):
        trials = 20 * (look + 1)
        middle = round(share * trials)
        inside = [hits for hits in range(trials + 1) if _holds(hits, trials, share)] if trials <= 40 else None
        low = bisect_left(range(middle + 1), 1, key=lambda hits, n=trials: int(_holds(hits, n, share)))  # type: ignore[misc]
        high = middle + bisect_left(
            range(middle, trials + 1),
            1,
            key=lambda hits, n=trials: int(not _holds(hits, n, share)),  # type: ignore[misc]
        )
        if inside is not None:
            assert (low, high - 1) == (inside[0], inside[-1])
        held.append((low, high - 1))
    bounds = np.array(held)
    hits = _hits(share, 20, seed=7)
    missed = ((hits < bounds[:, 0]) | (hits > bounds[:, 1])).any(axis=1).mean()
    assert missed <= 0.05


def _holds(hits: int, trials: int, share: float) -> bool:
    found = share_sequence(hits, trials)
    return found.low <= share <= found.high


def test_values_by_hand() -> None:
    # Uniform prior above one half: after one hit the ratio is the mean of 2p over (1/2, 1).
    assert math.exp(share_log_e_value(1, 1)) == pytest.approx(1.5)
    assert math.exp(share_log_e_value(2, 2)) == pytest.approx(7 / 3)
    assert share_log_e_value(0, 0) == 0.0
    assert share_log_e_value(0, 5000) == -math.inf
    # Jeffreys' prior with no hit in n: the interval ends where (1 - p)^n is alpha times its mean under the prior.
    high = share_sequence(0, 10).high
    mean = math.exp(math.lgamma(10.5) - math.lgamma(11.0) - math.lgamma(0.5))
    assert (1 - high) ** 10 == pytest.approx(0.05 * mean, rel=1e-6)
    assert share_sequence(0, 0).low == 0.0
    assert share_sequence(0, 0).high == 1.0


@pytest.mark.parametrize(("hits", "trials"), [(0, 0), (0, 40), (3, 200), (20, 200), (200, 200)])
def test_below_a_bound_means_that_the_interval_ends_there(hits: int, trials: int) -> None:
    high = share_sequence(hits, trials).high
    for bound in (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 0.99):
        assert share_is_below(hits, trials, bound) is (high <= bound)


def test_large_counts_stay_finite() -> None:
    assert share_log_e_value(600_000, 1_000_000) == pytest.approx(20135.5 - 6.9, abs=10)
    found = share_sequence(500_000, 1_000_000)
    assert 0.49 < found.low < 0.5 < found.high < 0.51


@pytest.mark.parametrize(("hits", "trials"), [(-1, 5), (6, 5)])
def test_impossible_counts_are_refused(hits: int, trials: int) -> None:
    with pytest.raises(SpecificationError, match="hits, trials"):
        share_log_e_value(hits, trials)
    with pytest.raises(SpecificationError, match="hits, trials"):
        share_sequence(hits, trials)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_a_bound_that_nothing_can_exceed_is_refused(share: float) -> None:
    with pytest.raises(SpecificationError, match="at_most"):
        share_log_e_value(1, 2, share)
    with pytest.raises(SpecificationError, match="confidence"):
        share_sequence(1, 2, confidence=share)
