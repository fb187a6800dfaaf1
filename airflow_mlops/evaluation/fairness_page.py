"""What the page shows about groups."""

from __future__ import annotations

from typing import Any

from airflow_mlops import plots
from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.evaluation.fairness_report import Apart, FairnessColumn, FairnessReport, RateSpread
from airflow_mlops.plots import ForestRow

__all__ = ["FOUR_FIFTHS", "view_fairness"]

#: Smallest ratio of selection rates by the U.S. Uniform Guidelines on Employee Selection Procedures, 29 CFR 1607.4 D.
FOUR_FIFTHS = 0.8


def view_fairness(report: FairnessReport) -> dict[str, Any]:
    """Return the variable of the template ``fairness.html``."""
    return {
        "report": report,
        "confidence": f"{100 * report.confidence:g}",
        "columns": [_column(column) for column in report.columns],
    }


def _column(column: FairnessColumn) -> dict[str, Any]:
    return {
        "name": column.column,
        "groups": column.groups,
        "small": column.small_groups,
        "unmeasured": column.unmeasured,
        "metrics": [_metric(column, name, spread) for name, spread in column.spreads.items()],
    }


def _metric(column: FairnessColumn, name: str, spread: RateSpread) -> dict[str, Any]:
    rates = [(group.name, group.rates[name]) for group in column.groups if name in group.rates]
    rows = [ForestRow(label=group, value=one.value, low=one.low, high=one.high) for group, one in rates]
    return {
        "name": name,
        "picture": plots.forest(rows, title=f"{name} by {column.column}"),
        "gap": _text(spread.gap),
        "ratio": None if spread.ratio is None else _text(spread.ratio),
        "champion": _apart(column.champion[name]) if name in column.champion else None,
        "four_fifths": _four_fifths(spread.ratio) if name == "selection_rate" and spread.ratio else None,
        "rates": {group: _text(one) for group, one in rates},
    }


def _apart(champion: Apart) -> str:
    ratio = "" if champion.ratio is None else f", ratio {_text(champion.ratio)}"
    return f"gap {_text(champion.gap)}{ratio}"


def _four_fifths(ratio: Estimate) -> str:
    if ratio.low >= FOUR_FIFTHS:
        return "at least four fifths, shown by the whole interval"
    if ratio.high < FOUR_FIFTHS:
        return "less than four fifths, shown by the whole interval"
    return "whether it is four fifths is not shown"


def _text(found: Estimate) -> str:
    return f"{found.value:.4f} ({found.low:.4f} to {found.high:.4f})"
