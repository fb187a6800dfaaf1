"""Several short steps in one pod."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from airflow.sdk import TaskGroup

from airflow_mlops.operators.warm_step import RunInWarmPodOperator, StopWarmPodOperator

__all__ = ["WarmPod"]


class WarmPod(TaskGroup):
    """A task group whose setup starts one pod, whose steps run in it, and whose teardown removes it.

    For steps of seconds, of which each would otherwise wait for a pod of its own. Everything else is as with a pod for
    each: a request and a verified result for every step, live logs, failures that say what happened, and no step that
    runs twice at a time.

    .. code-block:: python

        with WarmPod("features", image="trainer:1", artifacts=STORE, pod_resources={"memory": "1Gi"}) as pod:
            clean = pod.step("clean", entrypoint="clean.py", datasets={"raw": snapshot.output})
            encode = pod.step("encode", entrypoint="encode.py", parameters={"of": clean.output["job_uri"]})
            list_files = pod.step("list_files", command=["ls", "-l"])
            clean >> encode >> list_files
        pod >> train

    The pod is removed when the last step has ended, also when one failed, and by the cluster after
    ``active_deadline_seconds`` at the latest. Clearing a step clears the setup and the teardown with it: it runs in a
    new pod. Steps that hand files on in the pod's own file system must then be cleared together.

    Tasks that are no steps may stand in the group, too. Steps run at the same time if nothing orders them, and share
    the pod's resources. Airflow wants the trigger rule ``all_success`` of whatever comes right after a setup, and so of
    every step.

    :param group_id: name of the group
    :param kubernetes_conn_id: connection to the cluster
    :param in_cluster: whether the worker's own service account is used
    :param config_file: path of a kubeconfig
    :param cluster_context: which context of it
    :param default_args: arguments of all tasks of the group, the pod's own included
    :param tooltip: for people
    :param start: arguments of :class:`~airflow_mlops.operators.pod_start.StartWarmPodOperator`
    """

    def __init__(
        self,
        group_id: str,
        *,
        kubernetes_conn_id: str | None = "kubernetes_default",
        in_cluster: bool | None = None,
        config_file: str | None = None,
        cluster_context: str | None = None,
        default_args: Mapping[str, Any] | None = None,
        tooltip: str = "",
        **start: Any,
    ) -> None:
        super().__init__(
            group_id=group_id,
            default_args=dict(default_args or {}),  # type: ignore[arg-type]
            tooltip=tooltip,
        )
        self._cluster: dict[str, Any] = {
            "kubernetes_conn_id": kubernetes_conn_id,
            "in_cluster": in_cluster,
            "config_file": config_file,
            "cluster_context": cluster_context,
        }
        self._start = start
        self._given: dict[str, Any] = {}
        self._ends: tuple[Any, Any] | None = None

    def __enter__(self) -> Self:
        """Open the group with its setup and its teardown."""
        from airflow_mlops.operators.pod_start import StartWarmPodOperator

        super().__enter__()
        start = StartWarmPodOperator(task_id="start_warm_pod", **self._cluster, **self._start)
        start.as_setup()  # type: ignore[no-untyped-call]
        self._given = {"pod": start.output, **self._cluster}
        stop = StopWarmPodOperator(task_id="stop_warm_pod", **self._given).as_teardown(setups=start)
        self._ends = start, stop
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Put every task that was defined inside between setup and teardown."""
        if self._ends is not None:
            start, stop = self._ends
            inside = {task.task_id: task for task in self if task not in self._ends}
            for task in inside.values():
                if not inside.keys() & task.upstream_task_ids:
                    start >> task
                if not inside.keys() & task.downstream_task_ids:
                    task >> stop
        super().__exit__(kind, error, traceback)  # type: ignore[no-untyped-call]

    @property
    def step_arguments(self) -> Mapping[str, Any]:
        """What every step needs, for ``RunInWarmPodOperator.partial(task_id=…, **pod.step_arguments).expand(…)``."""
        return dict(self._given)

    def step(self, task_id: str, **arguments: Any) -> RunInWarmPodOperator:
        """Define a step.

        :param task_id: name of the task within the group
        :param arguments: those of :class:`~airflow_mlops.operators.warm_step.RunInWarmPodOperator`
        """
        return RunInWarmPodOperator(task_id=task_id, **self._given, **arguments)
