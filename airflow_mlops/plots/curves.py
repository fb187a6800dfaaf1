"""Lines over a plane: curves, and histograms as steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.svg import COLOURS, Picture, Scale, Tone, element, finite, label, line, number, picture, spread

__all__ = ["Curve", "curves", "frame", "histogram", "plane"]

_LEFT, _RIGHT, _TOP, _BOTTOM, _HEIGHT = 0.0, 99.0, 34.0, 234.0, 272.0
_LEGEND = 18.0


@dataclass(frozen=True, kw_only=True)
class Curve:
    """One line.

    :param name: whose it is
    :param points: x and y, in order
    :param tone: colour
    :param dashed: whether it is broken, so that colour is not all that tells lines apart
    """

    name: str
    points: Sequence[tuple[float, float]]
    tone: Tone = "new"
    dashed: bool = False


def curves(
    many: Sequence[Curve],
    *,
    title: str,
    x_name: str,
    y_name: str,
    diagonal: bool = False,
    x_from: float | None = None,
    y_from: float | None = None,
) -> Picture:
    """Draw lines.

    :param many: the lines
    :param title: what they show
    :param x_name: what goes from left to right
    :param y_name: what goes upwards
    :param diagonal: draw the line on which both are the same
    :param x_from: where the horizontal scale must begin, None for the smallest number
    :param y_from: the same for the upright scale
    :raises SpecificationError: if there are no points, or numbers that are not finite
    """
    points = [point for curve in many for point in curve.points]
    if not points:
        raise SpecificationError("curves.many", many, "at least one point")
    finite("curves", *(part for point in points for part in point))
    across, upwards = plane(points, x_from, y_from)
    parts = frame(across, upwards, x_name=x_name, y_name=y_name)
    if diagonal:
        low, high = max(across.low, upwards.low), min(across.high, upwards.high)
        parts.append(_path([(low, low), (high, high)], across, upwards, "line", dashed=True))
    parts += [_path(curve.points, across, upwards, curve.tone, dashed=curve.dashed) for curve in many]
    parts += _legend(many)
    return picture(parts, title=title, description=_told(many, x_name, y_name), height=_HEIGHT + _LEGEND * len(many))


def histogram(
    edges: Sequence[float], many: Sequence[Curve], *, title: str, x_name: str, y_name: str = "share of rows"
) -> Picture:
    """Draw counts as steps.

    :param edges: bounds of the bins, one more than there are bins
    :param many: one line per series; its points are ignored but for their second part, the height of each bin
    :param title: what it shows
    :param x_name: what was counted by
    :param y_name: what was counted
    :raises SpecificationError: if a series has not one number per bin
    """
    stepped = []
    for curve in many:
        heights = [height for _, height in curve.points]
        if len(heights) != len(edges) - 1:
            raise SpecificationError(f"histogram[{curve.name}]", len(heights), f"{len(edges) - 1} bins")
        points = [(edge, height) for ends, height in zip(pairwise(edges), heights, strict=True) for edge in ends]
        points = [(edges[0], 0.0), *points, (edges[-1], 0.0)]
        stepped.append(Curve(name=curve.name, points=points, tone=curve.tone, dashed=curve.dashed))
    return curves(stepped, title=title, x_name=x_name, y_name=y_name, x_from=edges[0], y_from=0.0)


def frame(across: Scale, upwards: Scale, *, x_name: str, y_name: str) -> list[str]:
    """Return grid, numbers and names of the axes of a plane that is 200 pixels high."""
    parts = [label(y_name, "0", 11, soft=True), label(x_name, "100%", _HEIGHT - 3, soft=True, anchor="end")]
    ticks = across.ticks()
    for tick in ticks:
        x = across.place(tick)
        parts.append(line(f"{x:.2f}%", _TOP, f"{x:.2f}%", _BOTTOM))
        anchor = "start" if x < 5 else "end" if x > 95 else "middle"
        parts.append(
            label(number(tick, step=_step(ticks, across)), f"{x:.2f}%", _BOTTOM + 15, soft=True, anchor=anchor)
        )
    ticks = upwards.ticks()
    for tick in ticks:
        y = upwards.place(tick)
        parts.append(line(f"{_LEFT}%", y, f"{_RIGHT}%", y))
        if y < _BOTTOM - 1:  # the lowest number would stand in the corner, where the other scale begins
            parts.append(label(number(tick, step=_step(ticks, upwards)), "3", y - 3, soft=True))
    return parts


def _step(ticks: Sequence[float], scale: Scale) -> float:
    return ticks[1] - ticks[0] if len(ticks) > 1 else scale.high - scale.low


def plane(points: Sequence[tuple[float, float]], x_from: float | None, y_from: float | None) -> tuple[Scale, Scale]:
    """Return the scales of a plane that holds all points: across in percent, upwards in pixels."""
    low_x, high_x = _ends([x for x, _ in points], x_from)
    low_y, high_y = _ends([y for _, y in points], y_from)
    return Scale(low_x, high_x, _LEFT, _RIGHT), Scale(low_y, high_y, _BOTTOM, _TOP)


def _ends(numbers: Sequence[float], begin: float | None) -> tuple[float, float]:
    low = min(numbers) if begin is None else begin
    high = max(*numbers, low)
    return low, high if spread(low, high) else low + max(1.0, abs(low))


def _path(points: Sequence[tuple[float, float]], across: Scale, upwards: Scale, tone: str, *, dashed: bool) -> str:
    """Draw in a box of its own that is stretched to the plane: coordinates of paths cannot be shares."""
    places = " ".join(f"{_part(across, x):.1f},{1000 - _part(upwards, y):.1f}" for x, y in points)
    drawn = element(
        "polyline",
        points=places,
        fill="none",
        stroke=COLOURS[tone],
        stroke_width=2,
        vector_effect="non-scaling-stroke",
        stroke_linejoin="round",
        **({"stroke_dasharray": "6 4"} if dashed else {}),
    )
    return element(
        "svg",
        drawn,
        x=f"{_LEFT}%",
        y=_TOP,
        width=f"{_RIGHT - _LEFT}%",
        height=_BOTTOM - _TOP,
        viewBox="0 0 1000 1000",
        preserveAspectRatio="none",
        overflow="visible",
    )


def _part(scale: Scale, found: float) -> float:
    return 1000 * (found - scale.low) / (scale.high - scale.low)


def _legend(many: Sequence[Curve]) -> list[str]:
    """Name the lines below the plane, one per row: side by side there would be no room on a telephone."""
    parts: list[str] = []
    for position, curve in enumerate(many):
        y = _HEIGHT + 12 + _LEGEND * position
        parts.append(line("0", y - 4, "26", y - 4, tone=curve.tone, width=2, dashed=curve.dashed))
        parts.append(label(curve.name, "34", y))
    return parts


def _told(many: Sequence[Curve], x_name: str, y_name: str) -> str:
    return f"{y_name} over {x_name}: " + "; ".join(
        f"{curve.name}, {len(curve.points)} points from {number(curve.points[0][1])} to {number(curve.points[-1][1])}"
        for curve in many
        if curve.points
    )
