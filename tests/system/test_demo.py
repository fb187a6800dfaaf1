"""The demonstration as a new user sees it: its command, a running Airflow, and the pages in a browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from airflow_mlops.local.ports import can_bind
from airflow_mlops.local.settings import Ports
from airflow_mlops.local.trace import longest_outage, read_trace
from tests.system.browser.accessibility import problems, unreachable, width_overflow
from tests.system.browser.chromium import chromium, watched

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

CHECKOUT = Path(__file__).resolve().parents[2]


def tell(story: str, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", story, "--home", str(home), *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.fixture(scope="module")
def home(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack on which the first story was told; it is stopped at the end."""
    root = tmp_path_factory.mktemp("demo")
    # Below the ports that the system gives to connections: other tests run beside these.
    base = next(
        base for base in range(23000, 29000, 100)
        if all(can_bind("127.0.0.1", port) for _, port in Ports.from_base(base).named())
    )  # fmt: skip
    told = tell("promote", root, "--port-base", str(base))
    (root / "output.txt").write_text(told.stdout + told.stderr)
    try:
        assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-4000:]
        yield root
    finally:
        stopped = tell("down", root)
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr


@pytest.fixture(scope="module")
def summary(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "summary.json").read_text()))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="module")
def desk(browser: Any) -> Any:
    """A window that keeps Airflow's own scripts, which are some megabytes, from one test to the next."""
    return browser.new_context(viewport={"width": 1400, "height": 1000})


def test_the_first_story_ends_with_a_promoted_model(home: Path, summary: dict[str, Any]) -> None:
    assert (summary["champion_before"], summary["champion_after"]) == ("1", "2")
    assert {entry["verdict"] for entry in summary["verdicts"]["validation"]} == {"pass"}
    assert [entry["verdict"] for entry in summary["verdicts"]["gate"]] == ["pass"]
    assert [entry["outcome"] for entry in summary["verdicts"]["canary"]] == ["promoted"]
    candidate = [change["weights"].get("flights-v2", 0) for change in summary["weights_over_time"]]
    assert candidate == [0, 10, 25, 50, 100]
    assert summary["urls"]["airflow"] in (home / "output.txt").read_text()


def test_no_request_was_lost_while_the_model_changed(home: Path, summary: dict[str, Any]) -> None:
    first, last = summary["weights_over_time"][0]["at"], summary["weights_over_time"][-1]["at"]
    answers = read_trace([home / "traffic" / "trace.jsonl"], since=first, until=last)
    assert len(answers) > 500
    assert longest_outage(answers) is None


def test_a_person_sees_the_run_in_the_browser(desk: Any, summary: dict[str, Any]) -> None:
    airflow, shots = summary["urls"]["airflow"], CHECKOUT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    page, _ = watched(desk)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(f"{airflow}/dags", wait_until="networkidle")
    for dag_id in ("ct_flights", "cd_flights", "monitor_flights", "ci_flights"):
        page.get_by_role("link", name=dag_id).first.wait_for()
    page.screenshot(path=shots / "dags.png")
    page.goto(f"{airflow}/dags/cd_flights", wait_until="networkidle")
    page.get_by_text("canary").first.wait_for()
    page.screenshot(path=shots / "cd_flights.png")
    answer = page.goto(f"{airflow}/mlops/reports/{_plain(summary['verdicts']['validation'][0]['report_uri'])}")
    assert answer is not None
    assert answer.status == 200
    assert "flights" in page.content()
    page.screenshot(path=shots / "validation.png")
    page.close()
    assert not errors


def test_whoever_is_on_call_finds_what_serves_and_why(desk: Any, summary: dict[str, Any]) -> None:
    page, complaints = watched(desk, below="/mlops/")
    page.goto(f"{summary['urls']['airflow']}/dags")
    page.get_by_role("link", name="Models").click()
    shown = page.frame_locator("iframe")
    card = shown.locator("li.card", has=shown.get_by_role("link", name="flights", exact=True))
    told = card.inner_text()
    assert f"Version {summary['champion_after']}" in told
    assert "flights-v2 100 %" in told
    assert summary["verdicts"]["canary"][0]["reason"] in told
    shown.get_by_role("link", name="flights", exact=True).click()
    shown.get_by_role("heading", name="flights", level=1).wait_for()
    assert shown.locator("option").count() == 4  # two releases to choose from, twice
    shown.get_by_role("button", name="Compare").click()
    shown.get_by_role("rowheader", name="Model").wait_for()
    page.go_back()
    shown.get_by_role("link", name="Version 2", exact=True).click()
    shown.get_by_text("Traffic as a table").click()
    shares = shown.locator("section", has=shown.locator("#traffic")).locator("td[data-name=Share]").all_inner_texts()
    moved = [change["weights"] for change in summary["weights_over_time"][1:]]
    assert [_weights(share) for share in shares] == moved
    assert "pass" in shown.get_by_role("heading", name="Gate", level=3).inner_text()
    # Out of the frame, which may not open windows nor move its parent.
    shown.get_by_role("link", name="gate", exact=True).first.click()
    page.wait_for_url(re.compile(r"/dags/ct_flights/runs/[^/]+/tasks/gate"))
    page.close()
    assert complaints == []


