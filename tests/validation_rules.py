"""Rules whose outcome on one small table is known, for every engine that evaluates rules."""

from __future__ import annotations

from typing import Any

#: The table, column by column; 21 rows.
COLUMNS: dict[str, list[Any]] = {
    "id": [*["a1", "a2", "a2", None, "b1"] * 4, "c1"],
    "delay": [*[1.0, 5.0, None, 99.0, -3.0] * 4, 5.0],
    "number": list(range(21)),
    "void": [None] * 21,
}
#: Rule, whether the table keeps it, how many rows break it.
ROWS: list[tuple[tuple[str, dict[str, Any]], bool, int]] = [
    (("column_values_to_not_be_null", {"column": "delay"}), False, 4),
    (("column_values_to_not_be_null", {"column": "delay", "mostly": 0.8}), True, 4),
    (("column_values_to_not_be_null", {"column": "void"}), False, 21),
    (("column_values_to_be_unique", {"column": "id"}), False, 16),
    (("column_values_to_be_unique", {"column": "number"}), True, 0),
    (("column_values_to_be_between", {"column": "delay", "min_value": 0, "max_value": 9}), False, 8),
    (("column_values_to_be_between", {"column": "delay", "min_value": 1, "strict_min": True}), False, 8),
    (("column_values_to_be_between", {"column": "delay", "max_value": 99, "strict_max": True}), False, 4),
    (("column_values_to_be_between", {"column": "delay", "min_value": -3, "max_value": 99}), True, 0),
    (("column_values_to_be_between", {"column": "void", "min_value": 0}), True, 0),
    (("column_values_to_be_between", {"column": "delay", "max_value": 9, "mostly": 0.76}), True, 4),
    (("column_values_to_be_between", {"column": "delay", "max_value": 9, "mostly": 0.77}), False, 4),
    (("column_values_to_be_in_set", {"column": "id", "value_set": ["a1", "a2"]}), False, 5),
    (("column_values_to_not_be_in_set", {"column": "id", "value_set": ["c1"]}), False, 1),
    (("column_values_to_match_regex", {"column": "id", "regex": "^a|1$"}), True, 0),
    (("column_values_to_match_regex", {"column": "id", "regex": "1"}), False, 8),
    (("column_value_lengths_to_equal", {"column": "id", "value": 2}), True, 0),
    (("column_value_lengths_to_be_between", {"column": "id", "max_value": 1}), False, 17),
]
#: Rule about the table as a whole, whether it is kept.
TABLE: list[tuple[tuple[str, dict[str, Any]], bool]] = [
    (("column_to_exist", {"column": "delay"}), True),
    (("column_to_exist", {"column": "dely"}), False),
    (("table_columns_to_match_set", {"column_set": ["id", "delay", "number", "void"]}), True),
    (("table_columns_to_match_set", {"column_set": ["id"], "exact_match": False}), True),
    (("table_columns_to_match_set", {"column_set": ["id"]}), False),
    (("table_columns_to_match_set", {"column_set": ["id", "who"], "exact_match": False}), False),
    (("table_row_count_to_be_between", {"min_value": 21, "max_value": 21}), True),
    (("table_row_count_to_be_between", {"min_value": 22}), False),
]


def document(*rules: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    """Give a suite of these rules."""
    return {"name": "s", "rules": [{"type": f"expect_{kind}", "kwargs": given} for kind, given in rules]}
