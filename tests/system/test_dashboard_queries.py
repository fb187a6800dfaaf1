"""The dashboard's queries, answered by a real Prometheus for both ways in which Airflow's metrics come to it."""

from __future__ import annotations

import itertools
import json
import re
import urllib.parse
import urllib.request
from pathlib import Path

import pytest

from airflow_mlops.hooks.metrics import METRICS
from tests.prometheus import exporter, prometheus_server

pytestmark = pytest.mark.system

DASHBOARD = Path(__file__).parents[2] / "helm/airflow-mlops/dashboards/mlops.json"
VALUES = {
    "decision": ("gate", "validation"),
    "verdict": ("pass", "fail"),
    "outcome": ("promoted", "rolled_back", "succeeded"),
    "cause": ("harm_error_rate",),
}


def exposition(way: str, number: int) -> str:
    """What is scraped: every metric with its tags, named as the exporter does."""
    lines = []
    for metric in METRICS:
        name = "airflow_" + metric.name.replace(".", "_")
        for values in itertools.product(*(VALUES.get(tag, ("flights",)) for tag in metric.tags)):
            labels = ",".join(f'{tag}="{value}"' for tag, value in zip(metric.tags, values, strict=True))
            if metric.kind == "timer":
                base = name if way == "statsd" else f"{name}_milliseconds"
                scale = 1 if way == "statsd" else 1000
                lines += [f"{base}_sum{{{labels}}} {number * 90 * scale}", f"{base}_count{{{labels}}} {number}"]
            else:
                ending = "_total" if metric.kind == "counter" and way == "opentelemetry" else ""
                lines.append(f"{name}{ending}{{{labels}}} {number}")
    return "\n".join(lines) + "\n"


def ask(url: str, query: str) -> list[dict]:
    plain = re.sub(r"\$__(range|rate_interval|interval)", "1m", query).replace("$model", ".*")
    with urllib.request.urlopen(f"{url}/api/v1/query?{urllib.parse.urlencode({'query': plain})}") as answer:
        return json.load(answer)["data"]["result"]


@pytest.mark.parametrize("way", ["statsd", "opentelemetry"])
def test_every_panel_shows_something(way, tmp_path):
    panels = json.loads(DASHBOARD.read_text())["panels"]
    with exporter() as told, prometheus_server(tmp_path, [told.address]) as url:
        told.show(exposition(way, 1))
        told.show(exposition(way, 3))
        found = {
            (panel["title"], target["expr"]): ask(url, target["expr"])
            for panel in panels
            for target in panel.get("targets", [])
        }
    assert [key for key, result in found.items() if not result] == []
    # Both ways tell the same: seconds, whatever the exporter counts in.
    (mean,) = {float(one["value"][1]) for (title, _), result in found.items() if "Mean time" in title for one in result}
    assert mean == pytest.approx(90)
