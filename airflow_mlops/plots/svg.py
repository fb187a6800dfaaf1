"""What all pictures share: escaped elements, scales, axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Literal

from airflow_mlops.exceptions import SpecificationError

__all__ = [
    "COLOURS",
    "Picture",
    "Scale",
    "Tone",
    "element",
    "finite",
    "label",
    "line",
    "number",
    "picture",
    "short",
    "spread",
]

Tone = Literal["new", "soft", "pass", "warn", "fail"]
"""Whose mark it is: the candidate's, the champion's, or a judgement's."""

#: Colours are the page's; outside of one of our pages a picture has the colour of the text.
COLOURS = {
    tone: f"var(--{tone}, currentColor)" for tone in ("new", "soft", "pass", "warn", "fail", "ink", "line", "paper")
}

_LONGEST_LABEL = 30


class Picture(str):
    """SVG that may stand in a page as it is; templates know it by ``__html__``."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return the markup, which was escaped where it was made."""
        return str(self)


@dataclass(frozen=True)
class Scale:
    """From numbers to places.

    :param low: the smallest number
    :param high: the largest number
    :param start: place of the smallest
    :param end: place of the largest
    """

    low: float
    high: float
    start: float
    end: float

    @classmethod
    def over(cls, numbers: Iterable[float], *, start: float, end: float, margin: float = 0.05) -> Scale:
        """Make a scale that holds all numbers, with a margin; one number alone stands in the middle."""
        many = list(numbers)
        low, high = min(many), max(many)
        room = margin * (high - low) if spread(low, high) else max(abs(high) / 10, 1e-3)
        return cls(low - room, high + room, start, end)

    def place(self, found: float) -> float:
        """Return where a number stands."""
        return self.start + (self.end - self.start) * (found - self.low) / (self.high - self.low)

    def ticks(self, wanted: int = 4) -> list[float]:
        """Return round numbers on the scale: about as many as wanted, never more than twice that."""
        span = (self.high - self.low) / wanted
        power = 10.0 ** math.floor(math.log10(span))
        step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= span * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [round(position * step, 12) + 0.0 for position in range(first, last + 1)]


def spread(low: float, high: float) -> bool:
    """Whether two numbers are far enough apart to stand in different places."""
    return high - low > 1e-9 * max(1.0, abs(low), abs(high))


def finite(where: str, *numbers: float | None) -> None:
    """Refuse numbers that have no place.

    :raises SpecificationError: if a number is not finite
    """
    for found in numbers:
        if found is not None and not math.isfinite(found):
            raise SpecificationError(where, found, "finite numbers")


def element(name: str, body: str = "", /, **attributes: str | float) -> str:
    """Return an element; attributes are escaped (``stroke_width`` becomes ``stroke-width``), the body is markup."""
    given = "".join(
        f' {key.replace("_", "-")}="{escape(value if isinstance(value, str) else _plain(value), quote=True)}"'
        for key, value in attributes.items()
    )
    return f"<{name}{given}>{body}</{name}>" if body else f"<{name}{given}/>"


def label(
    words: str, x: str | float, y: float, *, soft: bool = False, anchor: str = "start", whole: bool = False
) -> str:
    """Return text at a place, cut if it is long unless the whole is wanted; it shows when one points there."""
    cut = words if whole else short(words)
    body = escape(cut) + (element("title", escape(words)) if cut != words else "")
    fill = COLOURS["soft"] if soft else "currentColor"
    return element("text", body, x=x, y=y, fill=fill, text_anchor=anchor)


def line(x1: str, y1: float, x2: str, y2: float, *, tone: str = "line", width: float = 1, dashed: bool = False) -> str:
    """Return a straight line."""
    dashes = {"stroke_dasharray": "4 3"} if dashed else {}
    return element("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=COLOURS[tone], stroke_width=width, **dashes)


def number(found: float, *, step: float | None = None, sign: bool = False) -> str:
    """Return a number as text, with the decimals that tell steps of this size apart; three digits without one."""
    plus = "+" if sign and found else ""
    if step is None:
        return f"{found:{plus}.3g}"
    decimals = max(0, math.ceil(-math.log10(step) - 1e-9))
    if not math.isclose(round(step, decimals), step, rel_tol=0.02):  # steps of 0.25, say
        decimals += 1
    decimals = min(decimals, 9)
    found = round(found, decimals) + 0.0  # no minus before a zero
    return f"{found:{plus if found else ''},.{decimals}f}"


def picture(parts: Sequence[str], *, title: str, description: str, height: float) -> Picture:
    """Put parts together.

    :param title: what the picture shows: read out, and shown when one points at it
    :param description: the numbers in it, for those who cannot see it
    :param height: pixels
    """
    head = element("title", escape(title)) + element("desc", escape(description))
    return Picture(
        element(
            "svg",
            head + "".join(parts),
            xmlns="http://www.w3.org/2000/svg",
            role="img",
            width="100%",
            height=height,
            font_size="12",
            font_family="inherit",
            # attributes, no style: pages of the Airflow UI forbid styles that are written into the markup
            display="block",
            overflow="visible",
        )
    )


def short(words: str) -> str:
    """Cut a long label."""
    return words if len(words) <= _LONGEST_LABEL else words[: _LONGEST_LABEL - 1] + "…"


def _plain(found: float) -> str:
    return f"{round(found, 3):.9g}"
