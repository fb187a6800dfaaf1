"""What the page shows about calibration."""

from __future__ import annotations

from typing import Any

from airflow_mlops import plots
from airflow_mlops.evaluation.calibration import CalibrationReport, ModelCalibration
from airflow_mlops.plots import Picture, ReliabilityPoint, Tone

__all__ = ["view_calibration"]


def view_calibration(report: CalibrationReport) -> dict[str, Any]:
    """Return the variable of the template ``calibration.html``."""
    models = [("candidate", report.candidate), ("champion", report.champion)]
    return {
        "report": report,
        "models": [
            (name, found, _picture(name, found, "soft" if name == "champion" else "new"))
            for name, found in models
            if found is not None
        ],
    }


def _picture(name: str, found: ModelCalibration, tone: Tone) -> Picture:
    points = [
        ReliabilityPoint(
            predicted=one.mean_prediction,
            observed=one.rate.value,
            low=one.rate.low,
            high=one.rate.high,
            rows=one.rows,
            tone=tone,
        )
        for one in found.bins
    ]
    return plots.reliability(points, title=f"{name}: share of positives by predicted probability")
