"""The profile as a page."""

from __future__ import annotations

import re

from airflow_mlops.references import DatasetRef
from airflow_mlops.stats.rank_summary import summarise_ranks
from airflow_mlops.validation.profile import ColumnProfile, DatasetProfile, TopValue, Totals
from airflow_mlops.validation.profile_html import render_profile

HOSTILE = "<script>alert(1)</script>"
NUMBERS = ColumnProfile(
    kind="number",
    type="double",
    rows=1000,
    missing=250,
    totals=Totals(count=750, mean=12.5, squares=749.0 * 4),
    low=0.0,
    high=99.0,
    ranks=summarise_ranks([float(number) for number in range(100)], [8] * 50 + [7] * 50),
    top_error=8,
)


def page(**columns: ColumnProfile) -> str:
    dataset = DatasetRef(uri="file:///d", digest="sha256:" + "a" * 64, format="parquet", size_bytes=1, rows=1000)
    profile = DatasetProfile(datasets=(dataset.digest,), rows=1000, columns=columns, model_version="7")
    return render_profile(profile, dataset=dataset, suite_text="name: draft", profiled_at="2026-11-20 12:00:00 UTC")


def test_numbers_are_shown_with_spread_and_missing_share():
    text = page(delay=NUMBERS)

    assert "250 of 1,000 rows (25.00%)" in text
    assert "<dt>mean</dt><dd>12.5</dd>" in text
    assert "<dt>standard deviation</dt><dd>2</dd>" in text
    assert "<dt>highest</dt><dd>99</dd>" in text
    assert text.count('<i style="height:') == 40
    assert "name: draft" in text


def test_values_are_escaped_and_nothing_is_fetched():
    column = ColumnProfile(
        kind="text", type="string", rows=3, missing=0, shortest=1, longest=25, top=(TopValue(value=HOSTILE, count=2),)
    )

    text = page(**{HOSTILE: column})

    assert HOSTILE not in text
    assert not re.search(r"https?://|<script|<link|<img|@import|url\(|\son\w+=", text)


def test_odd_columns_are_shown_as_well():
    time = ColumnProfile(
        kind="time", type="timestamp[us]", rows=1, missing=0, low=86400.0, high=1e15, ranks=summarise_ranks([1e15], [1])
    )
    nothing = ColumnProfile(kind="other", type="null", rows=1, missing=1)
    constant = ColumnProfile(
        kind="number", type="int64", rows=2, missing=0, low=3, high=3, ranks=summarise_ranks([3.0], [2])
    )

    text = page(time=time, nothing=nothing, constant=constant)

    assert "1970-01-02 00:00:00" in text
    assert "1000000000000000 s" in text
    assert "<dt>median</dt><dd>3</dd>" in text
