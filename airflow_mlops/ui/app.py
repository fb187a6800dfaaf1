"""The web application: pages about models, runs and tasks, to those who may read the DAGs that they speak of."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView
from airflow.api_fastapi.core_api.security import requires_access_view
from fastapi import Depends, FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException as StarletteHTTPException

from airflow_mlops.exceptions import MLOpsError, SpecificationError
from airflow_mlops.ui.access import requires_dag
from airflow_mlops.ui.answers import json_answer, page_answer
from airflow_mlops.ui.assets import asset
from airflow_mlops.ui.frame import page_of
from airflow_mlops.ui.models import compare_page, model_page, models_page, release_page
from airflow_mlops.ui.reports import report, report_list
from airflow_mlops.ui.runs import live_figures, run_page, task_page
from airflow_mlops.ui.view import render

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["create_app"]

log = logging.getLogger(__name__)

_TITLES = {
    401: ("You are not logged in", "Log in to Airflow, then load this page again."),
    403: ("You may not see this", "It speaks of a DAG whose logs you may not read, or plugins are not for you."),
    409: ("This model's evidence does not verify", ""),
    405: ("That cannot be done here", "These pages only show; nothing can be changed here."),
    422: ("There is no such page", "The address holds something that is no name or no number."),
}
_TASK = "{dag_id}/{run_id}/{task_id}/{map_index}"


def create_app() -> FastAPI:
    """Build the application that the plugin mounts at ``/mlops``; mounted applications inherit no authentication."""
    app = FastAPI(
        title="MLOps",
        dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    of_dag = [Depends(requires_dag)]
    # What speaks of a model asks for each of its decisions whether the DAG that took it may be read.
    for path, page in _OF_MODELS.items():
        app.get(path)(page)
    for path, page in _OF_DAGS.items():
        app.get(path, dependencies=of_dag)(page)
    app.get("/assets/{name}")(asset)
    app.add_exception_handler(StarletteHTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    for failure in (MLOpsError, OSError):
        app.add_exception_handler(failure, _unreadable)
    return app


_OF_MODELS: dict[str, Callable[..., Response]] = {
    "/models": models_page,
    "/models/{name}": model_page,
    "/models/{name}/releases/{number}": release_page,
    "/models/{name}/compare": compare_page,
}
_OF_DAGS: dict[str, Callable[..., Response]] = {
    "/runs/{dag_id}/{run_id}": run_page,
    f"/tasks/{_TASK}": task_page,
    f"/live/{_TASK}": live_figures,
    "/reports/{dag_id}/{run_id}": report_list,
    f"/reports/{_TASK}/{{name}}": report,
}


def _refused(request: Request, error: Exception) -> Response:
    """Say in a page, or in JSON to the script, why there is no other answer."""
    status = error.status_code if isinstance(error, StarletteHTTPException) else 422
    said = error.detail if status in (404, 409) and isinstance(error, HTTPException) else ""
    title, message = _TITLES.get(status, ("There is no such page", "Nothing is at this address."))
    return _say(request, title, said or message, status)


def _unreadable(request: Request, error: Exception) -> Response:
    log.error("A page cannot be shown: %s: %s", type(error).__name__, error)
    if isinstance(error, SpecificationError):
        return _say(request, "Reports are not configured", str(error), 503)
    return _say(request, "What is kept cannot be read", "The log of the API server says why. Try again later.", 503)


def _say(request: Request, title: str, message: str, status: int) -> Response:
    if "/mlops/live/" in str(request.scope.get("path", "")):
        return json_answer({"error": message}, status)
    html = render("error.html", title=title, message=message, page=page_of(request, "models"))
    answer: HTMLResponse = page_answer(html, status)
    return answer
