"""Who may see a decision: whoever may read the logs of the DAG that took it, by Airflow's own rule."""

from __future__ import annotations

from collections.abc import Callable

from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity
from airflow.api_fastapi.core_api.security import GetUserDep, requires_access_dag
from fastapi import HTTPException, Request

__all__ = ["MayRead", "dag_reader", "requires_dag"]

#: Whether decisions of a DAG, named by its id, may be shown.
MayRead = Callable[[str], bool]

#: For a page that speaks of one DAG: ``dag_id`` of its address.
requires_dag = requires_access_dag("GET", DagAccessEntity.TASK_LOGS)


def dag_reader(request: Request, user: GetUserDep) -> MayRead:
    """Return what says whether this user may read a DAG; each DAG is asked about once per request."""
    known: dict[str, bool] = {}

    def may_read(dag_id: str) -> bool:
        if dag_id not in known:
            known[dag_id] = _is_one(dag_id) and _allowed(dag_id, request, user)
        return known[dag_id]

    return may_read


def _is_one(dag_id: str) -> bool:
    """Whether this names one DAG; to Airflow an empty id and a tilde mean all of them."""
    return bool(dag_id) and dag_id != "~"


def _allowed(dag_id: str, request: Request, user: GetUserDep) -> bool:
    try:
        requires_access_dag("GET", DagAccessEntity.TASK_LOGS, param_dag_id=dag_id)(request, user)
    except HTTPException:
        return False
    return True
