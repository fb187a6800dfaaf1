"""Takes the pictures in ``docs/images``: tells the first story and looks at its pages in Airflow, light and dark.

Needs Debian's ``chromium`` and playwright: ``python -m demo.screenshots --home build/pictures``.
"""

from __future__ import annotations

import argparse
import io
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

from demo.stack import CHECKOUT, Stack

_CHROMIUM = "/usr/bin/chromium"
_WIDTH, _HEIGHT = 1360, 850
_TALL = 1180  # a rollout's page with its plots
_COLOURS = 128


def main() -> int:
    """Take all pictures, or only those of a story that was told before."""
    parser = argparse.ArgumentParser(prog="demo.screenshots", description=__doc__)
    parser.add_argument("--home", type=Path, default=CHECKOUT / "build" / "pictures", help="folder of the stack")
    parser.add_argument("--port-base", type=int, help="first of a block of 100 ports")
    parser.add_argument("--into", type=Path, default=CHECKOUT / "docs" / "images", help="folder of the pictures")
    parser.add_argument("--told", action="store_true", help="the story was told; leave out the live page")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    options.into.mkdir(parents=True, exist_ok=True)
    stack = Stack(options.home, options.port_base)
    story = None if options.told else _tell(options.home, options.port_base)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
        take = Camera(page, options.into)
        if story is not None:
            _wait(lambda: stack.home.settings() is not None and _answers(page, stack), story)
            run = _wait(lambda: _under_way(page, stack), story)
            page.set_viewport_size({"width": _WIDTH, "height": _TALL})
            page.goto(_task(stack.urls["airflow"], run))
            take("task-live")
            if story.wait():
                raise SystemExit("the story failed")
        airflow = stack.urls["airflow"]
        page.set_viewport_size({"width": _WIDTH, "height": _TALL})
        page.goto(_task(airflow, _runs(stack, "cd_flights")[0]))
        take("task-promoted")
        page.set_viewport_size({"width": _WIDTH, "height": _HEIGHT})
        page.goto(f"{airflow}/plugin/mlops-models")
        take("models")
        page.goto(f"{airflow}/plugin/mlops-models/mlops/models/flights")
        take("model")
        page.goto(f"{airflow}/dags/ct_flights/runs/{quote(_runs(stack, 'ct_flights')[0], safe='')}/plugin/mlops-run")
        take("run")
        browser.close()
    if story is not None:
        stack.down()
    return 0


class Camera:
    """Takes a picture in both themes.

    :param page: shows Airflow
    :param folder: of the pictures
    """

    def __init__(self, page: Any, folder: Path) -> None:
        self._page = page
        self._folder = folder

    def __call__(self, name: str) -> None:
        """Take a picture of what the frame in the page shows, with Airflow around it."""
        for theme in ("light", "dark"):
            # As its own switch does; Airflow listens to what other windows write.
            self._page.evaluate(
                """(theme) => {
                  localStorage.setItem("theme", theme);
                  window.dispatchEvent(new StorageEvent("storage", { key: "theme", newValue: theme }));
                }""",
                theme,
            )
            self._page.frame_locator("iframe").locator(f"html[data-theme={theme}] h1").wait_for()
            self._page.wait_for_timeout(700)
            _save(self._page.screenshot(), self._folder / f"{name}-{theme}.png")


def _save(picture: bytes, path: Path) -> None:
    """Keep a picture with few colours, which is a third of its size."""
    try:
        from PIL import Image
    except ModuleNotFoundError:
        path.write_bytes(picture)
        return
    Image.open(io.BytesIO(picture)).convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(
        path, optimize=True
    )


def _tell(home: Path, port_base: int | None) -> subprocess.Popen[bytes]:
    ports = [] if port_base is None else ["--port-base", str(port_base)]
    return subprocess.Popen([sys.executable, "-m", "demo", "promote", "--home", str(home), *ports], cwd=CHECKOUT)


def _wait(look: Callable[[], Any], story: subprocess.Popen[bytes], seconds: float = 600.0) -> Any:
    until = time.monotonic() + seconds
    while time.monotonic() < until and story.poll() in (None, 0):
        found = look()
        if found:
            return found
        time.sleep(1)
    raise SystemExit("the story ended, or took too long, before there was anything to see")


def _answers(page: Any, stack: Stack) -> bool:
    from playwright.sync_api import Error

    try:
        return bool(page.goto(stack.urls["airflow"]).ok)
    except Error:
        return False  # not yet


def _under_way(page: Any, stack: Stack) -> str | None:
    """Return the run whose rollout is past its first step and sees requests in the next."""
    for run in _runs(stack, "cd_flights"):
        answer = page.request.get(f"{stack.urls['airflow']}/mlops/live/cd_flights/{quote(run, safe='')}/canary/-1")
        found = answer.json()["rollout"] if answer.ok else {}
        judged = found.get("step_since") is not None and all(arm["requests"] for arm in found["arms"])
        if found.get("phase") == "progressing" and found["step_index"] >= 1 and judged:
            return run
    return None


def _runs(stack: Stack, dag_id: str) -> list[str]:
    return [str(run["dag_run_id"]) for run in stack.api.runs(dag_id)]


def _task(airflow: str, run: str) -> str:
    return f"{airflow}/dags/cd_flights/runs/{quote(run, safe='')}/tasks/canary/plugin/mlops-task"


if __name__ == "__main__":
    sys.exit(main())
