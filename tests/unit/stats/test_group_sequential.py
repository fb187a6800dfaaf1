"""The group-sequential test spends what it may, exactly, whatever is seen."""

from __future__ import annotations

import math
from typing import Any

import pytest

from airflow_mlops.stats.group_sequential import NOBODY_YET, Bound, chances, follow, spent


def test_nearly_everything_is_kept_for_the_end_but_never_all() -> None:
    assert spent(0.05, 0.0) == 0.0
    assert spent(0.05, 0.1) == pytest.approx(0.02 * 0.05 * 0.1)
    assert 0.004 < spent(0.05, 0.5) < 0.00557  # a little less than Lan and DeMets' first function
    assert spent(0.05, 1.0) == spent(0.05, 1.7) == 0.05
    values = [spent(0.05, part / 100) for part in range(101)]
    assert values == sorted(values)


@pytest.mark.parametrize("arms", [(30, 70), (500, 500), (3, 400), (400, 3)])
@pytest.mark.parametrize("harm_ratio", [1.0, 2.0])
def test_chances_are_a_distribution_with_the_right_mean(arms: tuple[int, int], harm_ratio: float) -> None:
    canary, baseline = arms
    for failures in (0, 1, 7, 90):
        first, likely = chances(failures, canary, baseline, harm_ratio)
        assert sum(likely) == pytest.approx(1.0, abs=1e-9)
        mean = sum((first + place) * chance for place, chance in enumerate(likely))
        assert mean == pytest.approx(failures * harm_ratio * canary / (harm_ratio * canary + baseline), abs=1e-7)


def test_chances_between_equal_arms_are_those_of_an_urn() -> None:
    first, likely = chances(4, 6, 10)
    expected = [math.comb(6, taken) * math.comb(10, 4 - taken) / math.comb(16, 4) for taken in range(5)]
    assert first == 0
    assert likely == pytest.approx(expected)


@pytest.mark.parametrize(
    "spans", [[(1, 20, 20)] * 12, [(9, 40, 90), (0, 30, 30), (30, 200, 100), (5, 9, 0), (14, 80, 80)]]
)
def test_what_rejects_is_just_what_may_be_spent(spans: list[tuple[int, int, int]]) -> None:
    """Every path through all spans, one by one: those that reach a bound weigh no more than the level."""
    paths: dict[tuple[int, int], float] = {(0, 0): 1.0}  # failures so far and since the look before
    survivors, rejected = NOBODY_YET, 0.0
    for number, span in enumerate(spans, start=1):
        allowed = spent(0.1, number / len(spans))
        survivors, bound = follow(survivors, span=chances(*span), allowed=allowed)
        assert bound is not None
        first, likely = chances(*span)
        moved: dict[tuple[int, int], float] = {}
        for (total, _), weight in paths.items():
            for place, chance in enumerate(likely):
                key = (total + first + place, first + place)
                moved[key] = moved.get(key, 0.0) + weight * chance
        rejected += sum(weight for key, weight in moved.items() if bound.reached(*key))
        paths = {key: weight for key, weight in moved.items() if not bound.reached(*key)}
        assert rejected == pytest.approx(survivors.spent)
        assert rejected <= allowed + 1e-12
    assert rejected + sum(survivors.density) == pytest.approx(1.0)
    assert rejected >= 0.05  # little is left unspent although the counts are small


def test_a_span_without_a_test_spends_nothing() -> None:
    survivors, bound = follow(NOBODY_YET, span=chances(20, 50, 50), allowed=None)
    assert bound is None
    assert survivors.spent == 0.0
    assert sum(survivors.density) == pytest.approx(1.0)


def test_at_the_bound_recent_failures_decide() -> None:
    bound = Bound(count=12, recent=3)
    assert bound.reached(13, 0)
    assert bound.reached(12, 3)
    assert not bound.reached(12, 2)
    assert not bound.reached(11, 11)


def test_with_numpy_the_bounds_are_the_same() -> None:
    import numpy as np

    convolve: Any = np.convolve
    plain = quick = NOBODY_YET
    for number in range(1, 21):
        span, allowed = chances(15 + number, 700, 900), spent(0.05, number / 20)
        plain, bound = follow(plain, span=span, allowed=allowed)
        quick, same = follow(quick, span=span, allowed=allowed, convolve=convolve)
        assert bound == same
    assert plain.spent == pytest.approx(quick.spent)
    assert 0.045 <= plain.spent <= 0.05
