"""The interval against the values that its author published (1998, table II, method 10)."""

from __future__ import annotations

import pytest

from airflow_mlops.stats.newcombe import newcombe_interval


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0000),
        ((10, 10), (0, 10), 0.6075, 1.0000),
    ],
)
def test_published_values(first: tuple[int, int], second: tuple[int, int], low: float, high: float) -> None:
    found = newcombe_interval(*first, *second, 0.95)
    assert found == pytest.approx((low, high), abs=5e-5)


def test_swapping_the_arms_turns_the_interval_around() -> None:
    low, high = newcombe_interval(7, 50, 3, 60, 0.9)
    assert newcombe_interval(3, 60, 7, 50, 0.9) == pytest.approx((-high, -low))
