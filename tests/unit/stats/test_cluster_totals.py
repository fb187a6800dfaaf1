"""The mean of grouped observations from sums."""

from __future__ import annotations

import random

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.cluster_totals import cluster_mean_of_totals


def test_it_agrees_with_the_interval_from_rows():
    pytest.importorskip("numpy")
    pytest.importorskip("scipy")
    from airflow_mlops.stats.cluster_mean import cluster_mean

    generator = random.Random(7)
    days = [[generator.random() + day % 3 for _ in range(5 + day)] for day in range(12)]
    values = [value for day in days for value in day]
    names = [number for number, day in enumerate(days) for _ in day]

    ours = cluster_mean_of_totals([sum(day) for day in days], [len(day) for day in days], confidence=0.9)
    theirs = cluster_mean(values, names, confidence=0.9)

    assert (ours.value, ours.low, ours.high) == pytest.approx((theirs.value, theirs.low, theirs.high))


def test_its_intervals_hold_the_truth_as_often_as_they_promise():
    generator = random.Random(11)
    held, runs = 0, 400
    for _ in range(runs):
        effects = [generator.gauss(0, 0.1) for _ in range(30)]
        sums = [sum(effect + generator.gauss(0, 0.4) for _ in range(20)) for effect in effects]
        interval = cluster_mean_of_totals(sums, [20] * 30, confidence=0.9)
        held += interval.low <= 0 <= interval.high

    assert 0.86 <= held / runs <= 0.94


@pytest.mark.parametrize(
    ("sums", "counts", "message"),
    [
        ([1.0], [2], "at least two groups"),
        ([1.0, 2.0], [2], "as many counts as sums, 2"),
        ([1.0, 2.0], [2, 0], "at least one observation in each group"),
    ],
)
def test_what_has_no_interval_is_refused(sums, counts, message):
    with pytest.raises(SpecificationError, match=message):
        cluster_mean_of_totals(sums, counts)
