"""The rollout as one self-contained HTML page: no script, nothing fetched from anywhere."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

from jinja2 import Environment, StrictUndefined

from airflow_mlops.rollout.state import HistoryEntry, RolloutState

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
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(
        files("airflow_mlops.rollout").joinpath("templates/report.html").read_text(encoding="utf-8")
    )
    return template.render(
        state=state,
        outcome=state.phase.replace("_", " "),
        headline=_HEADLINES[state.phase],
        entries=[_entry(entry, state) for entry in state.history],
        evidence_uri=evidence_uri,
    )


def _entry(entry: HistoryEntry, state: RolloutState) -> dict[str, Any]:
    return {
        "at": datetime.fromtimestamp(entry.at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC"),
        "after": f"{entry.at - state.started_at:+.0f} s",
        "verdict": entry.verdict.value,
        "share": entry.weights.get(state.candidate, 0),
        "weights": ", ".join(f"{name} {weight} %" for name, weight in entry.weights.items()),
        "reason": entry.reason,
    }
