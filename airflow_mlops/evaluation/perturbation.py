"""Rows as a model may meet them on a bad day: numbers a little off, cells missing, categories mixed up.

Every column draws from a generator of its own, named by seed, kind, size and column: which other columns a model reads
does not change what happens to this one, so two models meet the same disturbed rows.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import Any, Literal

__all__ = ["KINDS", "Kind", "applicable", "perturb"]

Kind = Literal["noise", "missing", "swaps"]
KINDS: tuple[Kind, ...] = ("noise", "missing", "swaps")


def applicable(rows: Any, columns: Iterable[str], kind: Kind) -> list[str]:
    """Return the columns that a kind of disturbance is for: numbers for noise, others for swaps, all for missing."""
    if kind == "missing":
        return list(columns)
    return [name for name in columns if (rows[name].dtype.kind in "iuf") == (kind == "noise")]


def perturb(rows: Any, columns: Iterable[str], kind: Kind, size: float, seed: int) -> Any:
    """Return a copy of rows with columns disturbed.

    :param rows: pandas DataFrame
    :param columns: what is disturbed, out of :func:`applicable`
    :param kind: ``noise`` adds normal noise, ``missing`` empties cells, ``swaps`` puts in another row's value
    :param size: standard deviations of the column for noise, else the share of cells that are hit
    :param seed: of the generators
    """
    import numpy as np

    changed = {}
    for name in columns:
        key = [seed, zlib.crc32(f"{kind}:{size!r}:{name}".encode())]
        generator = np.random.default_rng(key)
        column = rows[name]
        if kind == "noise":
            values = column.to_numpy(dtype="float64", na_value=np.nan)
            known = values[np.isfinite(values)]
            spread = float(known.std()) if len(known) else 0.0
            changed[name] = values + size * spread * generator.standard_normal(len(values))
            continue
        hit = generator.random(len(column)) < size
        if kind == "missing":
            # Whole numbers and booleans have no missing value of their own.
            loose = column.astype("float64" if column.dtype.kind in "iuf" else "object")
            changed[name] = loose.mask(hit)
        else:
            values = column.to_numpy(dtype="object")
            changed[name] = np.where(hit, values[generator.integers(0, len(values), len(values))], values)
    return rows.assign(**changed)
