"""Predicted against observed shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.curves import frame, plane
from airflow_mlops.plots.svg import COLOURS, Picture, Tone, element, finite, line, number, picture

__all__ = ["ReliabilityPoint", "reliability"]

_HEIGHT = 272


@dataclass(frozen=True, kw_only=True)
class ReliabilityPoint:
    """One group of rows with similar predictions.

    :param predicted: mean probability in the group
    :param observed: share of positives in the group
    :param low: lower bound of the share's interval
    :param high: upper bound of the share's interval
    :param rows: how many rows; larger groups get larger marks
    :param tone: colour; the champion's marks (``soft``) are hollow, too
    """

    predicted: float
    observed: float
    low: float
    high: float
    rows: int
    tone: Tone = "new"


def reliability(points: Sequence[ReliabilityPoint], *, title: str) -> Picture:
    """Draw a reliability diagram: on the diagonal, probabilities mean what they say.

    The picture reaches from 0 to the largest number in it, since positives are often rare.

    :param points: the groups
    :param title: whose they are
    :raises SpecificationError: if there are no points, or numbers that are not finite
    """
    if not points:
        raise SpecificationError("reliability.points", points, "at least one point")
    for point in points:
        finite("reliability.points", point.predicted, point.observed, point.low, point.high)
    top = max(max(point.predicted, point.high, point.observed) for point in points) or 1.0
    across, upwards = plane([(0.0, 0.0), (top, top)], 0.0, 0.0)
    parts = frame(across, upwards, x_name="predicted probability", y_name="observed share")
    parts.append(
        line(
            f"{across.place(0):.2f}%",
            upwards.place(0),
            f"{across.place(top):.2f}%",
            upwards.place(top),
            tone="ink",
            dashed=True,
        )
    )
    most = max(point.rows for point in points) or 1
    for point in points:
        x, colour = f"{across.place(point.predicted):.2f}%", COLOURS[point.tone]
        parts.append(line(x, upwards.place(point.low), x, upwards.place(point.high), tone=point.tone, width=2))
        parts.append(
            element(
                "circle",
                cx=x,
                cy=upwards.place(point.observed),
                r=3 + 4 * (point.rows / most) ** 0.5,
                stroke=colour,
                stroke_width=2,
                fill="var(--paper, white)" if point.tone == "soft" else colour,
            )
        )
    told = "; ".join(
        f"predicted {number(point.predicted)}, observed {number(point.observed)} "
        f"({number(point.low)} to {number(point.high)}) in {point.rows:,} rows"
        for point in points
    )
    return picture(parts, title=title, description=told, height=_HEIGHT)