def test_tabs_show_the_evidence_of_a_task_and_of_a_run(desk: Any, summary: dict[str, Any]) -> None:
    page, complaints = watched(desk, below="/mlops/")
    _, run, *_ = unquote(_plain(summary["verdicts"]["gate"][0]["report_uri"])).split("/")
    address = f"{summary['urls']['airflow']}/dags/ct_flights/runs/{quote(run, safe='')}"
    page.goto(f"{address}/tasks/gate")
    page.get_by_role("link", name="Evidence").click()
    shown = page.frame_locator("iframe")
    assert "pass" in shown.get_by_role("heading", name="Gate", level=3).inner_text()
    report = shown.frame_locator("iframe")
    report.get_by_text("roc_auc").first.wait_for()
    page.goto(address)
    page.get_by_role("link", name="Release").click()
    shown.get_by_role("heading", name="Release of this run").wait_for()
    stages = shown.locator("ol.flow li")
    assert stages.locator("a").all_inner_texts()[:3] == ["Data", "Gate", "Registration"]
    assert [verdict.split()[-1] for verdict in stages.locator(".verdict").all_inner_texts()][:3] == ["pass"] * 3
    page.close()
    assert complaints == []


@pytest.mark.parametrize(("width", "theme"), [(360, "dark"), (1200, "light")])
def test_the_pages_of_the_story_can_be_read_by_everybody(
    browser: Any, summary: dict[str, Any], width: int, theme: str
) -> None:
    airflow = summary["urls"]["airflow"]
    context = browser.new_context(viewport={"width": width, "height": 800})
    page, complaints = watched(context)
    page.goto(f"{airflow}/mlops/models")
    page.evaluate("(theme) => localStorage.setItem('theme', theme)", theme)
    dag, run, task, index, _ = _plain(summary["verdicts"]["gate"][0]["report_uri"]).split("/")
    found = {}
    for path in ("models", "models/flights", f"runs/{dag}/{run}", f"tasks/{dag}/{run}/{task}/{index}"):
        page.goto(f"{airflow}/mlops/{path}")
        assert page.locator("html").get_attribute("data-theme") == theme
        page.evaluate("() => document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        wide = width_overflow(page)
        found[path] = problems(page) + unreachable(page) + ([f"{wide} pixels too wide"] if wide else [])
    context.close()
    assert {path: lacks for path, lacks in found.items() if lacks} == {}
    assert complaints == []


def _plain(report: str) -> str:
    """Return a report's address below the pages' reports; the path in the store quotes what a file may not like."""
    below = report.split("/reports/", 1)[1].removesuffix(".html")
    return re.sub(r"~([0-9a-f]{2})", lambda match: quote(chr(int(match[1], 16))), below)


def _weights(text: str) -> dict[str, int]:
    return {name: int(share) for name, share in re.findall(r"(\S+) (\d+) %", text) if share != "0"}


def test_the_monitor_starts_the_next_training_by_itself(home: Path, summary: dict[str, Any]) -> None:
    told = tell("drift", home)
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-4000:]
    facts = json.loads((home / "summary-drift.json").read_text())
    assert facts["fired"] in {"2013-06", "2013-07"}
    assert facts["retraining"].startswith("asset_triggered")


def test_killed_processes_come_back_and_the_release_ends(home: Path, summary: dict[str, Any]) -> None:
    # The other plans are told by `make demo-kills`: each costs a release.
    told = tell("kills", home, "--kill", "worker", "--kill", "scheduler")
    assert told.returncode == 0, told.stdout[-6000:] + told.stderr[-4000:]
