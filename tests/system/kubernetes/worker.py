"""Workers, each a process of its own, that run one try of a training and die where they are told to.

Reads one JSON object a line: ``dag_id``, ``operator`` (its arguments, and its ``class`` where it does not train),
``kill`` (where to die, or null), ``result`` and ``log`` (files to write), ``environment``. The first worker of a DAG
makes its run; each later one is the next try of the same task. Prints the exit code of each.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def before(owner: Any, name: str) -> None:
    setattr(owner, name, die)


def after(owner: Any, name: str) -> None:
    call: Callable[..., Any] = getattr(owner, name)

    @functools.wraps(call)
    def called(*arguments: Any, **options: Any) -> None:
        call(*arguments, **options)
        die()

    setattr(owner, name, called)


def arrange(kill: str | None) -> None:
    from airflow_mlops.adapters.pods.attempts import TrainingPods
    from airflow_mlops.adapters.pods.custom_objects import CustomObjectClient
    from airflow_mlops.adapters.pods.jobs import AttemptJob, JobClient
    from airflow_mlops.adapters.pods.kubernetes import PodClient
    from airflow_mlops.container.attempt import AttemptFolder
    from airflow_mlops.operators.custom_training import CustomTrainingOperator
    from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator as Operator
    from airflow_mlops.operators.pod_ranks import ParallelRun

    places: dict[str, tuple[Callable[[Any, str], None], Any, str]] = {
        "before looking": (before, TrainingPods, "look"),
        "before preparing": (before, AttemptFolder, "prepare"),
        "after preparing": (after, AttemptFolder, "prepare"),
        "before submitting": (before, PodClient, "create"),
        "after submitting": (after, PodClient, "create"),
        "before deferring": (before, Operator, "invoke_defer_method"),
        "when the pod runs": (before, Operator, "await_pod_completion"),
        "when the pod has ended": (before, Operator, "cleanup"),
        "after the pod was removed": (after, Operator, "cleanup"),
        "after the result was verified": (after, Operator, "_conclude"),
        "back from the trigger": (before, Operator, "trigger_reentry"),
        "after the job was made": (after, JobClient, "create_job"),
        "when all pods have ended": (before, ParallelRun, "_judge"),
        "after the job was removed": (after, AttemptJob, "remove"),
        "before the resource is made": (before, CustomObjectClient, "create"),
        "after the resource was made": (after, CustomObjectClient, "create"),
        "after the resource was removed": (after, CustomObjectClient, "delete"),
        "woken by the resource": (before, CustomTrainingOperator, "resume"),
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

    from airflow_mlops import operators

    arguments = dict(given["operator"])
    operator = getattr(operators, arguments.pop("class", "TrainOnKubernetesOperator"))
    messages: list[str] = []
    with DAG(given["dag_id"], schedule=None) as dag:
        operator(**arguments, on_failure_callback=lambda context: messages.append(str(context["exception"])))
    arrange(given["kill"])
    session = Session()
    earlier = session.scalars(select(DagRun).where(DagRun.dag_id == given["dag_id"])).first()
    if earlier is None:
        bag = DagBag(dag_folder=None, collect_dags=False)
        bag.bag_dag(dag)
        sync_bag_to_db(bag, "tests", None)
        (ti,) = dag.test().get_task_instances()
        return {"state": ti.state, "messages": messages}
    # What the scheduler does with a task whose worker it has not heard of for too long.
    (ti,) = earlier.get_task_instances(session=session)
    ti.prepare_db_for_next_try(session)
    ti.try_number += 1
    ti.state = "scheduled"
    session.merge(ti)
    session.commit()
    result = _run_task(ti=ti, task=dag.task_dict["train"], run_triggerer=True)
    return {"state": result.state if result else "failed", "messages": messages}


def main() -> None:
    import airflow.api_fastapi.execution_api.app
    import airflow.sdk.definitions.dag
    import airflow.sdk.execution_time.supervisor  # noqa: F401 - all of it loaded once, not once for each worker

    import airflow_mlops.operators.kubernetes  # noqa: F401

    for line in sys.stdin:
        given = json.loads(line)
        process = os.fork()
        if process == 0:
            log = os.open(given["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.environ |= given["environment"]
            code = 1
            try:
                Path(given["result"]).write_text(json.dumps(work(given)))
                code = 0
            except BaseException:  # noqa: BLE001 - whatever it was, it is in the log, and the exit code says so
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)


if __name__ == "__main__":
    main()
