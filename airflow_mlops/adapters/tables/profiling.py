"""Profiles of tables in files, a million rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.tables.files import data_files, read_guarded
from airflow_mlops.exceptions import ContractError
from airflow_mlops.stats.rank_summary import summarise_ranks
from airflow_mlops.validation.profile import LONGEST_VALUE, ColumnProfile, Kind, Totals, frequent, merge_columns

__all__ = ["profile_columns"]

_ROWS_AT_ONCE = 1 << 20


def profile_columns(path: Path, format: str, *, top_values: int) -> dict[str, ColumnProfile]:  # noqa: A002
    """Profile every column of a table.

    :param path: a file, or a directory of files
    :param format: ``parquet`` or ``csv``
    :param top_values: at most how many frequent values of a column are kept; with 0 none
    :raises PermanentAdapterError: if a file cannot be read
    :raises ContractError: if a column's values are of different kinds, or the files have different columns
    """
    parts: dict[str, list[ColumnProfile]] = {}
    for number, file in enumerate(data_files(path, format)):
        found = read_guarded(lambda source: _profile_file(source, format, top_values), file, format)
        if number and set(found) != set(parts):
            raise ContractError(f"{file}: its columns are not those of the files before it")
        for name, columns in found.items():
            parts.setdefault(name, []).extend(columns)
    return {name: merge_columns(columns, top_values=top_values) for name, columns in parts.items()}


def _profile_file(file: Path, format: str, top_values: int) -> Mapping[str, list[ColumnProfile]]:  # noqa: A002
    parts: dict[str, list[ColumnProfile]] = {}
    for batch in _parquet(file) if format == "parquet" else _csv(file):
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            parts.setdefault(name, []).append(_profile(column, top_values))
    return parts


def _parquet(file: Path) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(file) as source:
        if source.metadata.num_rows == 0:
            yield _empty(source)
            return
        yield from source.iter_batches(batch_size=_ROWS_AT_ONCE)


def _empty(source: Any) -> Any:
    import pyarrow as pa

    schema = source.schema_arrow
    return pa.record_batch([pa.array([], field.type) for field in schema], schema=schema)


def _csv(file: Path) -> Iterator[Any]:
    from pyarrow import csv

    # An empty field is a missing value, whatever the column holds; pandas sees it so.
    options = csv.ConvertOptions(strings_can_be_null=True)
    with csv.open_csv(file, convert_options=options, read_options=csv.ReadOptions(block_size=1 << 26)) as source:
        yield from source


def _profile(column: Any, top_values: int) -> ColumnProfile:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    declared = str(column.type)
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = _kind(column.type)
    rows, missing = len(column), int(column.null_count)
    if kind == "other":
        return ColumnProfile(kind=kind, type=declared, rows=rows, missing=missing)
    counted = pc.value_counts(column.drop_null())
    values, counts = counted.field("values"), counted.field("counts").to_numpy()
    facts: dict[str, Any] = {}
    if kind in ("number", "time"):
        numbers = _numbers(values, kind)
        known, finite = ~np.isnan(numbers), np.isfinite(numbers)
        missing += int(counts[~known].sum())
        facts = _spread(numbers[finite], counts[finite])
        facts["infinite"] = int(counts[known & ~finite].sum())
        values, counts = values.filter(pa.array(finite)), counts[finite]
    elif kind == "text" and len(values):
        lengths = pc.min_max(pc.utf8_length(values)).as_py()
        facts = {"shortest": lengths["min"], "longest": lengths["max"]}
    top, error = _top(values, counts, top_values)
    return ColumnProfile(kind=kind, type=declared, rows=rows, missing=missing, top=top, top_error=error, **facts)


def _kind(declared: Any) -> Kind:
    from pyarrow import types

    checks: dict[Kind, tuple[Any, ...]] = {
        "boolean": (types.is_boolean,),
        "number": (types.is_integer, types.is_floating, types.is_decimal),
        "time": (types.is_timestamp, types.is_date),
        "text": (types.is_string, types.is_large_string),
    }
    return next((kind for kind, tests in checks.items() if any(test(declared) for test in tests)), "other")


def _numbers(values: Any, kind: Kind) -> Any:
    import numpy as np
    import pyarrow as pa

    if kind == "time":
        return values.cast(pa.timestamp("us"), safe=False).cast(pa.int64()).to_numpy(zero_copy_only=False) / 1e6
    if pa.types.is_decimal(values.type):
        values = values.cast(pa.float64())
    return values.to_numpy(zero_copy_only=False).astype(np.float64)


def _spread(numbers: Any, counts: Any) -> dict[str, Any]:
    import numpy as np

    if not len(numbers):
        return {}
    # Large whole numbers, and the two zeros, may be one number here.
    distinct, place = np.unique(numbers, return_inverse=True)
    weights = np.bincount(place, weights=counts)
    count = int(weights.sum())
    mean = float((distinct * weights).sum() / count)
    return {
        "totals": Totals(count=count, mean=mean, squares=float((weights * (distinct - mean) ** 2).sum())),
        "low": float(distinct[0]),
        "high": float(distinct[-1]),
        "ranks": summarise_ranks(distinct.tolist(), weights.astype(np.int64).tolist()),
    }


def _top(values: Any, counts: Any, limit: int) -> tuple[Any, int]:
    """Choose frequent values; only those that may be listed are turned into text."""
    import numpy as np

    # Whoever is tied with the first that is not listed is not listed either, so the order of ties does not matter.
    order = np.argsort(-counts, kind="stable")[: limit + 1]
    merged: dict[str, int] = {}
    for position in order.tolist():
        text = _text(values[position].as_py())
        merged[text] = merged.get(text, 0) + int(counts[position])
    return frequent(merged.items(), limit)


def _text(value: Any) -> str:
    text = str(value)
    if len(text) <= LONGEST_VALUE:
        return text
    return f"{text[:40]}… {hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"
