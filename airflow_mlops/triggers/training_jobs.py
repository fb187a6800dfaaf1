"""Waiting for a training in several pods without a worker."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.codec import decode
from airflow_mlops.training.indexed import JobReport, Patience, read_job, stuck
from airflow_mlops.triggers.events import to_payload

if TYPE_CHECKING:
    from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

__all__ = ["FollowedJob", "TrainingJobEvent", "TrainingJobTrigger"]

_TIMEOUT_SECONDS = 30.0
#: Looks that fail one after the other before the task has to deal with it.
_MOST_FAILURES = 10


@dataclass(frozen=True, kw_only=True)
class FollowedJob:
    """What is waited for; the task that wakes finds its way by it.

    :param namespace: where the Job is
    :param name: its name
    :param labels: of its pods
    :param container: name of the container that trains
    :param parallelism: how many pods it has
    :param patience: how long they may take to begin
    :param attempt: which attempt of the training it is
    :param folder: the training's folder in the store
    :param run_id: of the MLflow run, None where nothing is tracked
    :param log_offset: how much of rank 0's log was shown, in bytes
    :param deadline: seconds since the epoch at which the task's time is over; None for no limit
    """

    namespace: str
    name: str
    labels: dict[str, str]
    container: str
    parallelism: int
    patience: Patience
    attempt: str
    folder: str
    run_id: str | None = None
    log_offset: int = 0
    deadline: float | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingJobEvent:
    """A reason for the task to look for itself; never evidence.

    :param kind: ``ended`` when no pod lives, ``stuck`` when one does not begin, ``late`` when the task's time is over,
        ``log`` when it is time to show the log, ``unknown`` when the cluster does not answer
    :param message: one sentence for the log
    :param job: which Job this is about
    """

    kind: Literal["ended", "stuck", "late", "log", "unknown"]
    message: str
    job: FollowedJob


class TrainingJobTrigger(BaseTrigger):
    """Fires when a Job has ended or does not begin.

    :param job: an encoded :class:`FollowedJob`
    :param cluster: arguments of Airflow's ``AsyncKubernetesHook``
    :param poll_seconds: time between two looks
    :param logging_seconds: after how long the task shows the log; None for at the end
    :param keep_on_kill: whether the Job stays when a person ends the task
    """

    def __init__(
        self,
        *,
        job: dict[str, Any],
        cluster: dict[str, Any],
        poll_seconds: float = 2.0,
        logging_seconds: float | None = None,
        keep_on_kill: bool = False,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.job = job
        self.cluster = cluster
        self.poll_seconds = poll_seconds
        self.logging_seconds = logging_seconds
        self.keep_on_kill = keep_on_kill

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.training_jobs.TrainingJobTrigger",
            {
                "job": self.job,
                "cluster": self.cluster,
                "poll_seconds": self.poll_seconds,
                "logging_seconds": self.logging_seconds,
                "keep_on_kill": self.keep_on_kill,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until the task has to act."""
        job, hook = decode(FollowedJob, self.job), self._hook()
        show_at = None if self.logging_seconds is None else time.time() + self.logging_seconds
        failures = 0
        while True:
            try:
                report = await self._look(hook, job)
                failures = 0
            except Exception as error:  # noqa: BLE001 - the client has many kinds of errors; whichever it was may pass
                failures += 1
                self.log.warning("job %s/%s cannot be seen: %s", job.namespace, job.name, error)
                event = _unseen(failures, error, job)
            else:
                event = _decide(report, job, time.time(), show_at)
            if event is not None:
                break
            await asyncio.sleep(self.poll_seconds)
        yield TriggerEvent(to_payload(event))

    async def on_kill(self) -> None:
        """Remove the Job when a person ended or cleared the waiting task; its pods and Service go with it."""
        if self.keep_on_kill:
            return
        from kubernetes_asyncio import client

        job = decode(FollowedJob, self.job)
        self.log.info("Removing job %s/%s", job.namespace, job.name)
        try:
            async with self._hook().get_conn() as connection:
                await client.BatchV1Api(connection).delete_namespaced_job(
                    job.name, job.namespace, propagation_policy="Background", _request_timeout=_TIMEOUT_SECONDS
                )
        except Exception:
            self.log.exception("job %s/%s could not be removed", job.namespace, job.name)

    def _hook(self) -> AsyncKubernetesHook:
        from airflow.providers.cncf.kubernetes.hooks.kubernetes import AsyncKubernetesHook

        return AsyncKubernetesHook(**self.cluster)

    async def _look(self, hook: AsyncKubernetesHook, job: FollowedJob) -> JobReport:
        from kubernetes_asyncio import client

        selector = ",".join(f"{name}={value}" for name, value in job.labels.items())
        options: dict[str, Any] = {"_preload_content": False, "_request_timeout": _TIMEOUT_SECONDS}
        async with hook.get_conn() as connection:
            pods: Any = await client.CoreV1Api(connection).list_namespaced_pod(
                job.namespace, label_selector=selector, **options
            )
            found: Any = await client.BatchV1Api(connection).list_namespaced_job(
                job.namespace, field_selector=f"metadata.name={job.name}", **options
            )
            listed = [json.loads(await answer.text())["items"] for answer in (pods, found)]
        return read_job(next(iter(listed[1]), None), listed[0], container=job.container)


def _unseen(failures: int, error: Exception, job: FollowedJob) -> TrainingJobEvent | None:
    if failures < _MOST_FAILURES:
        return None
    message = f"the cluster did not answer {failures} times: {error}"
    return TrainingJobEvent(kind="unknown", message=message, job=job)


def _decide(report: JobReport, job: FollowedJob, now: float, show_at: float | None) -> TrainingJobEvent | None:
    """Say whether the task has to act; None to go on waiting."""
    if not report.phase.is_live:
        return TrainingJobEvent(kind="ended", message=f"job {job.name}: {report.phase.value}", job=job)
    if job.deadline is not None and now >= job.deadline:
        message = f"job {job.name} took longer than the task's execution_timeout"
        return TrainingJobEvent(kind="late", message=message, job=job)
    found = stuck(report, job.parallelism, job.patience, now)
    if found is not None:
        return TrainingJobEvent(kind="stuck", message=f"job {job.name}: {found[1].message}", job=job)
    if show_at is not None and now >= show_at:
        return TrainingJobEvent(kind="log", message=f"job {job.name}: {report.phase.value}", job=job)
    return None
