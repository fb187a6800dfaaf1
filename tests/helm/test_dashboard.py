"""The dashboard for Grafana: what the chart makes of it, and that it asks only for what is told."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.helm.engine import CHART, Helm
from tests.helm.values import everything

DOCS = Path(__file__).parents[2] / "docs/metrics.md"
FILE = CHART / "dashboards/mlops.json"
# What exporters add to a name: OpenTelemetry's to counters, and both to timers.
_ADDED = re.compile(r"(\(_total\)\?|(_milliseconds)?_(sum|count))$")
_VARIABLES = {"$model": "flights", "$__range": "1d", "$__rate_interval": "5m", "$__interval": "1h"}


def documented() -> dict[str, str]:
    """Kind by the name that Prometheus gives it."""
    rows = re.findall(r"^\| `(mlops\.[a-z_.]+)` \| (\w+) \|", DOCS.read_text(), flags=re.MULTILINE)
    assert rows
    return {"airflow_" + name.replace(".", "_"): kind for name, kind in rows}


def queries() -> list[tuple[str, str]]:
    found = json.loads(FILE.read_text())["panels"]
    return [(panel["title"], target["expr"]) for panel in found for target in panel.get("targets", [])]


def plain(query: str) -> str:
    for name in sorted(_VARIABLES, key=len, reverse=True):
        query = query.replace(name, _VARIABLES[name])
    return query


def dashboards(helm: Helm, values) -> list[dict]:
    return [one for one in helm.documents(values) if "airflow-mlops.json" in one.get("data", {})]


def test_it_is_off_by_default(helm):
    assert dashboards(helm, None) == []


def test_the_sidecar_finds_it_and_templates_leave_it_alone(helm):
    (found,) = dashboards(helm, everything())
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    assert found["metadata"]["annotations"] == {"grafana_folder": "Models"}
    assert json.loads(found["data"]["airflow-mlops.json"]) == json.loads(FILE.read_text())


@pytest.mark.parametrize(("title", "query"), queries())
def test_every_query_asks_for_what_is_documented(title, query):
    names = re.findall(r"\bairflow_[a-z_]+(?:\(_total\)\?)?", query)
    assert names, title
    kinds = documented()
    for name in names:
        base = _ADDED.sub("", name)
        assert base in kinds, f"{title}: {name}"
        assert (kinds[base] == "counter") == name.endswith("(_total)?"), f"{title}: {name} is a {kinds[base]}"
        assert (kinds[base] == "timer") == name.endswith(("_sum", "_count")), f"{title}: {name} is a {kinds[base]}"


def test_everything_that_is_told_is_shown():
    shown = " ".join(query for _, query in queries())
    assert [name for name in documented() if name not in shown] == []


def test_panels_neither_overlap_nor_share_an_id():
    panels = json.loads(FILE.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for at in (panel["gridPos"] for panel in panels)
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) == 23


def test_prometheus_understands_every_query(tmp_path):
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; it comes with Debian's package prometheus")
    rules = [{"record": f"panel:{number}", "expr": plain(query)} for number, (_, query) in enumerate(queries())]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{len(rules)} rules found" in done.stdout
