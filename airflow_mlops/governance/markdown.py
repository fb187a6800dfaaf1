"""Text in Markdown that reads as it is, whoever wrote it: no heading, link, picture, table or HTML comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["code", "escaped", "table"]

_SPECIAL = re.compile(r"([\\`*_\[\]#|~$])")
#: What begins a list or a rule, where a line begins with it.
_LINE_START = re.compile(r"^([-+](?=[\s-]|$)|\d+[.)](?=\s|$))")
_ENTITIES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_BREAKS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]+")


def escaped(text: object) -> str:
    """Return a text on one line that Markdown shows as it is."""
    line = _BREAKS.sub(" ", str(text)).strip()
    line = _SPECIAL.sub(r"\\\1", line.translate(_ENTITIES))
    return _LINE_START.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", line)


def code(text: object) -> str:
    """Return a text on one line in the letters of a program; one that would end that early is only escaped."""
    line = _BREAKS.sub(" ", str(text)).strip()
    return escaped(line) if "`" in line or "|" in line or not line else f"`{line}`"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    :param head: names of the columns
    :param rows: what is in the cells, in Markdown already
    """
    return [
        f"| {' | '.join(map(escaped, head))} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]
