"""Any text, escaped, reads in Markdown as it was: no element comes of it."""

from __future__ import annotations

import html
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_mlops.governance.markdown import code, escaped, table

markdown_it = pytest.importorskip("markdown_it")

_READER = markdown_it.MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
_ALPHABET = "\\`*_{}[]()<>#+-.!|~$&=:\"'^ \t\n1a@/"
texts = st.text(alphabet=_ALPHABET, max_size=24) | st.text(max_size=12)


def _line(text: str) -> str:
    return re.sub(r"[\x00-\x1f\x7f\x85\u2028\u2029]+", " ", text).strip()


@given(texts)
@example("1) one")
@example("&lt;b&gt;")
@example("---")
@example("    indented")
@example("a\\")
@example("<!-- x -->")
@example("![a](b)")
def test_a_paragraph_is_the_text(text):
    line = _line(text)
    shown = _READER.render(escaped(text)).strip()
    if not line:
        assert not shown
        return
    assert "<" not in shown.removeprefix("<p>").removesuffix("</p>")
    assert html.unescape(shown.removeprefix("<p>").removesuffix("</p>")) == line


@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=3))
def test_a_table_has_as_many_cells_as_it_was_given(rows):
    lines = table(("one", "two"), ((escaped(one), code(two)) for one, two in rows))
    shown = _READER.render("\n".join(lines))
    assert shown.count("<tr>") == len(rows) + 1
    cells = re.findall(r"<td>(.*?)</td>", shown, flags=re.DOTALL)
    plain = [re.sub(r"^<code>(.*)</code>$", r"\1", cell, flags=re.DOTALL) for cell in cells]
    assert not any("<" in cell for cell in plain)
    found = [" ".join(html.unescape(cell).split()) for cell in plain]
    assert found == [" ".join(_line(cell).split()) for row in rows for cell in row]
