"""An interval of a mean that holds at all looks at once."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.mean_sequence import mean_sequence


@pytest.mark.parametrize("skewed", [False, True])
def test_it_holds_the_mean_at_a_hundred_looks_at_once(skewed: bool) -> None:
    import numpy as np

    random = np.random.default_rng(11)
    draws = random.exponential(0.1, size=(1000, 100, 20)) if skewed else random.normal(0.1, 0.2, size=(1000, 100, 20))
    totals, squares = draws.sum(axis=2).cumsum(axis=1), (draws**2).sum(axis=2).cumsum(axis=1)
    # Asymptotic: the first looks, with few values, are not promised anything.
    missed = sum(
        any(
            not found.low <= 0.1 <= found.high
            for look in range(4, 100, 5)
            for found in [mean_sequence(20 * (look + 1), float(totals[run, look]), float(squares[run, look]))]
        )
        for run in range(1000)
    )
    assert missed <= 50


def test_it_shrinks_and_finds_a_shift() -> None:
    wide, narrow = mean_sequence(100, 1.0, 1.0), mean_sequence(10_000, 100.0, 100.0)
    assert narrow.high - narrow.low < (wide.high - wide.low) / 5
    assert wide.low < 0 < wide.high
    assert narrow.low > 0


def test_equal_values_have_no_width() -> None:
    found = mean_sequence(500, 0.0, 0.0)
    assert (found.low, found.value, found.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("arguments", [{"size": 1}, {"size": 5, "confidence": 1.0}, {"size": 5, "tuned_for": 0}])
def test_what_has_no_interval_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(SpecificationError):
        mean_sequence(**{"total": 0.0, "squares": 0.0, **arguments})  # type: ignore[arg-type]
