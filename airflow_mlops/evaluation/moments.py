"""Columns that hold points in time: text in ISO 8601, dates, or timestamps; without a zone they are in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from airflow_mlops.exceptions import ContractError

__all__ = ["as_text", "instant", "seconds"]


def seconds(column: Any, name: str) -> Any:
    """Return numpy seconds since 1970, NaN where there is no value.

    :param column: pandas Series
    :param name: what it is called in messages
    :raises ContractError: if a value is no point in time
    """
    import numpy as np

    if column.dtype.kind == "M" and getattr(column.dtype, "tz", None) is None:
        values = column.to_numpy(dtype="datetime64[us]")
        return np.where(np.isnat(values), np.nan, values.astype("int64") / 1e6)
    codes, found = column.factorize()
    values = np.array([*(_of(value, name) for value in found), np.nan], dtype="float64")
    return values[codes]


def instant(text: str, name: str) -> float:
    """Return seconds since 1970 of a text in ISO 8601.

    :raises ContractError: if it is none
    """
    return _of(text, name)


def as_text(moment: float) -> str:
    """Return seconds since 1970 as a text in ISO 8601."""
    return datetime.fromtimestamp(moment, tz=UTC).isoformat()


def _of(value: Any, name: str) -> float:
    found = value
    if isinstance(found, str):
        try:
            found = datetime.fromisoformat(found)
        except ValueError:
            found = None
    elif isinstance(found, date) and not isinstance(found, datetime):
        found = datetime(found.year, found.month, found.day, tzinfo=UTC)
    if not isinstance(found, datetime):
        raise ContractError(f"{name} holds {value!r}, which is no point in time; ISO 8601, dates or timestamps are")
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
