"""Tables kept as Parquet or CSV files: what they hold, without loading them; and loading them."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.exceptions import ContractError, PermanentAdapterError, SpecificationError

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["FORMATS", "TableFacts", "data_files", "describe", "load_frame", "read_guarded"]

FORMATS = ("parquet", "csv")


@dataclass(frozen=True, kw_only=True)
class TableFacts:
    """What a table holds.

    :param rows: number of rows in all files
    :param columns: column name to type, in order
    :param files: number of data files
    """

    rows: int
    columns: Mapping[str, str]
    files: int


def describe(path: Path, format: str) -> TableFacts:  # noqa: A002 - the word that references use
    """Count rows and read the schema; Parquet needs only the files' footers, CSV one pass that keeps nothing.

    :param path: a file, or a directory whose files in this format make up the table
    :param format: one of :data:`FORMATS`
    :raises SpecificationError: if the format is unknown
    :raises PermanentAdapterError: if there is nothing there, or it cannot be read
    :raises ContractError: if the files of a directory have different columns
    """
    reader = {"parquet": _describe_parquet, "csv": _describe_csv}.get(format)
    if reader is None:
        raise SpecificationError("format", format, "one of " + ", ".join(map(repr, FORMATS)))
    files = data_files(path, format)
    rows = 0
    columns: dict[str, str] = {}
    for position, file in enumerate(files):
        found_rows, found = read_guarded(reader, file, format)
        rows += found_rows
        if position and list(found) != list(columns):
            raise ContractError(f"{file}: its columns are not those of {files[0].name}: {_difference(columns, found)}")
        columns = columns or found
    return TableFacts(rows=rows, columns=columns, files=len(files))


def load_frame(path: Path, format: str) -> pd.DataFrame:  # noqa: A002 - the word that references use
    """Load all rows; columns that a directory's name might suggest (``month=2013-01``) are not added.

    :raises SpecificationError: if the format is unknown
    :raises PermanentAdapterError: if there is nothing there, or it cannot be read
    """
    import pandas as pd

    if format not in FORMATS:
        raise SpecificationError("format", format, "one of " + ", ".join(map(repr, FORMATS)))
    load = _load_parquet if format == "parquet" else pd.read_csv
    frames: list[pd.DataFrame] = [read_guarded(load, file, format) for file in data_files(path, format)]
    return frames[0] if len(frames) == 1 else pd.concat(frames, ignore_index=True)


def data_files(path: Path, format: str) -> list[Path]:  # noqa: A002 - the word that references use
    """List the files of a table in the order of its rows.

    :raises PermanentAdapterError: if there is none
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise PermanentAdapterError(f"{path}: there is no file or directory here")
    files = sorted(
        file for file in path.rglob(f"*.{format}") if file.is_file() and not file.name.startswith((".", "_"))
    )
    if not files:
        raise PermanentAdapterError(f"{path}: this directory holds no *.{format} file")
    return files


def read_guarded(read: Any, file: Path, format: str) -> Any:  # noqa: A002 - the word that references use
    """Return ``read(file)``.

    :raises PermanentAdapterError: if the file is not readable in its format
    """
    import pyarrow as pa

    try:
        return read(file)
    except (pa.ArrowException, csv.Error, OSError, ValueError) as error:
        raise PermanentAdapterError(f"{file}: this is not readable as {format}: {_first_line(error)}") from error


def _describe_parquet(file: Path) -> tuple[int, dict[str, str]]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as table:
        return table.metadata.num_rows, {field.name: str(field.type) for field in table.schema_arrow}


def _describe_csv(file: Path) -> tuple[int, dict[str, str]]:
    from pyarrow import csv as arrow_csv

    _require_csv_header(file)
    rows = 0
    with arrow_csv.open_csv(file) as reader:
        columns = {field.name: str(field.type) for field in reader.schema}
        for batch in reader:
            rows += batch.num_rows
    return rows, columns


def _require_csv_header(file: Path) -> None:
    with file.open(encoding="utf-8", newline="") as stream:
        if not next(csv.reader(stream), None):
            raise ValueError("the first line should name the columns, and it is empty")


def _load_parquet(file: Path) -> Any:
    import pandas as pd
    import pyarrow as pa

    # Not by ParquetFile: it holds the file's bytes while it decodes them, which is a frame more at its peak. Without
    # `partitioning=None`, columns would be made of the names of folders.
    frame = pd.read_parquet(file, engine="pyarrow", partitioning=None)
    pa.default_memory_pool().release_unused()
    # A frame that pandas wrote comes back with its index: a named one holds columns, others are row numbers of before.
    return frame.reset_index(drop=all(name is None for name in frame.index.names))


def _difference(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    missing = [name for name in expected if name not in found]
    added = [name for name in found if name not in expected]
    if not missing and not added:
        return "they stand in another order"
    return "; ".join(f"{kind} {', '.join(names)}" for kind, names in (("missing", missing), ("added", added)) if names)


def _first_line(error: BaseException) -> str:
    lines = str(error).splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
