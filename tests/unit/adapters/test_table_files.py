"""Tables kept as files."""

from __future__ import annotations

from pathlib import Path

import pytest

pa = pytest.importorskip("pyarrow")
pd = pytest.importorskip("pandas")

from airflow_mlops.adapters.tables.files import describe, load_frame  # noqa: E402
from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError  # noqa: E402


def frame(rows: int = 3):
    return pd.DataFrame({"id": [f"f{i}" for i in range(rows)], "delay": [float(i) for i in range(rows)]})


def test_parquet_is_described_from_its_footer(tmp_path):
    frame(3).to_parquet(tmp_path / "a.parquet")

    facts = describe(tmp_path / "a.parquet", "parquet")

    assert (facts.rows, facts.files) == (3, 1)
    assert list(facts.columns) == ["id", "delay"]
    assert facts.columns["delay"] == "double"


def test_csv_is_described_without_keeping_it(tmp_path):
    frame(5).to_csv(tmp_path / "a.csv", index=False)

    facts = describe(tmp_path / "a.csv", "csv")

    assert facts.rows == 5
    assert dict(facts.columns) == {"id": "string", "delay": "double"}


def test_a_directory_adds_up_and_its_name_adds_no_column(tmp_path):
    folder = tmp_path / "month=2013-01"
    folder.mkdir()
    frame(3).to_parquet(folder / "a.parquet")
    frame(4).to_parquet(folder / "b.parquet")
    (folder / "_SUCCESS").touch()

    facts = describe(folder, "parquet")
    loaded = load_frame(folder, "parquet")

    assert (facts.rows, facts.files, len(loaded)) == (7, 2, 7)
    assert list(loaded.columns) == list(facts.columns) == ["id", "delay"]


def test_files_with_other_columns_are_refused(tmp_path):
    frame().to_parquet(tmp_path / "a.parquet")
    frame().rename(columns={"delay": "late_by"}).to_parquet(tmp_path / "b.parquet")

    with pytest.raises(ContractError, match=r"b.parquet: .* not those of a.parquet: missing delay; added late_by"):
        describe(tmp_path, "parquet")


@pytest.mark.parametrize(
    ("name", "content", "kind", "message"),
    [
        ("a.parquet", b"PAR1 not really", "parquet", "a.parquet: this is not readable as parquet"),
        ("a.csv", b"", "csv", "a.csv: this is not readable as csv"),
        ("a.csv", b"\na,b\n", "csv", "the first line should name the columns"),
    ],
)
def test_what_cannot_be_read_says_so(tmp_path: Path, name, content, kind, message):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(PermanentAdapterError, match=message):
        describe(tmp_path / name, kind)


def test_an_unknown_format_lists_the_known_ones(tmp_path):
    with pytest.raises(SpecificationError, match="format: 'excel' is not accepted; expected one of 'parquet', 'csv'"):
        describe(tmp_path, "excel")
    with pytest.raises(SpecificationError, match="format: 'excel' is not accepted"):
        load_frame(tmp_path, "excel")


def test_what_is_not_there_says_so(tmp_path):
    with pytest.raises(PermanentAdapterError, match="nothing: there is no file or directory here"):
        describe(tmp_path / "nothing", "parquet")
    with pytest.raises(PermanentAdapterError, match=r"this directory holds no \*.parquet file"):
        describe(tmp_path, "parquet")
