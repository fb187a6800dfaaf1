"""Values as people read them: filters of the pages' templates."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

__all__ = ["FILTERS", "age", "clock", "part", "plain", "sign", "when"]

_SIGNS = {"pass": "✓", "warn": "!", "fail": "✕", "inconclusive": "?", "error": "⚠"}
_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"), (1.0, "second"))
_WHOLE = 1000.0  # from here on decimals are noise
_LONG_DIGEST = 19  # "sha256:" and twelve letters


def when(seconds: float | None) -> str:
    """Return a moment: seconds since the epoch as ``2026-11-21 08:24:10 UTC``."""
    return "unknown" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(seconds: float) -> str:
    """Return a moment for machines."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def clock(seconds: float) -> str:
    """Return the time of a day, ``08:24:10``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%H:%M:%S")


def age(seconds: float | None) -> str:
    """Return a length of time in its largest unit, rounded down: ``3 days``."""
    if seconds is None:
        return "unknown"
    for size, name in _UNITS:
        count = int(max(seconds, 0.0) // size)
        if count:
            return f"{count} {name}{'' if count == 1 else 's'}"
    return "less than a second"


def sign(verdict: Any) -> str:
    """Return the letter that says what a verdict's colour says."""
    return _SIGNS.get(getattr(verdict, "value", verdict), "-")


def short(digest: str | None) -> str:
    """Return the beginning of a digest, enough to tell it from others by eye."""
    return "none" if digest is None else digest[:_LONG_DIGEST]


def plain(found: Any) -> str:
    """Return a number as a person writes it: separators in counts, four digits of what was measured."""
    if found is None:
        return "-"
    if isinstance(found, bool) or not isinstance(found, int | float) or not math.isfinite(found):
        return str(found)
    return f"{found:,.0f}" if float(found).is_integer() or abs(found) >= _WHOLE else f"{found:.4g}"


def part(found: Any) -> str:
    """Return one part of an address."""
    return quote(str(found), safe="")


FILTERS: dict[str, Callable[..., str]] = {
    "age": age,
    "clock": clock,
    "iso": iso,
    "part": part,
    "plain": plain,
    "short": short,
    "sign": sign,
    "when": when,
}
"""By these names templates know them."""
