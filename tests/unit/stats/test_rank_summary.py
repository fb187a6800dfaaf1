"""Quantiles that say how wrong they may be."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.rank_summary import RankSummary, merge_summaries, summarise_ranks

NUMBERS = st.lists(st.integers(-30, 30).map(float) | st.floats(-1e6, 1e6), min_size=1, max_size=300)


def summary(numbers: list[float], points: int = 10) -> RankSummary:
    counts = Counter(numbers)
    values = sorted(counts)
    return summarise_ranks(values, [counts[value] for value in values], points=points)


def check(found: RankSummary, numbers: list[float]) -> None:
    """Hold every rank and quantile to what the summary promises."""
    assert found.rows == len(numbers)
    assert (found.values[0] >= min(numbers), found.values[-1]) == (True, max(numbers))
    for value in {*numbers, *found.values}:
        exact = sum(number <= value for number in numbers)
        assert found.rank(value) <= exact <= found.rank(value) + found.error
    for share in (0.0, 0.01, 0.25, 0.5, 0.75, 0.99, 1.0):
        value, wanted = found.quantile(share), share * len(numbers)
        assert sum(number <= value for number in numbers) >= wanted
        assert sum(number < value for number in numbers) <= max(0, wanted + found.error)


@given(NUMBERS)
def test_a_summary_keeps_its_promise_and_stays_small(numbers):
    found = summary(numbers)

    check(found, numbers)
    assert len(found.values) <= 11
    assert found.error <= 2 * len(numbers) / 10 + 1


@given(st.lists(NUMBERS, min_size=1, max_size=6))
def test_merged_summaries_keep_the_promise_for_all_rows(parts):
    merged = merge_summaries([summary(part) for part in parts], points=10)

    check(merged, [number for part in parts for number in part])
    assert len(merged.values) <= 11


@given(NUMBERS, NUMBERS)
def test_the_order_of_merging_does_not_matter(one, other):
    assert merge_summaries([summary(one), summary(other)]) == merge_summaries([summary(other), summary(one)])


def test_few_distinct_values_are_kept_exactly():
    found = merge_summaries([summary([1.0, 2.0, 2.0]), summary([2.0, 7.0])])

    assert (found.values, found.weights, found.error) == ((1.0, 2.0, 7.0), (1, 3, 1), 0)


def test_a_heavy_value_is_told_exactly():
    found = summary([5.0] * 1000 + [float(number) for number in range(100, 200)])

    assert (found.rank(5.0), found.quantile(0.9)) == (1000, 5.0)


def test_a_year_of_days_costs_little():
    days = [[float((day * 7919 + row * 104729) % 100_003) for row in range(2000)] for day in range(60)]
    merged = merge_summaries([summary(day, points=400) for day in days], points=400)

    assert merged.rows == 120_000
    assert merged.error <= 0.01 * merged.rows


def test_it_round_trips_and_refuses_what_is_none():
    found = summary([1.0, 2.0])
    assert decode(RankSummary, encode(found)) == found
    with pytest.raises(SpecificationError, match="ascending points"):
        RankSummary(values=(2.0, 1.0), weights=(1, 1))
    with pytest.raises(SpecificationError, match="of at least one row"):
        RankSummary().quantile(0.5)
