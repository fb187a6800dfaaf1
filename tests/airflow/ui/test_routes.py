"""Every route: who may ask, what others get, and that the documentation lists them all."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from airflow_mlops.evidence import Origin
from airflow_mlops.hooks.artifacts import ArtifactStore
from tests.airflow.ui.conftest import release

DOCS = Path(__file__).parents[3] / "docs" / "ui.md"
RUN = "a_run"
#: What stands for the names in a path.
VALUES = {"dag_id": "ct", "run_id": RUN, "task_id": "gate", "map_index": "-1", "name": "flights", "number": "1"}


def _routes() -> dict[str, Any]:
    from airflow_mlops.ui.app import create_app

    return {route.path: route for route in create_app().routes}


def _address(path: str) -> str:
    values = VALUES | ({"name": "mlops.css"} if path.startswith("/assets") else {})
    values |= {"name": "gate"} if path.startswith("/reports") else {}
    query = "?left=1&right=1" if path.endswith("/compare") else ""
    return "/mlops" + path.format(**values) + query


PATHS = [
    "/models",
    "/models/{name}",
    "/models/{name}/releases/{number}",
    "/models/{name}/compare",
    "/runs/{dag_id}/{run_id}",
    "/tasks/{dag_id}/{run_id}/{task_id}/{map_index}",
    "/live/{dag_id}/{run_id}/{task_id}/{map_index}",
    "/reports/{dag_id}/{run_id}",
    "/reports/{dag_id}/{run_id}/{task_id}/{map_index}/{name}",
    "/assets/{name}",
]


@pytest.fixture
def served(client, write):
    """A server with something at every address but that of the live figures."""
    write(*release())
    who = Origin(dag_id="ct", run_id=RUN, task_id="gate", try_number=1)
    parts = ("reports", who.dag_id, who.run_id, who.task_id, "-1", "gate.html")
    ArtifactStore.from_config().write_bytes(b"<p>a report</p>", *parts)
    return client


def test_these_are_all_routes(airflow_db):
    assert sorted(_routes()) == sorted(PATHS)


@pytest.mark.parametrize("path", PATHS)
def test_anonymous_callers_get_nothing(served, path):
    answer = served.get(_address(path), follow_redirects=False)
    assert answer.status_code == 401
    assert "flights" not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_users_without_a_role_get_nothing(served, headers_of, path):
    answer = served.get(_address(path), headers=headers_of(None), follow_redirects=False)
    assert answer.status_code == 403
    assert "flights" not in answer.text


@pytest.mark.parametrize("path", PATHS)
def test_viewers_get_an_answer_that_lets_the_browser_do_little(served, headers_of, path):
    answer = served.get(_address(path), headers=headers_of("VIEWER"))
    assert answer.status_code == (404 if path.startswith("/live") else 200)
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "base-uri 'none'" in policy
    assert "'unsafe-inline'" not in policy.replace("style-src 'unsafe-inline'; img-src data:", "")
    assert "unsafe-eval" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("path", [path for path in PATHS if "{dag_id}" in path])
def test_who_may_not_read_the_dag_gets_nothing(served, headers_of, only_dag, path):
    only_dag("another")
    answer = served.get(_address(path), headers=headers_of("VIEWER"), follow_redirects=False)
    assert answer.status_code == 403


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
def test_nothing_can_be_changed(served, headers, path, method):
    assert served.request(method, _address(path), headers=headers).status_code == 405


def test_the_login_of_a_browser_counts_too(served, headers):
    from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN

    token = headers["Authorization"].removeprefix("Bearer ")
    served.cookies.set(COOKIE_NAME_JWT_TOKEN, token)
    assert served.get("/mlops/models").status_code == 200


def test_the_documentation_lists_every_route():
    table = re.findall(r"^\| `(?:GET )?/mlops(/[^`?]*)[^`]*` \| ([^|]+) \| ([^|]+) \|", DOCS.read_text(), re.MULTILINE)
    assert sorted(path for path, _, _ in table) == sorted(PATHS)
    for path, permission, _ in table:
        assert ("logs of the DAG" in permission) == ("{dag_id}" in path), path
        assert "plugins" in permission
