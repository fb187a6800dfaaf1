"""Reports, asked for at Airflow's own API server."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import pytest

from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.links.base import report_url

RUN = "manual__2013-03-01T00:00:00+00:00"
POLICY = "default-src 'none'; style-src 'self'; script-src 'self'"


def _context(dag_id: str = "ct", task_id: str = "validate", map_index: int = -1):
    return {"ti": SimpleNamespace(dag_id=dag_id, run_id=RUN, task_id=task_id, map_index=map_index, try_number=1)}


@pytest.fixture
def report(artifact_root: Path) -> str:
    """Address of a report that exists."""
    context = _context()
    ArtifactStore.from_config().write_report(context, "validation", "<h1>All is well é</h1>")
    return report_url(origin(context), "validation")


def test_nobody_gets_nothing(client, report):
    assert client.get(report).status_code == 401
    assert client.get(report.rsplit("/", 3)[0]).status_code == 401
    assert client.get("/mlops/anything").status_code in (401, 404)


def test_a_user_without_a_role_is_refused(headers_of, client, report):
    assert client.get(report, headers=headers_of(None)).status_code == 403


@pytest.mark.parametrize("role", ["ADMIN", "VIEWER"])
def test_who_may_read_the_dag_reads_its_report(headers_of, client, report, role):
    answer = client.get(report, headers=headers_of(role))
    assert answer.status_code == 200
    assert answer.text == "<h1>All is well é</h1>"


def test_the_page_can_do_nothing(client, headers, report):
    answer = client.get(report, headers=headers)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:;")
    assert "; sandbox;" in policy
    assert "allow-" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-type"] == "text/html; charset=utf-8"


def test_a_missing_report_says_so_and_escapes(client, headers):
    answer = client.get("/mlops/reports/ct/run/%3Cscript%3E/-1/x", headers=headers)
    assert answer.status_code == 404
    assert "Task &lt;script&gt; of run run of ct has kept no report" in answer.text
    assert "<script>" not in answer.text
    assert answer.headers["content-security-policy"].startswith(POLICY)


@pytest.mark.parametrize(
    "path",
    [
        "ct/run/validate/-1/..%2F..%2F..%2Fsecret",
        "ct/run/validate/-1/%2E%2E%2F%2E%2E%2Fsecret",
        "..%2F..%2F..%2Fetc/run/validate/-1/passwd",
        "%2e%2e/%2e%2e/%2e%2e/-1/secret",
        "ct/run/validate/-1/..",
        "ct/run/validate/..%2f..%2f..%2f/secret",
        "ct/run/validate/-1/secret%00",
        "ct/run/validate/-1/" + "a" * 300,
    ],
)
def test_nothing_outside_is_served(client, headers, artifact_root, path):
    (artifact_root.parent / "secret.html").write_text("secret")
    (artifact_root / "secret.html").write_text("secret")
    answer = client.get(f"/mlops/reports/{path}", headers=headers)
    assert answer.status_code in (404, 422)
    assert answer.text != "secret"


def test_the_address_of_a_runs_reports_leads_to_its_page(client, headers, report):
    store = ArtifactStore.from_config()
    store.write_report(_context(task_id="check <b>", map_index=2), "drift & more", "mapped")
    answer = client.get(f"/mlops/reports/ct/{quote(RUN, safe='')}", headers=headers)
    assert [one.status_code for one in answer.history] == [308]
    links = [link for link in re.findall(r'href="([^"]+)"', answer.text) if "/reports/" in link]
    assert [client.get(link, headers=headers).text for link in links] == ["mapped", "<h1>All is well é</h1>"]
    assert "check &lt;b&gt; [2]" in answer.text
    assert "<b>]" not in answer.text
    assert answer.headers["content-security-policy"].startswith(POLICY)


def test_an_unset_root_is_explained(client, headers, report, monkeypatch):
    monkeypatch.delenv("AIRFLOW__MLOPS__ARTIFACT_ROOT")
    answer = client.get(report, headers=headers)
    assert answer.status_code == 503
    assert "AIRFLOW__MLOPS__ARTIFACT_ROOT" in answer.text


def test_the_views_are_accepted_by_the_api(client, headers):
    answer = client.get("/api/v2/plugins", headers=headers)
    (plugin,) = [one for one in answer.json()["plugins"] if one["name"] == "mlops"]
    assert [(one["name"], one["destination"]) for one in plugin["external_views"]] == [
        ("Models", "nav"),
        ("Release", "dag_run"),
        ("Evidence", "task_instance"),
    ]
    assert len({one["url_route"] for one in plugin["external_views"]}) == 3
    assert plugin["fastapi_apps"][0]["url_prefix"] == "/mlops"


def test_loading_the_plugin_loads_no_web_framework():
    code = (
        "import sys\nimport airflow.sdk.plugins_manager\nbefore = set(sys.modules)\n"
        "import airflow_mlops.ui.plugin\nairflow_mlops.ui.plugin.MLOpsPlugin()\n"
        "print(sorted({name.split('.')[0] for name in set(sys.modules) - before}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['airflow_mlops']"
