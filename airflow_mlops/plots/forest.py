"""Estimates with intervals, one below the other on one scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.svg import COLOURS, Picture, Scale, Tone, element, finite, label, line, number, picture

__all__ = ["ForestRow", "forest"]

_ROW = 34
_FOOT = 22


@dataclass(frozen=True, kw_only=True)
class ForestRow:
    """One estimate.

    :param label: what it is of
    :param value: the estimate
    :param low: lower bound of its interval
    :param high: upper bound of its interval
    :param tone: colour; the champion's marks (``soft``) are hollow, too
    """

    label: str
    value: float
    low: float
    high: float
    tone: Tone = "new"


def forest(
    rows: Sequence[ForestRow],
    *,
    title: str,
    reference: float | None = None,
    signed: bool = False,
    scale_to: Sequence[float] = (),
) -> Picture:
    """Draw intervals side by side.

    :param rows: from top to bottom
    :param title: what they measure
    :param reference: where to draw an upright line: no difference, or what is asked for
    :param signed: show plus signs, for differences
    :param scale_to: further numbers that the scale must hold, so that pictures can share one
    :raises SpecificationError: if there are no rows, or numbers that are not finite
    """
    if not rows:
        raise SpecificationError("forest.rows", rows, "at least one row")
    for row in rows:
        finite(f"forest[{row.label}]", row.value, row.low, row.high)
    finite("forest.reference", reference, *scale_to)
    ends = [end for row in rows for end in (row.low, row.value, row.high)]
    scale = Scale.over(
        [*ends, *scale_to, *([] if reference is None else [reference])], start=2.0, end=98.0, margin=0.06
    )
    bottom = _ROW * len(rows)
    parts = [*_axis(scale, bottom, signed=signed)]
    step = 10.0 ** math.floor(math.log10((scale.high - scale.low) / 20))  # a twentieth of the width is told apart
    told = []
    for position, row in enumerate(rows):
        numbers = _numbers(row, step, signed=signed)
        told.append(f"{row.label}: {numbers}")
        if reference is not None:  # only beside the marks, so that it crosses no words
            top, x = _ROW * position + 17, _x(scale, reference)
            parts.append(line(x, top, x, top + 15, tone="ink", width=2))
        parts += _row(row, scale, _ROW * position, numbers)
    if reference is not None:
        told.append(f"reference line at {number(reference, step=step, sign=signed)}")
    return picture(parts, title=title, description="; ".join(told), height=bottom + _FOOT)


def _row(row: ForestRow, scale: Scale, top: float, numbers: str) -> list[str]:
    middle = top + 24
    colour = COLOURS[row.tone]
    hollow = row.tone == "soft"
    return [
        label(row.label, "0", top + 13),
        label(numbers, "100%", top + 13, soft=True, anchor="end", whole=True),
        line(_x(scale, row.low), middle, _x(scale, row.high), middle, tone=row.tone, width=3),
        element(
            "circle",
            cx=_x(scale, row.value),
            cy=middle,
            r=5,
            stroke=colour,
            stroke_width=2,
            fill="var(--paper, white)" if hollow else colour,
        ),
    ]


def _axis(scale: Scale, bottom: float, *, signed: bool) -> list[str]:
    ticks = scale.ticks()
    step = ticks[1] - ticks[0] if len(ticks) > 1 else scale.high - scale.low
    parts = []
    for tick in ticks:
        parts.append(line(_x(scale, tick), 0, _x(scale, tick), bottom + 3))
        words = number(tick, step=step, sign=signed)
        parts.append(label(words, _x(scale, tick), bottom + 16, soft=True, anchor=_anchor(scale.place(tick))))
    return parts


def _anchor(place: float) -> str:
    """Letters at the edges grow inwards."""
    return "start" if place < 6 else "end" if place > 94 else "middle"


def _numbers(row: ForestRow, step: float, *, signed: bool) -> str:
    value, low, high = (number(one, step=step, sign=signed) for one in (row.value, row.low, row.high))
    return f"{value} ({low} to {high})"


def _x(scale: Scale, found: float) -> str:
    return f"{scale.place(found):.2f}%"
