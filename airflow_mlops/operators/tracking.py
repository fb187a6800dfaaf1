"""The MLflow run of a training that runs elsewhere."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

from airflow.sdk import Context

from airflow_mlops.exceptions import AdapterError, SpecificationError
from airflow_mlops.hooks.artifacts import origin
from airflow_mlops.links.base import push_link
from airflow_mlops.links.mlflow import MLflowRunLink

if TYPE_CHECKING:
    from airflow_mlops.training.contract import Tracking

__all__ = ["begin_run", "end_run"]

log = logging.getLogger(__name__)


def begin_run(context: Context, conn_id: str | None, model_name: str, *, own_network: bool = False) -> Tracking | None:
    """Open the task's run, or find the one that an earlier try opened, and link it; None where nothing is tracked.

    :param conn_id: connection of type ``mlflow``, None for no tracking
    :param own_network: whether the job runs where this machine's loopback addresses mean something else
    :raises SpecificationError: if the job could not reach the server
    """
    if not conn_id:
        return None
    from airflow_mlops.hooks.mlflow import MLflowHook
    from airflow_mlops.training.contract import Tracking, is_loopback

    hook, who = MLflowHook(conn_id), origin(context)
    if own_network and is_loopback(hook.tracking_uri):
        raise SpecificationError(
            f"host of the connection {conn_id!r}",
            hook.tracking_uri,
            "an address that means the same in a pod (this one would be the pod itself), or hostnetwork=True",
        )
    run_id = hook.start_run(model_name, who, name=f"{who.task_id} {who.run_id}")
    push_link(context, MLflowRunLink(), hook.run_url(run_id))
    return Tracking(uri=hook.tracking_uri, run_id=run_id)


def end_run(conn_id: str | None, run_id: str | None, status: Literal["FINISHED", "FAILED"]) -> None:
    """Close the run, if there is one.

    :raises AdapterError: if it cannot be closed after a success; a failure has something else to say
    """
    if not conn_id or not run_id:
        return
    from airflow_mlops.hooks.mlflow import MLflowHook

    try:
        MLflowHook(conn_id).finish_run(run_id, status)
    except AdapterError as error:
        if status == "FINISHED":
            raise
        log.warning("The MLflow run %s stays open: %s", run_id, error)
