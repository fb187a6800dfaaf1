"""Good rows and bad rows, copied from file to file."""

from __future__ import annotations

import csv
import io
import itertools

import pytest

pd = pytest.importorskip("pandas")
pq = pytest.importorskip("pyarrow.parquet")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from airflow_mlops.adapters.tables.files import describe, load_frame  # noqa: E402
from airflow_mlops.adapters.tables.separation import separate  # noqa: E402
from airflow_mlops.exceptions import ContractError, PermanentAdapterError  # noqa: E402


def test_parquet_keeps_types_order_and_values(tmp_path):
    frame = pd.DataFrame(
        {
            "id": pd.array([1, None, 3, 4], dtype="Int32"),
            "at": pd.to_datetime(["2013-01-01", "2013-01-02", None, "2013-01-04"]),
            "kind": pd.Categorical(["a", "b", "a", "b"]),
        }
    )
    frame.to_parquet(tmp_path / "rows.parquet")

    separate(tmp_path / "rows.parquet", "parquet", {1: ["r0"], 3: ["r0", "r1"]}, tmp_path)

    good, bad = (pq.read_table(tmp_path / part / "rows.parquet") for part in ("good", "bad"))
    source = pq.read_table(tmp_path / "rows.parquet")
    assert good.to_pylist() == source.take([0, 2]).to_pylist()
    assert good.schema.equals(source.schema)
    assert bad.drop_columns(["_row", "_broken_rules"]).to_pylist() == source.take([1, 3]).to_pylist()
    assert bad["_row"].to_pylist() == [1, 3]
    assert bad["_broken_rules"].to_pylist() == [["r0"], ["r0", "r1"]]


def test_csv_keeps_the_very_text(tmp_path):
    (tmp_path / "rows.csv").write_text('code,said\n007,"a, ""b""\nand more"\n1.50,\n\n0012,NA\n')

    separate(tmp_path / "rows.csv", "csv", {1: ["r0", "r1"]}, tmp_path)

    assert (tmp_path / "good" / "rows.csv").read_text() == 'code,said\n007,"a, ""b""\nand more"\n0012,NA\n'
    assert (tmp_path / "bad" / "rows.csv").read_text() == "code,said,_row,_broken_rules\n1.50,,1,r0; r1\n"


def test_rows_are_counted_over_all_files_and_files_keep_their_names(tmp_path):
    source = tmp_path / "source"
    for number, month in enumerate(("month=1", "month=2", "month=3")):
        (source / month).mkdir(parents=True)
        pd.DataFrame({"id": [number * 2, number * 2 + 1]}).to_parquet(source / month / "part.parquet")

    separate(source, "parquet", {1: ["r"], 4: ["r"], 5: ["r"]}, tmp_path)

    good, bad = (load_frame(tmp_path / part, "parquet") for part in ("good", "bad"))
    assert list(good["id"]) == [0, 2, 3]
    assert list(bad["id"]) == list(bad["_row"]) == [1, 4, 5]
    untouched = "month=2/part.parquet"
    assert (tmp_path / "good" / untouched).read_bytes() == (source / untouched).read_bytes()
    assert not (tmp_path / "good" / "month=3").exists()


@pytest.mark.parametrize("name", ["_row", "_broken_rules"])
@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_column_that_bad_rows_get_must_not_be_there(tmp_path, name, format):  # noqa: A002
    frame, path = pd.DataFrame({name: [1, 2]}), tmp_path / f"rows.{format}"
    frame.to_csv(path, index=False) if format == "csv" else frame.to_parquet(path)

    with pytest.raises(ContractError, match=f"the column '{name}', which bad rows get, is there already"):
        separate(path, format, {0: ["r"]}, tmp_path)


def test_a_row_that_is_not_there_is_an_error(tmp_path):
    pd.DataFrame({"a": [1, 2]}).to_parquet(tmp_path / "rows.parquet")

    with pytest.raises(ContractError, match="there is no row 2; the table has 2"):
        separate(tmp_path / "rows.parquet", "parquet", {2: ["r"]}, tmp_path)


def test_a_broken_csv_file_says_so(tmp_path):
    (tmp_path / "rows.csv").write_text('a\n"never ends\n')

    with pytest.raises(PermanentAdapterError, match="not readable as csv"):
        separate(tmp_path / "rows.csv", "csv", {0: ["r"]}, tmp_path)


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\r\0", exclude_categories=["Cs"]), max_size=4)
_NUMBERS = itertools.count()


@given(st.lists(st.tuples(_CELLS, _CELLS), min_size=1, max_size=20), st.data())
def test_no_row_is_lost_whatever_it_holds(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp(f"csv{next(_NUMBERS)}")
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows([("a", "b"), *rows])
    bad = data.draw(st.sets(st.integers(0, len(rows) - 1)))

    separate(folder / "rows.csv", "csv", {row: ["r"] for row in bad}, folder)

    def read(part: str) -> list[list[str]]:
        path = folder / part / "rows.csv"
        return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))[1:] if path.exists() else []

    assert [tuple(row) for row in read("good")] == [row for number, row in enumerate(rows) if number not in bad]
    assert [tuple(row[:2]) for row in read("bad")] == [row for number, row in enumerate(rows) if number in bad]
    assert [int(row[2]) for row in read("bad")] == sorted(bad)


def test_the_index_of_pandas_is_neither_a_row_number_nor_lost(tmp_path):
    frame = pd.DataFrame({"id": [5, 6, 7], "a": [1, 2, 3]})
    frame.iloc[1:].to_parquet(tmp_path / "cut.parquet")
    frame.set_index("id").to_parquet(tmp_path / "named.parquet")

    assert list(load_frame(tmp_path / "cut.parquet", "parquet").index) == [0, 1]
    named = load_frame(tmp_path / "named.parquet", "parquet")
    assert (list(named["id"]), list(named.index)) == ([5, 6, 7], [0, 1, 2])
    assert describe(tmp_path / "named.parquet", "parquet").rows == 3
