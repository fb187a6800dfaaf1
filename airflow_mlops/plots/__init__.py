"""Pictures for reports: inline SVG, escaped, no script, in the colours of the page around them (light and dark).

Widths are shares of the room there is and letters keep their size, so that a picture can be read on a telephone, too.
"""

from __future__ import annotations

from airflow_mlops.plots.bars import Bar, bars
from airflow_mlops.plots.confusion import confusion
from airflow_mlops.plots.curves import Curve, curves, histogram
from airflow_mlops.plots.forest import ForestRow, forest
from airflow_mlops.plots.reliability import ReliabilityPoint, reliability
from airflow_mlops.plots.svg import Picture, Tone
from airflow_mlops.plots.weights import weight_bar, weights_over_time

__all__ = [
    "Bar",
    "Curve",
    "ForestRow",
    "Picture",
    "ReliabilityPoint",
    "Tone",
    "bars",
    "confusion",
    "curves",
    "forest",
    "histogram",
    "reliability",
    "weight_bar",
    "weights_over_time",
]
