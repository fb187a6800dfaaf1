"""Profiles of real files: what they count, and that parts add up to the whole."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import pytest

pd = pytest.importorskip("pandas")
pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

import yaml  # noqa: E402
from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from airflow_mlops.adapters.tables import profiling  # noqa: E402
from airflow_mlops.adapters.tables.files import load_frame  # noqa: E402
from airflow_mlops.adapters.tables.profiling import profile_columns  # noqa: E402
from airflow_mlops.codec import canonical_json, encode  # noqa: E402
from airflow_mlops.exceptions import ContractError, SpecificationError  # noqa: E402
from airflow_mlops.validation.profile import (  # noqa: E402
    ColumnProfile,
    DatasetProfile,
    merge_columns,
    merge_profiles,
    parse_profile,
)
from airflow_mlops.validation.suggestion import suggest_suite, suite_text  # noqa: E402


def profile(tmp_path, top_values: int = 50, **columns) -> dict[str, ColumnProfile]:
    pq.write_table(pa.table(columns), tmp_path / "rows.parquet")
    return profile_columns(tmp_path / "rows.parquet", "parquet", top_values=top_values)


def test_numbers_have_counts_moments_bounds_and_quantiles(tmp_path):
    found = profile(tmp_path, a=[1.0, 2.0, 2.0, None, math.nan, math.inf, 7.0])["a"]

    assert (found.kind, found.rows, found.missing, found.infinite) == ("number", 7, 2, 1)
    assert (found.low, found.high, found.totals.count, found.totals.mean) == (1.0, 7.0, 4, 3.0)
    assert found.totals.deviation == pytest.approx(pd.Series([1, 2, 2, 7]).std())
    assert found.ranks.quantile(0.5) == 2.0
    assert [(one.value, one.count) for one in found.top] == [("2.0", 2), ("1.0", 1), ("7.0", 1)]
    assert found.distinct == 3


def test_other_kinds(tmp_path):
    found = profile(
        tmp_path,
        text=["x", "yyy", None],
        category=pa.array(["a", "b", "a"]).dictionary_encode(),
        flag=[True, None, True],
        at=pa.array(
            [dt.datetime(2013, 3, 1, tzinfo=dt.UTC), None, dt.datetime(2013, 3, 2, tzinfo=dt.UTC)],
            pa.timestamp("ns", "UTC"),
        ),
        day=[dt.date(1970, 1, 2), dt.date(1970, 1, 2), None],
        many=[[1], [2], None],
        nothing=pa.nulls(3),
        whole=[2**60, 2**60 + 1, -5],
    )

    assert {name: one.kind for name, one in found.items()} == {
        "text": "text",
        "category": "text",
        "flag": "boolean",
        "at": "time",
        "day": "time",
        "many": "other",
        "nothing": "other",
        "whole": "number",
    }
    assert (found["text"].shortest, found["text"].longest) == (1, 3)
    assert [(one.value, one.count) for one in found["category"].top] == [("a", 2), ("b", 1)]
    assert (found["day"].low, found["day"].high) == (86400.0, 86400.0)
    assert found["at"].high - found["at"].low == 86400.0
    assert (found["many"].missing, found["many"].distinct, found["nothing"].present) == (1, None, 0)


def test_ids_and_long_texts_are_not_copied_into_the_profile(tmp_path):
    found = profile(tmp_path, id=[f"user-{number}" for number in range(500)], said=["x" * 5000] * 500)

    assert (found["id"].top, found["id"].top_error, found["id"].distinct) == ((), 1, None)
    assert len(found["said"].top[0].value) < 100
    assert profile(tmp_path, top_values=0, a=["secret"] * 9)["a"].top == ()


def test_a_profile_of_many_rows_is_a_matter_of_kilobytes_and_always_the_same(tmp_path):
    frame = {f"c{column}": [math.sin(row * (column + 1)) for row in range(20_000)] for column in range(3)}

    one, other = profile(tmp_path, **frame), profile(tmp_path, **frame)

    assert canonical_json(encode(one)) == canonical_json(encode(other))
    assert len(canonical_json(encode(one))) < 3 * 10_000
    assert one["c0"].ranks.error <= 0.005 * 20_000


def test_csv_sees_missing_values_where_pandas_does(tmp_path):
    (tmp_path / "rows.csv").write_text("a,b\n1,x\n,\n3,NA\n")

    found = profile_columns(tmp_path / "rows.csv", "csv", top_values=50)

    frame = load_frame(tmp_path / "rows.csv", "csv")
    assert {name: one.missing for name, one in found.items()} == frame.isna().sum().to_dict() == {"a": 1, "b": 2}
    assert found["a"].totals.mean == 2.0


_VALUES = st.fixed_dictionaries(
    {
        "number": st.none() | st.floats(-1e9, 1e9) | st.sampled_from([0.0, 1.0, math.inf, math.nan]),
        "whole": st.none() | st.integers(-1000, 1000),
        "text": st.none() | st.text(max_size=3) | st.sampled_from(["a", "b"]),
        "flag": st.none() | st.booleans(),
    }
)
_ROWS = st.lists(_VALUES, min_size=1, max_size=60)
_SCHEMA = pa.schema([("number", pa.float64()), ("whole", pa.int64()), ("text", pa.string()), ("flag", pa.bool_())])
_NUMBERS = itertools.count()


@settings(max_examples=60)
@given(_ROWS, _ROWS, st.sampled_from([2, 5, 200]))
def test_parts_add_up_to_the_whole(tmp_path_factory, one, other, top_values):
    folder = tmp_path_factory.mktemp(f"profiles{next(_NUMBERS)}")

    def of(name: str, rows: list[dict]) -> dict[str, ColumnProfile]:
        pq.write_table(pa.Table.from_pylist(rows, _SCHEMA), folder / name)
        return profile_columns(folder / name, "parquet", top_values=top_values)

    parts, whole = (of("a", one), of("b", other)), of("c", one + other)
    for name, exact in whole.items():
        merged = merge_columns([part[name] for part in parts], top_values=top_values)
        same = ("kind", "rows", "missing", "infinite", "low", "high", "shortest", "longest", "ranks")
        assert {field: getattr(merged, field) for field in same} == {field: getattr(exact, field) for field in same}
        assert (merged.totals is None) == (exact.totals is None)
        if merged.totals is not None:
            assert merged.totals.count == exact.totals.count
            assert merged.totals.mean == pytest.approx(exact.totals.mean, rel=1e-9, abs=1e-3)
            assert merged.totals.squares == pytest.approx(exact.totals.squares, rel=1e-9, abs=1e-3)
        if merged.top_error == 0:
            assert merged == merged.__class__(**{**vars(exact), "totals": merged.totals})
        counts: dict[str, int] = {}
        for row in one + other:
            value = row[name]
            if value is not None and not (isinstance(value, float) and not math.isfinite(value)):
                counts[str(value)] = counts.get(str(value), 0) + 1
        listed = {found.value: found.count for found in merged.top}
        for value, count in counts.items():
            assert listed.get(value, 0) <= count <= listed.get(value, 0) + merged.top_error


def test_batches_of_a_file_add_up_too(tmp_path, monkeypatch):
    rows = {"a": [float(row % 17) for row in range(1000)], "t": [f"t{row % 3}" for row in range(1000)]}
    whole = profile(tmp_path, **rows)
    monkeypatch.setattr(profiling, "_ROWS_AT_ONCE", 64)

    parts = profile(tmp_path, **rows)

    assert parts["t"] == whole["t"]
    assert parts["a"].ranks == whole["a"].ranks
    assert parts["a"].totals.squares == pytest.approx(whole["a"].totals.squares)


def test_a_part_without_values_fits_any_kind_but_kinds_do_not_mix(tmp_path):
    nothing, text, number = (profile(tmp_path, a=values)["a"] for values in (pa.nulls(2), ["x", "y"], [1.0, 2.0]))

    merged = merge_columns([nothing, text], top_values=5)
    assert (merged.kind, merged.rows, merged.missing) == ("text", 4, 2)
    with pytest.raises(ContractError, match="different kinds cannot be merged: number, text"):
        merge_columns([text, number], top_values=5)


def dataset_profile(tmp_path, number: int, **columns) -> DatasetProfile:
    found = profile(tmp_path, **columns)
    return DatasetProfile(
        datasets=(f"sha256:{number:064d}",), rows=next(iter(found.values())).rows, columns=found, model_version="3"
    )


def test_profiles_of_partitions_merge_into_one_of_all(tmp_path):
    one, other = dataset_profile(tmp_path, 1, a=[1, 2]), dataset_profile(tmp_path, 2, a=[3])

    merged = merge_profiles([other, one])

    assert merged.datasets == (*one.datasets, *other.datasets)
    assert (merged.rows, merged.columns["a"].high, merged.model_version) == (3, 3.0, "3")
    assert parse_profile(encode(merged)) == merged
    with pytest.raises(ContractError, match="its rows would count twice"):
        merge_profiles([one, merged])
    with pytest.raises(ContractError, match="different columns cannot be merged: a, b"):
        merge_profiles([one, dataset_profile(tmp_path, 3, b=[1])])
    with pytest.raises(SpecificationError, match="profile_version"):
        parse_profile({**encode(merged), "profile_version": 2})


def test_a_suggested_suite_is_yaml_that_its_own_data_keep(tmp_path):
    from airflow_mlops.adapters.validators.pandera import PanderaBackend
    from airflow_mlops.validation.spec import parse_suite

    pytest.importorskip("pandera")
    size = 400
    found = dataset_profile(
        tmp_path,
        1,
        id=[f"f{row:04d}" for row in range(size)],
        origin=["EWR", "JFK"] * (size // 2),
        delay=[float(row % 60) - 5 for row in range(size)],
        distance=[100 + row for row in range(size)],
        temp=[None if row % 10 == 0 else 50.0 for row in range(size)],
        mostly_missing=[1 if row % 10 == 0 else None for row in range(size)],
        nothing=pa.nulls(size),
    )

    text = suite_text(suggest_suite(found, name="draft"), found)

    suite = parse_suite(yaml.safe_load(text))
    rules = {(rule.type.removeprefix("expect_"), *rule.columns): rule for rule in suite.rules}
    assert text.startswith("# Suggested from 400 rows (sha256:")
    assert rules["column_values_to_be_in_set", "origin"].kwargs["value_set"] == ["EWR", "JFK"]
    assert rules["column_value_lengths_to_equal", "id"].kwargs["value"] == 5
    assert rules["column_values_to_be_between", "delay"].kwargs == {
        "column": "delay",
        "min_value": -11,
        "max_value": 60,
    }
    assert rules["column_values_to_be_between", "distance"].kwargs["min_value"] == 60
    assert rules["column_values_to_not_be_null", "temp"].kwargs["mostly"] == 0.8
    assert ("column_values_to_not_be_null", "mostly_missing") not in rules
    results = PanderaBackend(load_frame).validate(tmp_path / "rows.parquet", suite)
    assert [one.reason for one in results if not one.passed] == []
