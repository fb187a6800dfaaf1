"""One training in several pods, from the request to the verified result, over restarts of the worker."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.providers.cncf.kubernetes.utils.pod_manager import OnFinishAction, OnKillAction
from airflow.sdk import BaseHook, Context
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException

from airflow_mlops.adapters.pods.jobs import AttemptJob, JobClient, TrainingJobs, service_name
from airflow_mlops.adapters.pods.ranks import examine_ranks, explain_ranks, of_trouble
from airflow_mlops.codec import encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.container.ranks import RankFolder, rank_command
from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.operators.pod_training import PodTraining, attempt_name
from airflow_mlops.operators.tracking import end_run
from airflow_mlops.training.attempts import Action, Output, enter
from airflow_mlops.training.indexed import JobReport, Patience, gives_ranks, indexed_job, stuck
from airflow_mlops.training.pods import pod_name
from airflow_mlops.triggers.events import from_payload
from airflow_mlops.triggers.training_jobs import FollowedJob, TrainingJobEvent, TrainingJobTrigger

if TYPE_CHECKING:
    from airflow_mlops.operators.kubernetes import TrainOnKubernetesOperator

__all__ = ["ParallelRun"]

_DEFER_MARGIN_SECONDS = 120


class ParallelRun:
    """The Job of one task instance, over restarts of the worker.

    :param asked: the operator, with its rendered fields
    """

    def __init__(self, asked: TrainOnKubernetesOperator) -> None:
        self._asked = asked
        self._log = asked.log
        self._job: AttemptJob | None = None
        self._shown = ""

    def begin(self, context: Context, training: PodTraining, run_id: str | None) -> dict[str, Any]:
        """Start or follow the Job, or find that all is done; in deferrable mode, go to sleep meanwhile."""
        attempt = attempt_name(context)
        world = self._world(context, training)
        self._job = world.job(attempt)
        decision = enter(world, attempt)
        self._log.info("%s", decision.reason)
        job = self._job = world.job(decision.attempt)
        followed = self._followed(context, job, decision.attempt, training.folder, run_id)
        if decision.action is not Action.FOLLOW:
            if decision.action is Action.FINISH and self._asked.on_finish_action is not OnFinishAction.KEEP_POD:
                world.tidy()
            return self._judge(job, followed, job.report())
        found = job.introduce()
        if found is not None and not gives_ranks(found):
            self._log.info("This cluster gives pods no ranks (Kubernetes before 1.22); they take them in the store.")
        self._log.info("Following job %s/%s with %d pods", job.jobs.namespace, job.name, self._asked.parallelism)
        if self._asked.deferrable:
            self._sleep(followed)
        return self._follow(job, followed)

    def resume(self, event: dict[str, Any]) -> dict[str, Any]:
        """Come back from the trigger; its event is a reason to look, never evidence."""
        reason = from_payload(TrainingJobEvent, event)
        followed = reason.job
        found = self._job = AttemptJob(
            jobs=self._client(followed.namespace),
            name=followed.name,
            labels=followed.labels,
            container=followed.container,
            world_size=followed.parallelism,
        )
        self._log.info("%s", reason.message)
        report = found.report()
        followed = self._show(followed, report)
        if not report.phase.is_live:
            return self._judge(found, followed, report)
        if reason.kind == "late":
            raise self._given_up(found, followed, TransientAdapterError(reason.message))
        self._check_start(found, followed, report)
        self._sleep(followed)
        raise AssertionError  # sleeping does not return

    def stop(self) -> None:
        """Remove the Job with its pods and its Service, if there is one."""
        if self._job is not None and self._asked.on_kill_action is not OnKillAction.KEEP_POD:
            self._job.remove()
            self._log.info("Removed job %s/%s", self._job.jobs.namespace, self._job.name)

    def _world(self, context: Context, training: PodTraining) -> TrainingJobs:
        attempt = attempt_name(context)
        pod = self._asked.build_pod_request_obj(context)
        document = self._asked.client.api_client.sanitize_for_serialization(pod)
        directory = str(training.folder.directory(attempt).path)
        return TrainingJobs(
            jobs=self._client(pod.metadata.namespace),
            folder=training.folder,
            labels=training.labels,
            container=self._asked.base_container_name,
            world_size=self._asked.parallelism,
            request=training.request_of,
            name_of=lambda name: pod_name(self._asked.task_id, str(training.folder.path), name),
            build=lambda: indexed_job(
                document,
                parallelism=self._asked.parallelism,
                container=self._asked.base_container_name,
                command=rank_command(self._asked.python, directory, training.entrypoint),
                service=service_name(document["metadata"]["name"]),
            ),
        )

    def _client(self, namespace: str) -> JobClient:
        from kubernetes.client import BatchV1Api

        return JobClient(self._asked.client, BatchV1Api(self._asked.client.api_client), namespace)

    def _followed(
        self, context: Context, job: AttemptJob, attempt: str, folder: AttemptFolder, run_id: str | None
    ) -> FollowedJob:
        begun, limit = context["ti"].start_date, self._asked.execution_timeout
        return FollowedJob(
            namespace=job.jobs.namespace,
            name=job.name,
            labels=dict(job.labels),
            container=job.container,
            parallelism=job.world_size,
            patience=Patience(
                schedule_seconds=self._asked.schedule_timeout_seconds,
                startup_seconds=self._asked.startup_timeout_seconds,
            ),
            attempt=attempt,
            folder=str(folder.path),
            run_id=run_id,
            deadline=begun.timestamp() + limit.total_seconds() if begun is not None and limit is not None else None,
        )

    def _follow(self, job: AttemptJob, followed: FollowedJob) -> dict[str, Any]:
        while True:
            report = job.report()
            followed = self._show(followed, report)
            if not report.phase.is_live:
                return self._judge(job, followed, report)
            self._check_start(job, followed, report)
            time.sleep(self._asked.poll_interval)

    def _sleep(self, followed: FollowedJob) -> None:
        self._asked.convert_config_file_to_dict()  # type: ignore[no-untyped-call]
        extras = None
        if self._asked.kubernetes_conn_id:
            try:
                extras = BaseHook.get_connection(self._asked.kubernetes_conn_id).extra_dejson
            except AirflowNotFoundException:
                self._log.info("Connection %r is looked up by the triggerer", self._asked.kubernetes_conn_id)
        trigger = TrainingJobTrigger(
            job=encode(followed),
            cluster={
                "conn_id": self._asked.kubernetes_conn_id,
                "connection_extras": extras,
                "cluster_context": self._asked.cluster_context,
                "config_dict": self._asked._config_dict,  # noqa: SLF001 - the pod operator offers no other way
                "in_cluster": self._asked.in_cluster,
            },
            poll_seconds=self._asked.poll_interval,
            logging_seconds=self._asked.logging_interval,
            keep_on_kill=self._asked.on_kill_action is OnKillAction.KEEP_POD,
        )
        left = None
        if followed.deadline is not None:
            # The trigger ends first, and the task removes the Job; Airflow's own timeout would leave it.
            left = timedelta(seconds=max(followed.deadline - time.time(), 0) + _DEFER_MARGIN_SECONDS)
        self._asked.defer(trigger=trigger, method_name="parallel_reentry", timeout=left)

    def _show(self, followed: FollowedJob, report: JobReport) -> FollowedJob:
        """Show where the pods stand, if that is new, and what rank 0 has printed since the last time."""
        phases = [one.report.phase.value for one in report.members]
        counts = ", ".join(f"{phases.count(phase)} {phase}" for phase in sorted(set(phases)))
        if counts != self._shown:
            self._shown = counts
            self._log.info("Pods: %s", counts or "none")
        if not self._asked.get_logs:
            return followed
        log = AttemptFolder(Path(followed.folder)).directory(followed.attempt).log
        lines, offset = _new_lines(log, followed.log_offset, last=not report.phase.is_live)
        for line in lines:
            self._log.info("[rank 0] %s", line)
        return replace(followed, log_offset=offset)

    def _check_start(self, job: AttemptJob, followed: FollowedJob, report: JobReport) -> None:
        found = stuck(report, followed.parallelism, followed.patience, time.time())
        if found is None:
            return
        member, trouble = found
        who = f"job {job.jobs.namespace}/{job.name}" + (f": pod {member.pod}" if member else "")
        error = of_trouble(trouble, member.report.last_lines if member else "")
        raise self._given_up(job, followed, type(error)(f"{who}: {error}"))

    def _given_up(self, job: AttemptJob, followed: FollowedJob, error: Exception) -> Exception:
        self._clean_up(job, succeeded=False, live=True)
        end_run(self._asked.mlflow_conn_id, followed.run_id, "FAILED")
        return error

    def _judge(self, job: AttemptJob, followed: FollowedJob, report: JobReport) -> dict[str, Any]:
        """Return the verified result or say why there is none; may be repeated."""
        folder = AttemptFolder(Path(followed.folder))
        ranks = RankFolder(folder, followed.attempt)
        found = examine_ranks(ranks, followed.parallelism)
        if found.output is Output.VERIFIED and found.result is not None:
            end_run(self._asked.mlflow_conn_id, followed.run_id, "FINISHED")
            self._clean_up(job, succeeded=True)
            self._asked.do_xcom_push = self._asked.returns_result
            return self._asked.deliver(found.result, folder, followed.attempt, followed.run_id)
        failure = explain_ranks(
            report,
            ranks,
            followed.parallelism,
            f"{job.jobs.namespace}/{job.name}",
            container=job.container,
            events=job.jobs.events,
        )
        self._clean_up(job, succeeded=False)
        if failure.exit_code is not None and failure.exit_code in self._asked.skip_on_exit_code:
            raise AirflowSkipException(f"a rank ended with exit code {failure.exit_code}")
        end_run(self._asked.mlflow_conn_id, followed.run_id, "FAILED")
        raise failure.error

    def _clean_up(self, job: AttemptJob, *, succeeded: bool, live: bool = False) -> None:
        keep = self._asked.on_finish_action is OnFinishAction.KEEP_POD or (
            self._asked.on_finish_action is OnFinishAction.DELETE_SUCCEEDED_POD and not succeeded
        )
        if live or not keep:  # what has not ended must not run on unwatched
            job.remove()


def _new_lines(log: Path, offset: int, *, last: bool) -> tuple[list[str], int]:
    """Return the complete lines from an offset on, with ``last`` an incomplete one too, and where they end."""
    if not log.is_file():
        return [], offset
    with log.open("rb") as stream:
        stream.seek(offset)
        content = stream.read()
    end = len(content) if last else content.rfind(b"\n") + 1
    return content[:end].decode(errors="replace").splitlines(), offset + end
