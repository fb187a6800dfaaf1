"""What pandera's backend says where it differs from Great Expectations'."""

from __future__ import annotations

import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("pandera")

from airflow_mlops.adapters.tables.files import load_frame  # noqa: E402
from airflow_mlops.adapters.validators.pandera import PanderaBackend  # noqa: E402
from airflow_mlops.exceptions import SpecificationError  # noqa: E402
from airflow_mlops.validation.report import RuleResult  # noqa: E402
from airflow_mlops.validation.spec import parse_suite  # noqa: E402


def check(tmp_path, kind: str, **kwargs) -> RuleResult:
    pd.DataFrame({"a": [1, 2], "s": ["x", "y"]}).to_parquet(tmp_path / "rows.parquet")
    suite = parse_suite({"name": "s", "rules": [{"type": f"expect_{kind}", "kwargs": kwargs}]})
    (found,) = PanderaBackend(load_frame).validate(tmp_path / "rows.parquet", suite)
    return found


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        (
            "column_mean_to_be_between",
            {"column": "a", "max_value": 1},
            r"s.rules\[0\].type: 'expect_column_mean_to_be_between' .* a rule of the backend 'pandera', which has",
        ),
        ("column_values_to_be_between", {"column": "a"}, r"rules\[0\].kwargs.min_value: .* a bound"),
        ("table_row_count_to_be_between", {}, r"rules\[0\].kwargs.min_value: .* a bound"),
        ("column_value_lengths_to_be_between", {"column": "s"}, r"rules\[0\].kwargs.min_value: .* a bound"),
        ("column_values_to_match_regex", {"column": "s", "regex": "("}, r"kwargs.regex: .* a regular expression"),
        ("column_values_to_be_of_type", {"column": "s", "type_": "txt"}, r"kwargs.type_: 'txt' .* a type of pandas"),
        ("column_values_to_be_between", {"column": "a", "min_valu": 1}, r"did you mean 'min_value'\?"),
        ("column_values_to_be_unique", {"column": "a", "mostly": -1}, r"kwargs.mostly: -1.* a share between 0 and 1"),
    ],
)
def test_wrong_rules_are_refused_with_their_place(tmp_path, kind, kwargs, message):
    with pytest.raises(SpecificationError, match=message):
        check(tmp_path, kind, **kwargs)


def test_text_rules_want_text(tmp_path):
    found = check(tmp_path, "column_values_to_match_regex", column="a", regex="1")

    assert "str accessor" in (found.error or "")


def test_a_type_shows_what_was_found(tmp_path):
    found = check(tmp_path, "column_values_to_be_of_type", column="a", type_="str")

    assert (found.passed, found.observed) == (False, "int64")


def test_columns_that_differ_are_named(tmp_path):
    found = check(tmp_path, "table_columns_to_match_set", column_set=["a", "b"])

    assert (found.passed, found.observed) == (False, "missing: b; unexpected: s")
