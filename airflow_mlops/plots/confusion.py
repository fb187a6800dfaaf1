"""A confusion matrix."""

from __future__ import annotations

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots.svg import COLOURS, Picture, element, label, picture

__all__ = ["confusion"]

_HEAD, _CELL, _GAP = 20, 64, 4


def confusion(
    *, true_positives: int, false_positives: int, false_negatives: int, true_negatives: int, title: str
) -> Picture:
    """Draw the four counts; the fuller a cell, the larger its share of the rows with that label.

    :param true_positives: rows with label 1, predicted 1
    :param false_positives: rows with label 0, predicted 1
    :param false_negatives: rows with label 1, predicted 0
    :param true_negatives: rows with label 0, predicted 0
    :param title: whose they are
    :raises SpecificationError: if a count is negative, or all are 0
    """
    counts = (true_positives, false_positives, false_negatives, true_negatives)
    if min(counts) < 0 or not any(counts):
        raise SpecificationError("confusion", counts, "four counts, at least one above 0")
    parts, told = [], []
    table = (("label 1", (true_positives, false_negatives)), ("label 0", (false_positives, true_negatives)))
    for row, (name, cells) in enumerate(table):
        y = _HEAD + row * (_CELL + _GAP)
        parts.append(label(name, "0", y + _CELL / 2 + 4, soft=True))
        for column, count in enumerate(cells):
            predicted = f"predicted {1 - column}"
            share = count / sum(cells) if sum(cells) else 0.0
            right = row == column
            parts += _cell(18 + 41.5 * column, y, count, share, "new" if right else "fail")
            told.append(f"{name}, {predicted}: {count:,} ({share:.1%} of the label)")
    parts += [
        label(f"predicted {1 - column}", f"{38 + 41.5 * column}%", 13, soft=True, anchor="middle") for column in (0, 1)
    ]
    return picture(parts, title=title, description="; ".join(told), height=_HEAD + 2 * (_CELL + _GAP))


def _cell(left: float, top: float, count: int, share: float, tone: str) -> list[str]:
    middle = f"{left + 20:.2f}%"
    box: dict[str, str | float] = {"x": f"{left:.2f}%", "y": top, "width": "40%", "height": _CELL, "rx": 4}
    return [
        element("rect", **box, fill="none", stroke=COLOURS["line"]),
        element("rect", **box, fill=COLOURS[tone], fill_opacity=f"{0.06 + 0.34 * share:.3f}"),
        element(
            "text",
            f"{count:,}",
            x=middle,
            y=top + 30,
            fill="currentColor",
            text_anchor="middle",
            font_size="16",
            font_weight="600",
        ),
        label(f"{share:.1%}", middle, top + 48, soft=True, anchor="middle"),
    ]
