"""A suite to begin with, from what a profile shows: a draft for a person to edit, never a judgement by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import yaml

from airflow_mlops.codec import encode
from airflow_mlops.validation.profile import LONGEST_VALUE, ColumnProfile, DatasetProfile
from airflow_mlops.validation.spec import RuleSpec, SuiteSpec

__all__ = ["suggest_suite", "suite_text"]

_MOST_CATEGORIES = 20
_ROWS_PER_CATEGORY = 10
_ROOM = 0.1


def suggest_suite(profile: DatasetProfile, *, name: str) -> SuiteSpec:
    """Draft rules that the profiled rows keep, with room for rows to come.

    Rules about the shape of the table and about columns without a missing value are critical; those about values only
    warn, because one dataset shows what was, not what may be. Both backends have all of these rules.
    """
    rules = [
        RuleSpec(
            type="expect_table_columns_to_match_set",
            kwargs={"column_set": list(profile.columns), "exact_match": False},
            because="These columns were there; others may come along.",
        ),
        RuleSpec(
            type="expect_table_row_count_to_be_between",
            kwargs={"min_value": max(1, profile.rows // 2), "max_value": max(1, profile.rows * 2)},
            severity="warning",
            because=f"There were {profile.rows:,} rows.",
        ),
    ]
    for column, found in profile.columns.items():
        rules += _missing(column, found)
        if found.present:
            rules += _values(column, found)
    return SuiteSpec(name=name, rules=tuple(rules))


def suite_text(suite: SuiteSpec, profile: DatasetProfile) -> str:
    """Write a suite as YAML for people, with a word on where it comes from."""
    document: dict[str, Any] = {"name": suite.name, "rules": [_plain(rule) for rule in suite.rules]}
    comment = (
        f"# Suggested from {profile.rows:,} rows ({', '.join(profile.datasets)}).\n"
        "# A draft: these rules say what was seen, not what is right. Edit them before anything depends on them.\n"
    )
    return comment + yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=110)


def _plain(rule: RuleSpec) -> dict[str, Any]:
    encoded = encode(rule)
    return {key: encoded[key] for key in ("type", "kwargs", "severity", "because") if encoded[key]}


def _missing(column: str, found: ColumnProfile) -> Iterator[RuleSpec]:
    share = found.missing / found.rows if found.rows else 1.0
    seen = f"{found.missing:,} of {found.rows:,} rows had no value."
    if share == 0:
        yield RuleSpec(type="expect_column_values_to_not_be_null", kwargs={"column": column}, because=seen)
    elif share < 1 / 2:
        mostly = math.floor(100 * (1 - 2 * share)) / 100
        kwargs = {"column": column, "mostly": mostly}
        yield RuleSpec(type="expect_column_values_to_not_be_null", kwargs=kwargs, severity="warning", because=seen)


def _values(column: str, found: ColumnProfile) -> Iterator[RuleSpec]:
    if found.kind == "number" and found.low is not None and found.high is not None:
        low, high = _room(found.low, found.high)
        yield RuleSpec(
            type="expect_column_values_to_be_between",
            kwargs={"column": column, "min_value": low, "max_value": high},
            severity="warning",
            because=f"The lowest value was {found.low:g}, the highest {found.high:g}.",
        )
    if found.kind != "text":
        return
    whole = found.longest is not None and found.longest <= LONGEST_VALUE
    few = whole and found.distinct is not None and found.distinct <= _MOST_CATEGORIES
    if few and found.present >= _ROWS_PER_CATEGORY * len(found.top):
        yield RuleSpec(
            type="expect_column_values_to_be_in_set",
            kwargs={"column": column, "value_set": sorted(one.value for one in found.top)},
            severity="warning",
            because=f"There were no other values in {found.present:,} rows.",
        )
    elif found.shortest is not None and found.shortest == found.longest:
        yield RuleSpec(
            type="expect_column_value_lengths_to_equal",
            kwargs={"column": column, "value": found.shortest},
            severity="warning",
            because="Every value had this length.",
        )


def _room(low: float, high: float) -> tuple[float | int, float | int]:
    """Widen a range by a tenth at either end, to round numbers, but not across zero."""
    extra = _ROOM * (high - low) or _ROOM * abs(low) or 1.0
    unit = 10.0 ** math.floor(math.log10(extra))
    wider_low, wider_high = math.floor((low - extra) / unit), math.ceil((high + extra) / unit)
    bottom = 0.0 if low >= 0 > wider_low else _rounded(wider_low, unit)
    top = 0.0 if high <= 0 < wider_high else _rounded(wider_high, unit)
    return _whole(bottom), _whole(top)


def _rounded(steps: int, unit: float) -> float:
    """Return ``steps * unit`` without the digits that binary fractions add."""
    return float(f"{steps * unit:.12g}")


def _whole(value: float) -> float | int:
    return int(value) if value == int(value) else value
