"""The rollout as a page."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow_mlops.page import render_page
from airflow_mlops.rollout.describe import describe_step, rules_of
from airflow_mlops.rollout.figures import figures_of
from airflow_mlops.rollout.state import HistoryEntry, RolloutState, awaits_approval

__all__ = ["render_html"]

_HEADLINES = {
    "progressing": "The rollout is under way.",
    "promoted": "The candidate has all traffic.",
    "rolled_back": "All traffic went back to the stable model.",
}


def render_html(state: RolloutState, *, evidence_uri: str) -> str:
    """Render a rollout for people, finished or not.

    :param evidence_uri: where the last decision is recorded, empty when that is not known
    """
    return render_page(
        "rollout/templates/report.html",
        state=state,
        outcome=state.phase.replace("_", " "),
        headline=_HEADLINES[state.phase],
        entries=[_entry(entry, state) for entry in state.history],
        steps=_steps(state),
        figures=figures_of(state),
        rules=rules_of(state.spec),
        evidence_uri=evidence_uri,
    )


def _steps(state: RolloutState) -> list[dict[str, str]]:
    """Return the steps in words, and where the rollout is among them."""
    now = len(state.spec.steps) if state.phase == "promoted" else state.step_index
    waits = "waits for approval" if awaits_approval(state) else "now"
    if state.stable in (None, state.candidate):
        return []  # there was nothing to roll out
    return [
        {
            "text": describe_step(state.spec, step),
            "place": "done" if number < now else waits if number == now and not state.finished else "",
        }
        for number, step in enumerate(state.spec.steps)
    ]


def _entry(entry: HistoryEntry, state: RolloutState) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "after": f"{entry.at - state.started_at:+.0f} s",
        "verdict": entry.verdict.value,
        "share": entry.weights.get(state.candidate, 0),
        "weights": ", ".join(f"{name} {weight} %" for name, weight in entry.weights.items()),
        "reason": entry.reason,
    }
