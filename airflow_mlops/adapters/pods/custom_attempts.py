"""Attempts of a training as custom resources of a cluster and folders of the artefact store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_mlops.adapters.pods.attempts import examine
from airflow_mlops.adapters.pods.custom_objects import CustomObjectClient
from airflow_mlops.adapters.pods.kubernetes import PodClient
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.outcome import outcome
from airflow_mlops.exceptions import ContractError, MLOpsError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Attempt, Output
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.custom_resource import Json, ResourceKind, lost_fields
from airflow_mlops.training.phase import PodPhase, PodReport, read_pod
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL, TASK_LABEL
from airflow_mlops.training.ports import JobPhase

__all__ = ["TrainingObjects", "explain_resource", "read_pods", "wait_for_pods"]

_PAUSE_SECONDS = 0.5
_PATIENCE_SECONDS = 300.0


def read_pods(pods: PodClient, container: str, labels: Mapping[str, str]) -> dict[str, PodReport]:
    """Say where the pods of a resource stand, by their names; whatever became of the resource itself."""
    return {pod["metadata"]["name"]: read_pod(pod, container=container) for pod in pods.list(labels)}


def wait_for_pods(
    pods: PodClient, container: str, labels: Mapping[str, str], *, patience_seconds: float = _PATIENCE_SECONDS
) -> None:
    """Wait until no pod of a resource can write any more.

    :raises TransientAdapterError: if that takes too long
    """
    deadline = time.monotonic() + patience_seconds
    while live := [name for name, report in read_pods(pods, container, labels).items() if report.phase.is_live]:
        if time.monotonic() > deadline:
            raise TransientAdapterError(
                f"pods {', '.join(sorted(live))} have been ending for {patience_seconds:.0f} s; is a node lost, or the "
                "controller down?"
            )
        time.sleep(_PAUSE_SECONDS)


def explain_resource(
    kind: ResourceKind,
    name: str,
    *,
    report: PodReport,
    pods: Mapping[str, PodReport],
    folder: AttemptFolder,
    attempt: str,
) -> MLOpsError:
    """Say why an attempt did not succeed: in the words of the controller, of its pods and of the script.

    :param name: the resource's namespace and name
    :param report: what the resource says, which has ended
    :param pods: what its pods say, as far as there still are any
    """
    directory = folder.directory(attempt)
    what = f"{kind.kind} {name}"
    told = outcome(directory, running=False)
    # A script that began and left nothing was killed, whatever the pods that came after it say.
    lost = told.phase is JobPhase.LOST and attempt in folder.claims()
    script = told.problem if told.phase is JobPhase.FAILED or lost else None
    if report.phase is PodPhase.SUCCEEDED:
        return examine(folder, attempt).problem or ContractError(
            f"{what} is complete, but nothing shows in {directory.path} that the job ran there: the artefact store "
            "must be a volume of its pods, mounted at the same path as on the worker"
        )
    begun = {pod: found for pod, found in pods.items() if found.exit_code != CLAIMED}
    troubles = [(pod, found.trouble) for pod, found in begun.items() if found.trouble is not None]
    troubles.sort(key=lambda one: (not one[1].cause.is_outside, one[0]))
    causes = [report.trouble.cause] if report.trouble else []
    causes += [trouble.cause for _, trouble in troubles]
    outside = next((cause for cause in causes if cause.is_outside), None)
    if outside is not None:
        kept = outside.retryable
    elif script is not None:
        kept = isinstance(script, TransientAdapterError)
    else:
        kept = all(cause.retryable for cause in causes)
    words = [f"{what}: {report.trouble.message}" if report.trouble else f"{what} has ended"]
    words += [f"pod {pod}: {trouble.message}" for pod, trouble in troubles[:1]]
    if script is not None:
        words.append(str(script))
    elif directory.log_tail():
        words.append(f"last lines of {directory.log}:\n{directory.log_tail()}")
    return (TransientAdapterError if kept else PermanentAdapterError)("; ".join(words))


@dataclass(kw_only=True)
class TrainingObjects:
    """One job's attempts; see :class:`~airflow_mlops.training.attempts.AttemptWorld`.

    :param objects: the resources of the namespace
    :param pods: the pods of the namespace, some of which the controller makes for the resources
    :param folder: the job's folder in the store
    :param labels: job and task, by their label names
    :param request: what to ask for in an attempt
    :param build: the document of an attempt's resource
    :param patience_seconds: how long what belongs to an earlier attempt may take to end
    """

    objects: CustomObjectClient
    pods: PodClient
    folder: AttemptFolder
    labels: Mapping[str, str]
    request: Callable[[str], JobRequest]
    build: Callable[[], dict[str, Any]]
    patience_seconds: float = _PATIENCE_SECONDS
    _others: tuple[str, ...] = ()
    _leftovers: tuple[str, ...] = ()
    _deadline: float | None = field(default=None, repr=False)

    def look(self) -> Sequence[Attempt]:
        """Return all attempts of this job that have left a trace."""
        reports: dict[str, PodReport] = {}
        others, leftovers = [], []
        for found in self.objects.list({TASK_LABEL: self.labels[TASK_LABEL]}):
            metadata: Json = found["metadata"]
            labels = metadata.get("labels") or {}
            if labels.get(JOB_LABEL) != self.labels[JOB_LABEL]:
                others.append(str(metadata["name"]))
                continue
            report = self.objects.kind.report(found)
            reports[labels[ATTEMPT_LABEL]] = report
            if not report.phase.is_live:
                leftovers.append(str(metadata["name"]))
        self._others, self._leftovers = tuple(others), tuple(leftovers)
        for attempt in self._with_live_pods():
            report = reports.get(attempt, self.objects.kind.report(None))
            if report.phase in (PodPhase.ABSENT, PodPhase.FAILED):
                # The controller, or the cluster's garbage collection, is about to remove them.
                reports[attempt] = replace(report, phase=PodPhase.RUNNING, ending=True)
        names = sorted({*self.folder.names(), *reports})
        return tuple(self._attempt(name, reports.get(name)) for name in names)

    def submit(self, attempt: str, seen: Sequence[Attempt]) -> bool:
        """Prepare the attempt's directory, then make its resource.

        :raises PermanentAdapterError: if the cluster's definition does not know all of it
        """
        self.folder.prepare(attempt, self.request(attempt))
        if self.folder.claims() - {one.name for one in seen if one.claimed}:
            return False
        for name in (*self._others, *self._leftovers):  # same task, another request; and what nobody cleaned up
            self.objects.delete(name)
        document = self.build()
        stored = self.objects.create(document)
        if stored is None:
            return False
        lost = lost_fields(document["spec"], stored.get("spec"))
        if lost:
            self.objects.delete(document["metadata"]["name"])
            raise PermanentAdapterError(
                f"the cluster's definition of {self.objects.kind.definition} does not know {', '.join(lost)}; "
                f"install a newer {self.objects.kind.controller}"
            )
        return True

    def pause(self, attempt: str) -> None:
        """Let some time pass while what belongs to the attempt ends."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.patience_seconds
        if now > self._deadline:
            raise TransientAdapterError(
                f"attempt {attempt}: its {self.objects.kind.kind} or a pod of it has been ending for "
                f"{self.patience_seconds:.0f} s; is a node lost, or the controller down?"
            )
        time.sleep(_PAUSE_SECONDS)

    def tidy(self) -> None:
        """Remove the resources of attempts that have ended."""
        for name in self._leftovers:
            self.objects.delete(name)

    def _with_live_pods(self) -> set[str]:
        found = self.pods.list({JOB_LABEL: self.labels[JOB_LABEL]})
        container = self.objects.kind.container
        return {
            str(pod["metadata"]["labels"][ATTEMPT_LABEL])
            for pod in found
            if read_pod(pod, container=container).phase.is_live and ATTEMPT_LABEL in pod["metadata"]["labels"]
        }

    def _attempt(self, name: str, report: PodReport | None) -> Attempt:
        phase = report.phase if report else PodPhase.ABSENT
        return Attempt(
            name=name,
            claimed=name in self.folder.claims(),
            output=Output.OPEN if phase.is_live else examine(self.folder, name).output,
            pod=phase,
            ending=report.ending if report else False,
        )
