"""Command line of the demonstration: ``python -m demo STORY --home FOLDER``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from airflow_mlops.local.environments import PYTHON_VARIABLE, find_requirements, model_environment
from demo.faults import PLANS
from demo.stack import CHECKOUT, Stack
from demo.stories import Stories
from demo.teller import StoryError

STORIES = {
    "promote": Stories.promote,
    "bad-data": Stories.bad_data,
    "bad-model": Stories.bad_model,
    "bad-canary": Stories.bad_canary,
    "drift": Stories.drift,
    "kills": Stories.kills,
}


def main() -> int:
    """Tell one story, or stop the stack."""
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("story", choices=[*STORIES, "down", "environment"])
    parser.add_argument("--home", type=Path, default=CHECKOUT / "build" / "demo", help="folder of all data")
    parser.add_argument("--port-base", type=int, help="first of a block of 100 ports")
    parser.add_argument("--envs", type=Path, default=CHECKOUT / "build" / "envs", help="folder of the environments")
    parser.add_argument("--explanations", action="store_true", help="also one with SHAP, LIME and skore")
    parser.add_argument("--kill", action="append", choices=PLANS, help="only these plans of the story of kills")
    options = parser.parse_args()
    if options.story == "environment":
        python = model_environment(options.envs, progress=print)
        (options.envs / "model-python").write_text(f"{python}\n")
        if options.explanations:
            os.environ.pop(PYTHON_VARIABLE, None)  # it names an environment without these packages
            more = CHECKOUT / "docker" / "trainer" / "explanations-requirements.txt"
            python = model_environment(options.envs, requirements=[*find_requirements(), more], progress=print)
            (options.envs / "explain-python").write_text(f"{python}\n")
        return 0
    stack = Stack(options.home, options.port_base)
    if options.story == "down":
        stack.down()
        return 0
    return tell(options.story, stack, options.kill)


def tell(name: str, stack: Stack, plans: list[str] | None = None) -> int:
    """Tell a story, print its summary and write it to ``summary.json``."""
    stories, began = Stories(stack), time.time()
    try:
        facts = stories.kills(tuple(plans)) if plans and name == "kills" else STORIES[name](stories)
    except (StoryError, TimeoutError) as error:
        print(f"\nThe story {name!r} FAILED: {error}\n", file=sys.stderr)
        print(f"Logs: {stack.home.logs}; `make demo-down` stops the stack.", file=sys.stderr)
        return 1
    seconds = round(time.time() - began, 1)
    summary = {"story": name, "seconds": seconds, "urls": stack.urls, **facts}
    file = "summary.json" if name == "promote" else f"summary-{name}.json"
    path = stack.home.root / file
    path.write_text(json.dumps(summary, indent=2) + "\n")
    show(summary)
    print(f"The same as JSON: {path}\n`make demo-down` stops everything.")
    return 0


def show(summary: dict[str, Any]) -> None:
    """Print a summary for a person."""
    print(f"\n=== {summary['story']}: done in {summary['seconds']} s")
    for key, value in summary.items():
        if key not in {"story", "seconds"}:
            print(f"\n{key.replace('_', ' ')}:")
            _print(value, "  ")
    print()


def _print(value: Any, indent: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, (dict, list)) and item:
                print(f"{indent}{key}:")
                _print(item, indent + "  ")
            else:
                print(f"{indent}{key}: {item}")
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and "reason" in item:
                print(f"{indent}- {item.get('verdict', item.get('outcome'))}: {item['reason']}")
                print(f"{indent}  {item.get('report_uri', '')}")
            else:
                print(f"{indent}- {json.dumps(item)}")
    else:
        print(f"{indent}{value}")


if __name__ == "__main__":
    sys.exit(main())
