"""What a check found, as values; nothing here looks at anything."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = [
    "LEVELS",
    "Finding",
    "Level",
    "as_json",
    "as_table",
    "failed",
    "note",
    "ok",
    "summary",
    "tell",
    "warn",
    "worst",
]

Level = Literal["ok", "note", "warn", "fail", "error"]
"""``note``: nothing is wrong, but something is not used or could not be told. ``warn``: works, with a risk that the
message names. ``fail``: something will not work. ``error``: the check itself broke, so nothing is known."""

LEVELS: tuple[Level, ...] = ("ok", "note", "warn", "fail", "error")

_HEAD = ("AREA", "CHECK", "LEVEL", "FINDING")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    :param area: what it belongs to, for example ``connections``; filled in by whoever runs the checks
    :param check: what was looked at, for example ``mlflow_default``
    :param level: how bad it is
    :param message: what was found, with its numbers
    :param remedy: what to do about it; empty where nothing needs to be done
    """

    area: str = ""
    check: str
    level: Level
    message: str
    remedy: str = ""


def ok(check: str, message: str) -> Finding:
    """Say that nothing needs to be done."""
    return Finding(check=check, level="ok", message=message)


def note(check: str, message: str, remedy: str = "") -> Finding:
    """Say that nothing is wrong, but something is not used or could not be told."""
    return Finding(check=check, level="note", message=message, remedy=remedy)


def warn(check: str, message: str, remedy: str) -> Finding:
    """Say that it works, with a risk."""
    return Finding(check=check, level="warn", message=message, remedy=remedy)


def failed(check: str, message: str, remedy: str) -> Finding:
    """Say that something will not work."""
    return Finding(check=check, level="fail", message=message, remedy=remedy)


def tell(check: str, message: str, remedy: str, *, level: Level) -> Finding:
    """Build a finding whose level depends on something else; one that is ``ok`` needs no remedy."""
    return Finding(check=check, level=level, message=message, remedy="" if level == "ok" else remedy)


def worst(findings: Iterable[Finding]) -> Level:
    """Return the worst level; ``error`` if there is no finding at all, since nothing was looked at."""
    return max((one.level for one in findings), key=LEVELS.index, default="error")


def as_table(findings: Sequence[Finding]) -> str:
    """Return aligned columns; what to do stands below what was found."""
    rows = [_HEAD]
    for one in findings:
        rows.append((one.area, one.check, one.level, one.message))
        if one.remedy:
            rows.append(("", "", "", f"-> {one.remedy}"))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    lines = []
    for row in rows:
        first, *others = row[3].splitlines() or [""]
        cells = [cell.ljust(width) for cell, width in zip(row[:3], widths, strict=True)]
        lines.append("  ".join((*cells, first)).rstrip())
        lines += [" " * (sum(widths) + 6) + other for other in others]
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """Return a document with the worst level and every finding."""
    return json.dumps({"worst": worst(findings), "findings": [asdict(one) for one in findings]}, indent=2)


def summary(findings: Sequence[Finding]) -> str:
    """Count the findings by level, the worst first."""
    counted = Counter(one.level for one in findings)
    return (
        ", ".join(f"{counted[level]} {level}" for level in reversed(LEVELS) if counted[level]) or "nothing was checked"
    )
