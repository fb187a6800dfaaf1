"""One training by a custom resource, from the request to the verified result, over restarts of the worker."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import decode, encode
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import origin
from airflow_mlops.hooks.cluster import ClusterAccess
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.operators.custom_watch import Submission, Watched, decoded, patiently
from airflow_mlops.operators.log_lines import LogLines
from airflow_mlops.operators.pod_training import PodTraining, attempt_name, deliver, pod_training
from airflow_mlops.operators.tracking import begin_run, end_run
from airflow_mlops.training.attempts import Action, Output, enter
from airflow_mlops.training.custom_resource import age_seconds, merged
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.pods import ATTEMPT_LABEL, DIRECTORY_ANNOTATION, JOB_LABEL, PodResources, PodVolume
from airflow_mlops.triggers.events import from_payload

if TYPE_CHECKING:
    from airflow_mlops.operators.custom_training import CustomTrainingOperator

__all__ = ["CustomRun"]


class CustomRun:
    """Follows the resource of one task instance.

    :param asked: the operator, with its rendered fields
    """

    def __init__(self, asked: CustomTrainingOperator) -> None:
        self._asked = asked
        self._kind = asked.resource_kind()
        self._watched: Watched | None = None

    def begin(self, context: Context) -> dict[str, Any]:
        """Make or follow the resource, or find that all is done."""
        tracking = begin_run(context, self._asked.mlflow_conn_id, self._asked.model_name)
        training = pod_training(
            context,
            kind="train",
            image=self._asked.image,
            entrypoint=self._script(),
            model_name=self._asked.model_name,
            datasets=self._asked.datasets,
            models=self._asked.models or {},
            parameters=self._asked.parameters or {},
            tracking=tracking,
        )
        from airflow_mlops.adapters.pods.custom_attempts import TrainingObjects

        hook, attempt = self._access().hook(), attempt_name(context)
        namespace = self._asked.namespace or hook.get_namespace() or "default"
        document = self._build(training, attempt, namespace)
        objects, pods = self._clients(hook, namespace)
        world = TrainingObjects(
            objects=objects,
            pods=pods,
            folder=training.folder,
            labels=training.labels,
            request=lambda attempt: self._asked.request(training, attempt),
            build=lambda: document,
        )
        decision = enter(world, attempt)
        self._asked.log.info("%s", decision.reason)
        self._watched = Watched(
            attempt=decision.attempt,
            folder=str(training.folder.path),
            namespace=namespace,
            job=training.labels[JOB_LABEL],
            run_id=tracking.run_id if tracking else None,
            deadline=time.time() + self._asked.execution_timeout.total_seconds()
            if self._asked.execution_timeout
            else None,
        )
        if decision.action is Action.FINISH and not self._asked.keep_resource:
            world.tidy()
        return self._follow(context)

    def resume(self, context: Context, event: Mapping[str, Any]) -> dict[str, Any]:
        """Come back from the trigger; its event says where to look, and is never evidence."""
        from airflow_mlops.triggers.training import TrainingEvent

        self._watched = decode(Watched, from_payload(TrainingEvent, event).carried)
        return self._follow(context)

    def stop(self) -> None:
        """Delete the resource, and with it its pods."""
        if self._watched is not None:
            objects, _ = self._clients(self._access().hook(), self._watched.namespace)
            objects.delete(self._name(self._watched))
            self._asked.log.info("Deleted %s %s", self._kind.kind, self._name(self._watched))

    def _follow(self, context: Context) -> dict[str, Any]:
        watched, hook = self._seen(), self._access().hook()
        objects, _ = self._clients(hook, watched.namespace)
        name, told = self._name(watched), ""
        lines = LogLines(AttemptFolder(Path(watched.folder)).directory(watched.attempt).log, 0)
        while True:
            found = patiently(lambda: objects.get(name), self._asked.poll_interval)
            report = self._kind.report(found)
            waited = age_seconds(found, datetime.now(tz=UTC)) if found is not None else 0.0
            if not report.phase.is_live:
                return self._conclude(hook, report, lines, remove=not self._asked.keep_resource)
            trouble = self._impatience(report, waited, watched)
            if trouble is not None:
                # What nobody follows any more must not begin, or end, later.
                report = replace(report, phase=PodPhase.FAILED, trouble=trouble)
                return self._conclude(hook, report, lines, remove=True)
            state = f"{report.phase.value}: {report.trouble.message}" if report.trouble else report.phase.value
            if state != told:
                self._asked.log.info("%s %s/%s is %s", self._kind.kind, watched.namespace, name, state)
                told = state
            if self._asked.deferrable:
                limit = self._asked.startup_timeout_seconds
                self._sleep(context, None if limit is None else time.time() + limit - waited)
            self._show(lines)
            time.sleep(self._asked.poll_interval)

    def _show(self, lines: LogLines, *, last: bool = False) -> None:
        for line in lines.new(last=last):
            self._asked.log.info("%s", line)

    def _sleep(self, context: Context, start_deadline: float | None) -> None:
        from airflow_mlops.triggers.training import CustomResourceTrigger

        watched, who = self._seen(), origin(context)
        self._asked.defer(
            trigger=CustomResourceTrigger(
                kind=self._kind.kind,
                namespace=watched.namespace,
                name=self._name(watched),
                access=encode(self._access()),
                poll_seconds=self._asked.poll_interval,
                start_deadline=start_deadline,
                # Airflow's own timeout would fail the task and leave the resource to itself.
                deadline=watched.deadline,
                task={name: getattr(who, name) for name in ("dag_id", "run_id", "task_id", "map_index")},
                carried=encode(watched),
            ),
            method_name="resume",
        )

    def _conclude(self, hook: Any, report: PodReport, lines: LogLines, *, remove: bool) -> dict[str, Any]:
        """Return the verified result or say why there is none; may be repeated."""
        from airflow_mlops.adapters.pods.attempts import examine
        from airflow_mlops.adapters.pods.custom_attempts import explain_resource, read_pods, wait_for_pods

        watched = self._seen()
        objects, pods = self._clients(hook, watched.namespace)
        folder, name = AttemptFolder(Path(watched.folder)), self._name(watched)
        labels, seen = {JOB_LABEL: watched.job, ATTEMPT_LABEL: watched.attempt}, {}
        if report.phase is not PodPhase.SUCCEEDED:
            seen = read_pods(pods, self._kind.container, labels)
            # What is left of it may still write.
            if remove:
                objects.delete(name)
            wait_for_pods(pods, self._kind.container, labels)
        self._show(lines, last=True)
        found = examine(folder, watched.attempt)
        verified = found.result if found.output is Output.VERIFIED else None
        end_run(self._asked.mlflow_conn_id, watched.run_id, "FAILED" if verified is None else "FINISHED")
        if remove:
            objects.delete(name)
        if verified is not None:
            return deliver(verified, folder, watched.attempt, watched.run_id)
        raise explain_resource(
            self._kind,
            f"{watched.namespace}/{name}",
            report=report,
            pods=seen,
            folder=folder,
            attempt=watched.attempt,
        )

    def _impatience(self, report: PodReport, waited: float, watched: Watched) -> Trouble | None:
        """Say why it is not worth waiting any longer."""
        limit = self._asked.startup_timeout_seconds
        if watched.deadline is not None and time.time() > watched.deadline:
            return Trouble(cause=Cause.DEADLINE, message="it took longer than execution_timeout and was given up")
        if limit is None or report.phase is not PodPhase.PENDING or waited <= limit:
            return None
        trouble = report.trouble or Trouble(
            cause=Cause.SLOW_START,
            message=f"nothing says why; does {self._kind.controller} run in the cluster?",
        )
        text = f"it did not start within {limit:g} s (startup_timeout_seconds): {trouble.message}"
        return replace(trouble, message=text)

    def _build(self, training: PodTraining, attempt: str, namespace: str) -> dict[str, Any]:
        directory = str(training.folder.directory(attempt).path)
        submission = Submission(
            metadata={
                "name": self._asked.resource_name(training.folder, attempt),
                "namespace": namespace,
                "labels": {**(self._asked.labels or {}), **training.labels, ATTEMPT_LABEL: attempt},
                "annotations": {**(self._asked.annotations or {}), DIRECTORY_ANNOTATION: directory},
            },
            command=tuple(self._asked.command(directory, training.entrypoint)),
            resources=decoded(PodResources, self._asked.pod_resources, "pod_resources") or PodResources(),
            artifacts=decoded(PodVolume, self._asked.artifacts, "artifacts"),
            group=training.folder.open(),
        )
        return merged(self._asked.document(submission), {"spec": self._asked.spec or {}})

    def _name(self, watched: Watched) -> str:
        return self._asked.resource_name(AttemptFolder(Path(watched.folder)), watched.attempt)

    def _seen(self) -> Watched:
        if self._watched is None:
            raise ContractError("following a training is part of execute")
        return self._watched

    def _access(self) -> ClusterAccess:
        return ClusterAccess(
            conn_id=self._asked.kubernetes_conn_id,
            config_file=self._asked.config_file,
            cluster_context=self._asked.cluster_context,
            in_cluster=self._asked.in_cluster,
        )

    def _clients(self, hook: Any, namespace: str) -> tuple[Any, Any]:
        from airflow_mlops.adapters.pods.custom_objects import CustomObjectClient
        from airflow_mlops.adapters.pods.kubernetes import PodClient

        objects = CustomObjectClient(hook.custom_object_client, self._kind, namespace)
        return objects, PodClient(hook.core_v1_client, namespace)

    def _script(self) -> str:
        folder = dag_folder(self._asked)
        path = Path(folder, self._asked.entrypoint) if folder and self._asked.entrypoint.endswith(".py") else None
        return str(path) if path is not None and path.is_file() else self._asked.entrypoint
