"""Workers that run a DAG of one warm pod with one step, and die where they are told to; see ``worker.py``.

An order has ``group`` and ``step`` (arguments) instead of ``operator``. The first worker of a DAG runs all of it; each
later one makes the next try of whatever has not succeeded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import worker


def arrange(kill: str | None) -> None:
    from airflow_mlops.adapters.pods.kubernetes import PodClient
    from airflow_mlops.adapters.pods.steps import WarmSteps
    from airflow_mlops.container.attempt import AttemptFolder
    from airflow_mlops.training.warm import StepStream

    places: dict[str, tuple[Callable[[Any, str], None], Any, str]] = {
        "after the pod was made": (worker.after, PodClient, "create"),
        "after preparing": (worker.after, AttemptFolder, "prepare"),
        "in the middle": (worker.before, StepStream, "log"),
        "after the result was verified": (worker.after, WarmSteps, "conclude"),
    }
    if kill is not None:
        how, owner, name = places[kill]
        how(owner, name)


def work(given: dict[str, Any]) -> dict[str, Any]:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
    from airflow.models.dagrun import DagRun
    from airflow.sdk import DAG
    from airflow.sdk.definitions.dag import _run_task
    from airflow.settings import Session
    from sqlalchemy import select

    from airflow_mlops.operators.warm_pod import WarmPod

    messages: list[str] = []
    with (
        DAG(
            given["dag_id"],
            schedule=None,
            default_args={"on_failure_callback": lambda context: messages.append(str(context["exception"]))},
        ) as dag,
        WarmPod("warm", **given["group"]) as pod,
    ):
        pod.step("step", **given["step"])
    arrange(given["kill"])
    session = Session()
    earlier = session.scalars(select(DagRun).where(DagRun.dag_id == given["dag_id"])).first()
    if earlier is None:
        bag = DagBag(dag_folder=None, collect_dags=False)
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "tests", None)
        return {"states": {ti.task_id: ti.state for ti in dag.test().get_task_instances()}, "messages": messages}
    states = {}
    for task_id in ("warm.start_warm_pod", "warm.step", "warm.stop_warm_pod"):
        (ti,) = [one for one in earlier.get_task_instances(session=session) if one.task_id == task_id]
        if ti.state == "success":
            continue
        # What the scheduler does with a task whose worker it has not heard of for too long.
        if ti.state == "running":
            ti.prepare_db_for_next_try(session)
        ti.try_number += 1
        ti.state = "scheduled"
        session.merge(ti)
        session.commit()
        result = _run_task(ti=ti, task=dag.task_dict[task_id], run_triggerer=True)
        states[task_id] = result.state if result else "failed"
    return {"states": states, "messages": messages}


if __name__ == "__main__":
    worker.work = work
    worker.main()
