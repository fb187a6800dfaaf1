"""What the page shows about explanations."""

from __future__ import annotations

from typing import Any

from airflow_mlops import plots
from airflow_mlops.evaluation.explanations import Agreement, Explained, ExplanationsReport
from airflow_mlops.plots import Bar, ForestRow, Picture

__all__ = ["view_explanations"]

_SHOWN = 20
_EFFECTS = 8


def view_explanations(report: ExplanationsReport) -> dict[str, Any]:
    """Return the variable of the template ``explanations.html``."""
    return {
        "report": report,
        "importance": _importance(report),
        "hidden": max(0, len(report.importances) - _SHOWN),
        "agreement": None if report.agreement is None else _agreement(report.agreement),
        "errors": [
            (f"label {one.label:g}, answered {one.score:.3f}", _effects(one, report.local_unit))
            for one in report.errors
        ],
    }


def _importance(report: ExplanationsReport) -> Picture:
    shown = [
        Bar(
            label=one.column,
            value=one.candidate.value,
            low=one.candidate.low,
            high=one.candidate.high,
            other=None if one.champion is None else one.champion.value,
        )
        for one in report.importances[:_SHOWN]
    ]
    return plots.bars(shown, title=f"importance of columns: {report.unit}")


def _agreement(found: Agreement) -> Picture:
    names = (("rank correlation", found.rank_correlation), (f"same top {found.top}", found.top_overlap))
    rows = [ForestRow(label=name, value=one.value, low=one.low, high=one.high) for name, one in names]
    return plots.forest(rows, title="agreement with the champion", scale_to=(0.0, 1.0))


def _effects(one: Explained, unit: str) -> Picture:
    strongest = sorted(one.effects.items(), key=lambda effect: -abs(effect[1]))[:_EFFECTS]  # files sort by name
    shown = [Bar(label=name, value=effect) for name, effect in strongest]
    return plots.bars(shown, title=f"label {one.label:g}, answered {one.score:.3f}: {unit}", signed=True)
