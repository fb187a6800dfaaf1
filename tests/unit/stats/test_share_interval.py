"""A share with groups: never without width, never narrower than either of its parts."""

from __future__ import annotations

import pytest

from airflow_mlops.stats.cluster_mean import cluster_mean
from airflow_mlops.stats.share_interval import share_interval
from airflow_mlops.stats.wilson import wilson_interval

np = pytest.importorskip("numpy")
pytest.importorskip("scipy")


def test_no_hit_at_all_has_wilsons_width():
    found = share_interval(np.zeros(200, dtype=bool), np.arange(200) % 10)
    assert (found.low, found.high) == wilson_interval(0, 200)


def test_days_that_differ_widen_it():
    days = np.repeat(np.arange(10), 20)
    hits = days < 3
    found, by_day = share_interval(hits, days), cluster_mean(hits, days)
    assert found.low == max(0, by_day.low) < wilson_interval(60, 200)[0]
    assert found.high == by_day.high > wilson_interval(60, 200)[1]
    assert share_interval(hits).high == wilson_interval(60, 200)[1]
