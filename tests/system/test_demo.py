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
from urllib.parse import quote

import pytest

from airflow_mlops.local.ports import can_bind
from airflow_mlops.local.settings import Ports
from airflow_mlops.local.trace import longest_outage, read_trace

pytestmark = [pytest.mark.system, pytest.mark.timeout(1200)]

CHECKOUT = Path(__file__).resolve().parents[2]
CHROMIUM = Path("/usr/bin/chromium")


def tell(story: str, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", story, "--home", str(home), *options]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, env=dict(os.environ))


@pytest.fixture(scope="module")
def home(model_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A stack on which the first story was told; it is stopped at the end."""
    root = tmp_path_factory.mktemp("demo")
    base = next(
        base for base in range(33000, 39000, 100)
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


def test_a_person_sees_the_run_in_the_browser(home: Path, summary: dict[str, Any]) -> None:
    if not CHROMIUM.exists():
        pytest.skip("there is no /usr/bin/chromium: install the package chromium")
    from playwright.sync_api import sync_playwright

    airflow, shots = summary["urls"]["airflow"], CHECKOUT / "build" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM),
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"],
        )
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"{airflow}/dags", wait_until="networkidle")
        for dag_id in ("ct_flights", "cd_flights", "monitor_flights", "ci_flights"):
            page.get_by_role("link", name=dag_id).first.wait_for()
        page.screenshot(path=shots / "dags.png")
        page.goto(f"{airflow}/dags/cd_flights", wait_until="networkidle")
        page.get_by_text("canary").first.wait_for()
        page.screenshot(path=shots / "cd_flights.png")
        # A path below the artefact root quotes what a file system may not like; the page takes the plain run id.
        report = summary["verdicts"]["validation"][0]["report_uri"].split("/reports/", 1)[1]
        plain = re.sub(r"~([0-9a-f]{2})", lambda match: quote(chr(int(match[1], 16))), report).removesuffix(".html")
        answer = page.goto(f"{airflow}/mlops/reports/{plain}", wait_until="networkidle")
        assert answer is not None
        assert answer.status == 200
        assert "flights" in page.content()
        page.screenshot(path=shots / "validation.png")
        browser.close()
    assert not errors


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
