"""The code blocks of the documentation, for the tests that run them."""

from __future__ import annotations

import re
import textwrap
import tomllib
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
SHELL = ("sh", "bash")
PAGES = (*sorted((ROOT / "docs").rglob("*.md")), README, ROOT / "CONTRIBUTING.md")

TARGETS = frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
EXTRAS = frozenset(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<language>\S*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.DOTALL | re.MULTILINE
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """One code block.

    :param page: the page's path in the repository
    :param line: where it begins
    :param language: what the page says that it is
    :param text: its content
    :param output: the block of plain text right behind it; empty for none
    """

    page: str
    line: int
    language: str
    text: str
    output: str = ""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(*languages: str, pages: tuple[Path, ...] = PAGES) -> list[Block]:
    """Return the blocks in these languages, of all pages; without a language all blocks."""
    return [block for page in pages for block in _blocks(page) if not languages or block.language in languages]


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    fences = list(_FENCE.finditer(text))
    found = []
    for fence, after in zip_longest(fences, fences[1:]):
        follows = after is not None and after["language"] == "text" and not text[fence.end() : after.start()].strip()
        found.append(
            Block(
                page=str(page.relative_to(ROOT)),
                line=text.count("\n", 0, fence.start()) + 1,
                language=fence["language"],
                text=textwrap.dedent(fence["text"]),
                output=textwrap.dedent(after["text"]) if after is not None and follows else "",
            )
        )
    return found


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures."""
    return _LINK.findall(prose(page))
