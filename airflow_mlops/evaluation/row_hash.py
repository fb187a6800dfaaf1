"""Rows as 64-bit numbers, so that millions of them can be compared without holding two frames side by side.

Equal rows have equal numbers whatever the types their files had: 1 equals 1.0, a missing value equals another one.
Numbers are mixed with the finaliser of G. L. Steele, D. Lea and C. H. Flood, "Fast splittable pseudorandom number
generators", OOPSLA 2014. That any two different rows of a million and a million others meet has a chance of about one
in twenty million.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from numbers import Real
from typing import Any

__all__ = ["row_hashes"]


def row_hashes(rows: Any, columns: Sequence[str]) -> Any:
    """Return one number per row.

    :param rows: pandas DataFrame
    :param columns: columns that count, in this order
    """
    import numpy as np

    total = np.zeros(len(rows), dtype="uint64")
    for name in columns:
        # Multiplied by an odd number before the next one is added: the same values in other columns are another row.
        total = _mixed(total * np.uint64(0x9E3779B97F4A7C15) + _column(rows[name]))
    return total


def _column(column: Any) -> Any:
    import numpy as np

    if column.dtype.kind in "iufb":
        values = column.to_numpy(dtype="float64", na_value=np.nan) + 0.0  # no minus before a zero
        values[np.isnan(values)] = np.nan
        return _mixed(values.view("uint64"))
    codes, found = column.factorize()
    # A missing value has the code -1, which is the last place.
    hashes = [*(_of(value) for value in found), _mixed(np.array([np.nan]).view("uint64"))[0]]
    return np.array(hashes, dtype="uint64")[codes]


def _of(value: Any) -> int:
    import numpy as np

    if isinstance(value, Real):  # a number in a column of mixed things equals the one in a column of numbers
        return int(_mixed(np.array([float(value)]).view("uint64"))[0])
    return int.from_bytes(hashlib.blake2b(str(value).encode(), digest_size=8).digest(), "little")


def _mixed(values: Any) -> Any:
    import numpy as np

    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
