"""The report as a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from airflow_mlops.references import DatasetRef
from airflow_mlops.validation.html import render_html
from airflow_mlops.validation.report import RuleResult, UnexpectedValue, judge
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec

HOSTILE = "<script>alert(1)</script>"


def page(*results: RuleResult) -> str:
    suite = SuiteSpec(name="flights-month", rules=tuple(one.rule for one in results))
    dataset = DatasetRef(
        uri="file:///data/flights.parquet",
        digest="sha256:" + "a" * 64,
        format="parquet",
        size_bytes=4096,
        rows=27902,
        partition="2013-03",
    )
    return render_html(judge(suite, dataset, results), checked_at="2026-11-20 12:00:00 UTC")


def broken(**more) -> RuleResult:
    rule = RuleSpec(type="expect_column_values_to_be_between", kwargs={"column": "dep_delay", "max_value": 1500})
    return RuleResult(rule=rule, passed=False, rows=27902, unexpected_count=279, **more)


def test_it_says_what_is_wrong_with_numbers_and_examples():
    text = page(broken(examples=(UnexpectedValue(value="99999.0", count=279),), first_rows=(3, 17)))

    assert "279 of 27,902 rows (1.00%) break this rule" in text
    assert "99999.0 \N{MULTIPLICATION SIGN} 279" in text
    assert "counted from 0: 3, 17" in text
    assert "sha256:" + "a" * 64 in text
    assert "The data are not fit for use." in text


def test_values_from_the_data_are_escaped():
    text = page(broken(examples=(UnexpectedValue(value=HOSTILE, count=1),)))

    assert HOSTILE not in text
    assert "&lt;script&gt;" in text


def test_nothing_is_fetched_and_nothing_runs():
    text = page(broken())

    assert not re.search(r"https?://|<script|<link|<img|@import|url\(|\son\w+=", text)


def test_it_suits_phones_and_dark_rooms():
    text = page(broken())

    assert 'name="viewport"' in text
    assert "prefers-color-scheme: dark" in text


def test_tags_are_balanced():
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag != "meta":
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    absent = RuleResult(
        rule=RuleSpec(type="expect_column_values_to_be_unique", kwargs={"column": "id"}),
        passed=None,
        error="the column 'id' is missing",
        missing_columns=("id",),
    )
    kept = RuleResult(rule=RuleSpec(type="expect_table_row_count_to_be_between"), passed=True, observed="27902")
    Checker().feed(page(broken(), absent, kept))

    assert open_tags == []
