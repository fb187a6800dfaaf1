"""The check of pages finds what it is for: a page that lacks everything, and one that lacks nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.system.browser.accessibility import problems, unreachable, width_overflow
from tests.system.browser.chromium import chromium

pytestmark = pytest.mark.system

BAD = """<!DOCTYPE html><html><head><title></title><style>
  button:focus { outline: none } .wide { width: 900px }
</style></head><body style="color: #999">
<h1>One</h1><h1>Two</h1><h4 id="twice">Deep</h4><p id="twice">grey on white</p>
<button></button><a href="#nowhere">x</a><img src="data:,"><svg width="9" height="9"></svg><iframe srcdoc="x"></iframe>
<nav><a href="/a">a</a></nav><nav><a href="/b" tabindex="-1">b</a></nav><section aria-labelledby="gone"></section>
<table><tr><td>1</td></tr></table><table><tr><th>a</th></tr></table><div class="wide">wide</div>
</body></html>"""

LACKS = (
    "does not say its language",
    "the page has no title",
    "the id twice stands twice",
    "leads to #nowhere",
    "#gone, is not there",
    "a table has no headers",
    "no scope",
    "a picture has no title",
    "does not tell its numbers",
    "a button has no name",
    "a image has no name",
    "a Iframe has no name",
    "2 headings of level 1",
    "level 4 follows one of level 1",
    "0 main landmarks",
    "navigation without a name",
    'contrast 2.85 of "grey on white"',
)

GOOD = """<!DOCTYPE html><html lang="en"><head><title>Good</title><style>
  :focus-visible { outline: 3px solid blue }
</style></head><body><nav aria-label="Path"><a href="#content">Skip</a></nav><main id="content">
<h1>One</h1><h2>Two</h2><button>Push</button><table><tr><th scope="col">a</th></tr><tr><td>1</td></tr></table>
<svg role="img" width="9" height="9"><title>Nine</title><desc>9</desc><text fill="black">9</text></svg>
</main></body></html>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


def test_a_page_that_lacks_everything(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 700})
    page.set_content(BAD)
    found = "\n".join(problems(page))
    for lack in LACKS:
        assert lack in found
    unreached = "\n".join(unreachable(page))
    assert 'not reached by keyboard: <a href="/b"' in unreached
    assert "focus does not show on <button" in unreached
    assert width_overflow(page) > 500


def test_a_page_that_lacks_nothing(browser: Any) -> None:
    page = browser.new_page(viewport={"width": 360, "height": 700})
    page.set_content(GOOD)
    assert problems(page) == []
    assert unreachable(page) == []
    assert width_overflow(page) == 0
