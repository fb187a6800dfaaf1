"""Chromium for tests, with what it complained of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

__all__ = ["chromium", "watched"]

CHROMIUM = Path("/usr/bin/chromium")


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser; skips the test where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium: install the package chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        try:
            yield browser
        finally:
            browser.close()


def watched(context: Any, *, below: str = "") -> tuple[Any, list[str]]:
    """Open a page; what it writes to the console as an error, throws, or cannot load is appended to the list.

    :param below: only what comes from an address with this in it, and is not of the pages around ours
    """
    context.set_default_timeout(60_000)  # machines of tests are busy
    page, complaints = context.new_page(), []

    def complain(address: str, words: str) -> None:
        if below in address:
            complaints.append(f"{address}: {words}")

    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("console", lambda said: complain(said.location["url"], said.text) if said.type == "error" else None)
    # Whoever goes on to another page stops what the last one asked for.
    page.on(
        "requestfailed",
        lambda request: None if "ABORTED" in request.failure else complain(request.url, request.failure),
    )
    return page, complaints
