"""The web application: HTML reports, to those who may read the DAG's logs, in a page that can do nothing."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Annotated

from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity
from airflow.api_fastapi.core_api.security import requires_access_dag, requires_access_view
from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import HTMLResponse

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.ui.pages import list_page, missing_page

if TYPE_CHECKING:
    from airflow_mlops.hooks.artifacts import ArtifactStore

__all__ = ["create_app"]

log = logging.getLogger(__name__)

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
#: A report holds values of data that somebody else delivered: no scripts, no requests, no origin.
_REPORT = _COMMON | {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; "
    "frame-ancestors 'self'"
}
_PAGE = _COMMON | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'self'"}
_Name = Annotated[str, Path(min_length=1, max_length=250)]


def create_app() -> FastAPI:
    """Build the application that the plugin mounts at ``/mlops``; mounted applications inherit no authentication."""
    app = FastAPI(
        title="MLOps reports",
        dependencies=[Depends(requires_access_view(AccessView.PLUGINS))],
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
    )
    may_read = [Depends(requires_access_dag("GET", DagAccessEntity.TASK_LOGS))]
    app.get("/reports/{dag_id}/{run_id}", dependencies=may_read)(_list)
    app.get("/reports/{dag_id}/{run_id}/{task_id}/{map_index}/{name}", dependencies=may_read)(_report)
    return app


def _report(dag_id: _Name, run_id: _Name, task_id: _Name, map_index: int, name: _Name) -> HTMLResponse:
    from airflow_mlops.hooks.artifacts import report_parts

    store = _store()
    if isinstance(store, HTMLResponse):
        return store
    try:
        content = store.read_bytes(*report_parts(dag_id, run_id, task_id, map_index, name))
    except ContractError:
        message = f"Task {task_id} of run {run_id} of {dag_id} has kept no report {name!r}."
        return HTMLResponse(missing_page("No such report", message), 404, _PAGE)
    return HTMLResponse(content, headers=_REPORT)


def _list(request: Request, dag_id: _Name, run_id: _Name) -> HTMLResponse:
    store = _store()
    if isinstance(store, HTMLResponse):
        return store
    prefix = str(request.scope.get("root_path", "")).rstrip("/") + "/reports/"
    return HTMLResponse(list_page(dag_id, run_id, store.reports(dag_id, run_id), prefix), headers=_PAGE)


def _store() -> ArtifactStore | HTMLResponse:
    from airflow_mlops.hooks.artifacts import ArtifactStore

    try:
        return ArtifactStore.from_config()
    except SpecificationError as error:
        log.exception("Reports cannot be served")
        return HTMLResponse(missing_page("Reports are not configured", str(error)), 503, _PAGE)
