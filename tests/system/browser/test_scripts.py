"""Pages and their scripts in a browser, without an Airflow: what changes while one looks, and what does not need to."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from typing import Any

import pytest

from airflow_mlops.governance.flow import run_flow
from airflow_mlops.governance.overview import ModelOverview, overview
from airflow_mlops.governance.timeline import releases, timeline
from airflow_mlops.ui.answers import page_answer
from airflow_mlops.ui.assets import ASSETS
from airflow_mlops.ui.frame import Page
from airflow_mlops.ui.view import render
from tests.system.browser.accessibility import problems, unreachable, width_overflow
from tests.system.browser.chromium import chromium, watched
from tests.system.browser.sample import NOW, documents, live

pytestmark = pytest.mark.system

_POLICY = page_answer("", has_form=True, has_frame=True).headers["Content-Security-Policy"]
#: Airflow shows pages so: its theme is a class of the document, its frame may not open windows.
_AIRFLOW = """<!DOCTYPE html><html class="dark"><body><iframe title="Models" src="/models" width="600" height="600"
  sandbox="allow-scripts allow-same-origin allow-forms allow-downloads"></iframe></body></html>"""


def pages() -> dict[str, str]:
    page = Page(now=NOW, root="", assets="/assets", airflow="", address="/models", older="/models?before=2", last=2)
    found, model = releases(documents()), overview("flights", documents(), now=NOW)
    task = {"dag_id": "cd_flights", "run_id": "r", "task_id": "canary", "map_index": -1, "live_address": "/live"}
    nothing = {"entries": (), "reports": (), "live": None, "live_stale": False}
    flow = run_flow("cd_flights", "r", timeline(documents()))
    values: dict[str, tuple[str, dict[str, Any]]] = {
        "/models": ("models.html", {"models": (model, ModelOverview(name="churn"))}),
        "/no-models": ("models.html", {"models": ()}),
        "/model": ("model.html", {"overview": model, "releases": found}),
        "/no-releases": ("model.html", {"overview": ModelOverview(name="churn"), "releases": ()}),
        "/release": (
            "release.html",
            {"release": found[-1], "entries": found[-1].entries, "validations": found[0].entries[:1]},
        ),
        "/compare": ("compare.html", {"left": found[1], "right": found[0]}),
        "/task": ("task.html", {**task, **nothing, "live": live()}),
        "/no-report": ("task.html", {**task, **nothing}),
        "/run": ("run.html", {"flow": flow, "reports": ({"name": "gate", "address": "/models", "task": "gate"},)}),
        "/no-run": ("run.html", {"flow": run_flow("d", "r", ()), "reports": ()}),
        "/error": ("error.html", {"title": "No such model", "message": "Nobody knows <it>."}),
    }
    return {path: render(name, page=page, **given) for path, (name, given) in values.items()}


class Site:
    """Serves the pages under their policy.

    :ivar live: status and JSON that the rollout's address answers with
    """

    def __init__(self) -> None:
        self.pages = pages() | {"/dags/a": "<title>Airflow</title>"}
        self.live: tuple[int, Any] = (200, {})
        self.asked = 0
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(*site.content(self.path.partition("?")[0]))

            def answer(self, status: int, media_type: str, content: str) -> None:
                self.send_response(status)
                self.send_header("Content-Type", media_type)
                if self.path != "/airflow":
                    self.send_header("Content-Security-Policy", _POLICY)
                self.end_headers()
                self.wfile.write(content.encode())

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def content(self, path: str) -> tuple[int, str, str]:
        if path == "/live":
            self.asked += 1
            return self.live[0], "application/json", json.dumps(self.live[1])
        name = path.removeprefix("/assets/")
        if name in ASSETS:
            return 200, ASSETS[name], files("airflow_mlops").joinpath("ui/static", name).read_text()
        found = _AIRFLOW if path == "/airflow" else self.pages.get(path)
        return (404 if found is None else 200), "text/html; charset=utf-8", found or ""

    def show(self, **changes: Any) -> None:
        shown = live(**changes)
        page = Page(now=NOW, root="", assets="/assets", airflow="", address="/task")
        html = render("live.html", live=shown, live_address="/live", live_stale=False, page=page)
        self.live = 200, {"ended": shown.ended, "at": shown.looked_at, "html": html}

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1200, "dark")])
def test_every_page_can_be_read_by_everybody(browser: Any, site: Site, width: int, scheme: str) -> None:
    context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
    page, complaints = watched(context)
    site.show()
    found = {}
    for path in pages():
        page.goto(site.address(path))
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        wide = width_overflow(page)
        found[path] = problems(page) + unreachable(page) + ([f"{wide} pixels too wide"] if wide else [])
    context.close()
    assert {path: lacks for path, lacks in found.items() if lacks} == {}
    assert complaints == []


def test_without_scripts_the_figures_are_there(browser: Any, site: Site) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(site.address("/task"))
    page.get_by_text("flights-v3 has 25 %").wait_for()
    assert page.locator("svg title").count() >= 4
    assert not page.get_by_role("button", name="Copy").count()
    context.close()


def test_a_rollout_is_followed_until_it_ends(browser: Any, site: Site) -> None:
    context = browser.new_context()
    page, complaints = watched(context)
    site.show()
    page.goto(site.address("/task"))
    status = page.locator("[role=status]")
    page.evaluate("() => { document.querySelector('[role=status]').dataset.same = 'yes'; }")
    weights = {"flights-v2": 50, "flights-v3": 50}
    site.show(weights=weights, looked_at=NOW + 5)
    page.get_by_text("flights-v3 has 50 %").wait_for()
    assert status.get_attribute("data-same") == "yes"  # a reader is told only what changes in place
    assert page.locator("[data-part=weights] li b").all_text_contents() == ["50 %", "50 %"]
    site.show(phase="promoted", weights={"flights-v3": 100}, reason="proven at 50 %")
    page.get_by_text("flights-v3 has all traffic").wait_for()
    asked = site.asked
    page.wait_for_timeout(1500)
    assert site.asked == asked
    assert complaints == []
    context.close()


def test_figures_that_get_old_say_so(browser: Any, site: Site) -> None:
    context = browser.new_context()
    page, _ = watched(context)
    site.show()
    page.goto(site.address("/task"))
    page.get_by_text("Last look").wait_for()
    site.live = 500, {}
    page.get_by_text("this may be out of date").wait_for()
    site.show()
    page.locator(".freshness:not(.stale)").wait_for()
    site.live = 401, {}
    page.get_by_text("no longer logged in").wait_for()
    asked = site.asked
    page.wait_for_timeout(1500)
    assert site.asked == asked
    context.close()


def test_pages_follow_the_theme_of_airflow(browser: Any, site: Site) -> None:
    context = browser.new_context(color_scheme="light")
    page, _ = watched(context)
    page.goto(site.address("/airflow"))
    models = page.frame_locator("iframe").locator("html")
    models.get_by_role("heading", name="Models").wait_for()
    dark = models.evaluate("(one) => getComputedStyle(one).backgroundColor")
    page.evaluate("() => { document.documentElement.className = 'light'; }")
    page.frame_locator("iframe").locator("html[data-theme=light]").wait_for(state="attached")
    assert models.evaluate("(one) => getComputedStyle(one).backgroundColor") != dark
    page.evaluate("() => localStorage.setItem('theme', 'dark')")
    alone, _ = watched(context)
    alone.goto(site.address("/models"))
    assert alone.locator("html").get_attribute("data-theme") == "dark"
    page.evaluate("() => localStorage.setItem('theme', 'light')")
    alone.locator("html[data-theme=light]").wait_for(state="attached")
    page.evaluate("() => localStorage.removeItem('theme')")
    alone.locator("html:not([data-theme])").wait_for(state="attached")
    context.close()


def test_a_link_to_airflow_leaves_the_frame(browser: Any, site: Site) -> None:
    context = browser.new_context()
    page, complaints = watched(context)
    page.goto(site.address("/airflow"))
    frame = page.frame_locator("iframe")
    frame.locator("body").evaluate(
        "(body) => { body.innerHTML = '<a href=\"/dags/a\" data-airflow>Airflow</a>'; }",
    )
    frame.get_by_role("link", name="Airflow").click()
    page.wait_for_url("**/dags/a")
    assert not [said for said in complaints if "navigation" in said]
    context.close()


def test_a_digest_is_copied(browser: Any, site: Site) -> None:
    context = browser.new_context(permissions=["clipboard-read", "clipboard-write"])
    page, complaints = watched(context)
    page.goto(site.address("/release"))
    page.get_by_role("button", name="Copy").first.focus()
    page.keyboard.press("Enter")
    page.get_by_text("Copied").wait_for()
    assert page.evaluate("() => navigator.clipboard.readText()") == "sha256:" + "d" * 64
    assert complaints == []
    context.close()
