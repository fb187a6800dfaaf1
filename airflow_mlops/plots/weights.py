"""Shares of the traffic: now as a bar, and over time as steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import pairwise

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.svg import COLOURS, Picture, Scale, Tone, element, finite, label, line, picture, spread

__all__ = ["weight_bar", "weights_over_time"]

_LEFT, _RIGHT, _TOP, _BOTTOM, _FOOT = 0.0, 99.0, 14.0, 134.0, 20.0
_LEGEND = 18.0
_DAY = 86400.0


def weight_bar(weights: Mapping[str, float], *, title: str, new: str | None = None) -> Picture:
    """Draw one bar that is divided between targets.

    :param weights: target to percent
    :param title: whose weights these are
    :param new: the target under test; it is drawn full and in colour, the others are soft
    :raises SpecificationError: if no target has a share, or one is below 0
    """
    shares = {name: weight for name, weight in weights.items() if weight}
    finite("weight_bar.weights", *shares.values())
    total = sum(shares.values())
    if not shares or min(shares.values()) < 0:
        raise SpecificationError("weight_bar.weights", dict(weights), "percent of at least one target, none below 0")
    parts, left = [], 0.0
    for position, (name, weight) in enumerate(shares.items()):
        width = 100.0 * weight / total
        tone: Tone = "new" if name == new or (new is None and position == 0) else "soft"
        box = element("rect", x=f"{left:.2f}%", y=0, width=f"{width:.2f}%", height=14, fill=COLOURS[tone])
        parts.append(box)
        if left:  # a gap tells the shares apart where colours cannot
            parts.append(line(f"{left:.2f}%", 0, f"{left:.2f}%", 14, tone="paper", width=3))
        left += width
    told = ", ".join(f"{name} {weight:g} %" for name, weight in shares.items())
    return picture(parts, title=title, description=told, height=14)


def weights_over_time(
    changes: Sequence[tuple[float, Mapping[str, float]]], *, title: str, new: str | None = None, until: float
) -> Picture:
    """Draw how the shares of targets changed: level until the next change.

    :param changes: seconds since the epoch and the weights from then on, in percent; oldest first
    :param title: whose weights these are
    :param new: the target under test
    :param until: seconds since the epoch where the picture ends
    :raises SpecificationError: if there are no changes, or they are not in order
    """
    moments = [at for at, _ in changes]
    if not changes or moments != sorted(moments):
        raise SpecificationError("weights_over_time.changes", moments, "at least one change, oldest first")
    finite("weights_over_time", until, *moments, *(share for _, weights in changes for share in weights.values()))
    end = max(until, moments[-1])
    across = Scale(moments[0], end if spread(moments[0], end) else moments[0] + 1.0, _LEFT, _RIGHT)
    upwards = Scale(0.0, 100.0, _BOTTOM, _TOP)
    names = list(dict.fromkeys(name for _, weights in changes for name in weights))
    parts = [*_grid(upwards), *_moments(across, end)]
    for position, name in enumerate(names):
        tone: Tone = "new" if name == new or (new is None and position == len(names) - 1) else "soft"
        levels = [(at, float(weights.get(name, 0))) for at, weights in changes]
        parts += _steps([*levels, (end, levels[-1][1])], across, upwards, tone)
        y = _BOTTOM + _FOOT + 14 + _LEGEND * position
        parts.append(line("0", y - 4, "26", y - 4, tone=tone, width=2, dashed=tone == "soft"))
        parts.append(label(name, "34", y))
    told = "; ".join(
        f"from {_moment(at, across)} " + ", ".join(f"{name} {share:g} %" for name, share in weights.items())
        for at, weights in changes
    )
    return picture(parts, title=title, description=told, height=_BOTTOM + _FOOT + 6 + _LEGEND * len(names))


def _grid(upwards: Scale) -> list[str]:
    parts = []
    for share in (0, 50, 100):
        y = upwards.place(share)
        parts.append(line(f"{_LEFT}%", y, f"{_RIGHT}%", y))
        if share:
            parts.append(label(f"{share} %", "3", y - 3, soft=True))
    return parts


def _moments(across: Scale, end: float) -> list[str]:
    y = _BOTTOM + 15
    return [
        label(_moment(across.low, across), "0", y, soft=True, whole=True),
        label(_moment(end, across), "100%", y, soft=True, anchor="end", whole=True),
    ]


def _moment(at: float, across: Scale) -> str:
    """Return a time of the day, or the day where the picture spans some."""
    form = "%H:%M:%S" if across.high - across.low < _DAY else "%Y-%m-%d %H:%M"
    return datetime.fromtimestamp(at, UTC).strftime(form)


def _steps(levels: Sequence[tuple[float, float]], across: Scale, upwards: Scale, tone: Tone) -> list[str]:
    dashed = tone == "soft"
    parts = []
    for (start, level), (end, after) in pairwise(levels):
        left, right, y = f"{across.place(start):.2f}%", f"{across.place(end):.2f}%", upwards.place(level)
        parts.append(line(left, y, right, y, tone=tone, width=2, dashed=dashed))
        if after != level:
            parts.append(line(right, y, right, upwards.place(after), tone=tone, width=2, dashed=dashed))
    return parts
