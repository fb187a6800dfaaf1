"""Horizontal bars, as for importances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.svg import COLOURS, Picture, Scale, Tone, element, finite, label, line, number, picture, spread

__all__ = ["Bar", "bars"]

_HEAD = 18
_THICK = 9


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One bar, and perhaps a second to compare it with.

    :param label: what it is of
    :param value: how long it is; may be negative
    :param low: lower bound of its interval, None without one
    :param high: upper bound of its interval, None without one
    :param other: the champion's value, drawn as a thin bar below, None without one
    :param tone: colour
    """

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    other: float | None = None
    tone: Tone = "new"


def bars(items: Sequence[Bar], *, title: str, signed: bool = False) -> Picture:
    """Draw bars from zero, one below the other on one scale.

    :param items: from top to bottom
    :param title: what they measure
    :param signed: show plus signs
    :raises SpecificationError: if there are no bars, or numbers that are not finite
    """
    if not items:
        raise SpecificationError("bars.items", items, "at least one bar")
    numbers = [0.0]
    for item in items:
        finite(f"bars[{item.label}]", item.value, item.low, item.high, item.other)
        numbers += [one for one in (item.value, item.low, item.high, item.other) if one is not None]
    low, high = min(numbers), max(numbers)
    scale = Scale(low, high if spread(low, high) else low + 1.0, 0.5, 99.5)
    row = _HEAD + _THICK + (6 if any(item.other is not None for item in items) else 0) + 6
    parts, told = [], []
    for position, item in enumerate(items):
        words = number(item.value, sign=signed)
        if item.other is not None:
            words += f" (champion {number(item.other, sign=signed)})"
        told.append(f"{item.label}: {words}")
        parts += _bar(item, scale, row * position, words)
    return picture(parts, title=title, description="; ".join(told), height=row * len(items) + 2)


def _bar(item: Bar, scale: Scale, top: float, words: str) -> list[str]:
    zero = f"{scale.place(0.0):.2f}%"
    parts = [
        line(zero, top + _HEAD - 2, zero, top + _HEAD + _THICK + 5, tone="ink"),
        label(item.label, "0", top + 13),
        label(words, "100%", top + 13, soft=True, anchor="end", whole=True),
        _box(scale, item.value, top + _HEAD, _THICK, COLOURS[item.tone]),
    ]
    if item.low is not None and item.high is not None:
        middle = top + _HEAD + _THICK / 2
        ends = (f"{scale.place(end):.2f}%" for end in (item.low, item.high))
        parts.append(line(next(ends), middle, next(ends), middle, tone="ink", width=2))
    if item.other is not None:
        parts.append(_box(scale, item.other, top + _HEAD + _THICK + 1, 4, COLOURS["soft"]))
    return parts


def _box(scale: Scale, value: float, top: float, thick: float, colour: str) -> str:
    left, right = sorted((scale.place(0.0), scale.place(value)))
    return element("rect", x=f"{left:.2f}%", y=top, width=f"{right - left:.2f}%", height=thick, fill=colour)
