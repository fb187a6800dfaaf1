"""HTML reports, to those who may read the DAG's logs, in a page that can do nothing."""

from __future__ import annotations

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, Response

from airflow_mlops.exceptions import ContractError
from airflow_mlops.ui.answers import moved_answer, report_answer
from airflow_mlops.ui.frame import Name, address, root_of
from airflow_mlops.ui.sources import artifact_store

__all__ = ["report", "report_list"]


def report(dag_id: Name, run_id: Name, task_id: Name, map_index: int, name: Name) -> HTMLResponse:
    """Show one report."""
    from airflow_mlops.hooks.artifacts import report_parts

    try:
        content = artifact_store().read_bytes(*report_parts(dag_id, run_id, task_id, map_index, name))
    except ContractError:
        message = f"Task {task_id} of run {run_id} of {dag_id} has kept no report {name!r}."
        raise HTTPException(404, message) from None
    return report_answer(content)


def report_list(request: Request, dag_id: Name, run_id: Name) -> Response:
    """Lead to the run's page, which lists its reports."""
    return moved_answer(address(root_of(request), "runs", dag_id, run_id))
