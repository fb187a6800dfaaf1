"""A table in two: the good rows as they were, the bad rows with the rules that they broke.

Rows are copied from file to file, never through a data frame: types, and in CSV the very text, stay as they were.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.tables.files import data_files, read_guarded
from airflow_mlops.exceptions import ContractError

__all__ = ["ROW_COLUMN", "RULES_COLUMN", "separate"]

#: Position of a bad row in the table that it comes from, counted from 0.
ROW_COLUMN = "_row"
#: Names of the rules that a bad row broke; in CSV with a semicolon between them.
RULES_COLUMN = "_broken_rules"


def separate(path: Path, format: str, bad: Mapping[int, Sequence[str]], target: Path) -> None:  # noqa: A002
    """Write the rows below ``target/good`` and ``target/bad``, in files with the names that they come from.

    :param path: a file, or a directory of files
    :param format: ``parquet`` or ``csv``
    :param bad: position of a bad row, counted from 0 over all files in their order, to the rules that it broke
    :param target: an existing directory
    :raises ContractError: if there is no such row, or the table has a column that bad rows get here
    :raises PermanentAdapterError: if a file cannot be read
    """
    copy = _copy_parquet if format == "parquet" else _copy_csv
    first = 0
    for file in data_files(path, format):
        name = Path(file.name) if path.is_file() else file.relative_to(path)
        good_file, bad_file = target / "good" / name, target / "bad" / name

        def rows_of(source: Path, start: int = first, good: Path = good_file, aside: Path = bad_file) -> int:
            return copy(source, bad, start, good, aside)

        first += read_guarded(rows_of, file, format)
    beyond = [row for row in bad if row >= first]
    if beyond:
        raise ContractError(f"{path}: there is no row {beyond[0]}; the table has {first}")


def _copy_parquet(file: Path, bad: Mapping[int, Sequence[str]], first: int, good_file: Path, bad_file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        _refuse_taken(file, source.schema_arrow.names)
        table: Any = source.read()
    taken = [row for row in range(first, first + table.num_rows) if row in bad]
    if not taken:
        _copy_whole(file, good_file)
        return int(table.num_rows)
    apart = set(taken)
    mask = pa.array([row not in apart for row in range(first, first + table.num_rows)], pa.bool_())
    kept = table.filter(mask)
    if kept.num_rows:
        pq.write_table(kept, _made(good_file))
    aside = table.take(pa.array([row - first for row in taken], pa.int64()))
    aside = aside.append_column(ROW_COLUMN, pa.array(taken, pa.int64()))
    rules = pa.array([list(bad[row]) for row in taken], pa.list_(pa.string()))
    pq.write_table(aside.append_column(RULES_COLUMN, rules), _made(bad_file))
    return int(table.num_rows)


def _copy_csv(file: Path, bad: Mapping[int, Sequence[str]], first: int, good_file: Path, bad_file: Path) -> int:
    row, written = first, {good_file: 0, bad_file: 0}
    with file.open(encoding="utf-8-sig", newline="") as stream, _csv(good_file) as kept, _csv(bad_file) as aside:
        records = csv.reader(stream, strict=True)
        header = next(records, [])
        _refuse_taken(file, header)
        kept.writerow(header)
        aside.writerow([*header, ROW_COLUMN, RULES_COLUMN])
        for record in records:
            if not record:
                continue  # an empty line is no row, here as in pandas and Arrow
            if row in bad:
                padding = [""] * (len(header) - len(record))
                aside.writerow([*record, *padding, row, "; ".join(bad[row])])
            else:
                kept.writerow(record)
            written[bad_file if row in bad else good_file] += 1
            row += 1
    for target, rows in written.items():
        if not rows:
            target.unlink()
    if not written[bad_file]:
        _copy_whole(file, good_file)
    return row - first


@contextmanager
def _csv(file: Path) -> Iterator[Any]:
    with _made(file).open("w", encoding="utf-8", newline="") as stream:
        yield csv.writer(stream, lineterminator="\n")


def _copy_whole(file: Path, target: Path) -> None:
    shutil.copyfile(file, _made(target))


def _made(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    return file


def _refuse_taken(file: Path, names: Sequence[str]) -> None:
    taken = [name for name in (ROW_COLUMN, RULES_COLUMN) if name in names]
    if taken:
        raise ContractError(f"{file}: the column {taken[0]!r}, which bad rows get, is there already")
