"""Attempts of a training as pods of a cluster and folders of the artefact store."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.adapters.pods.kubernetes import PodClient
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.outcome import collect, outcome
from airflow_mlops.exceptions import ContractError, MLOpsError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Attempt, Output
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble, read_pod
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL, TASK_LABEL
from airflow_mlops.training.ports import JobPhase

__all__ = ["Finding", "TrainingPods", "examine", "explain"]

_PAUSE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What an attempt has left in the store.

    :param output: whether it counts
    :param result: the script's report, where all files verify
    :param problem: why there is none
    """

    output: Output
    result: JobResult | None = None
    problem: MLOpsError | None = None


def examine(folder: AttemptFolder, name: str) -> Finding:
    """Read an attempt's directory and verify every file of it; only after its pod has ended."""
    directory = folder.directory(name)
    if name not in folder.claims() and not directory.is_sealed:
        return Finding(output=Output.OPEN)
    try:
        return Finding(output=Output.VERIFIED, result=collect(directory, running=False))
    except MLOpsError as problem:
        return Finding(output=Output.UNUSABLE, problem=problem)


def explain(
    report: PodReport, folder: AttemptFolder, name: str, pod: str, problem: Exception | None = None
) -> MLOpsError:
    """Say why an attempt did not succeed, from the cluster's and from the script's point of view.

    :param report: what the cluster says of the pod
    :param pod: the pod's name, for the message
    :param problem: why watching it came to an end, if not because it ended
    """
    if report.phase.is_live:
        return _did_not_end(report, pod, problem)
    directory = folder.directory(name)
    told = outcome(directory, running=False)
    trouble = report.trouble
    said = told.problem if told.phase is JobPhase.FAILED else None
    if trouble is not None and trouble.cause.is_outside:
        # Also where the script reported a failure: it may have been asked to end, and said so.
        return _of(trouble, pod, report, directory.log_tail())
    if report.exit_code == CLAIMED:
        text = f"pod {pod}: attempt {name} was started before, or a newer one takes its place"
        return TransientAdapterError(_with_lines(text, report.last_lines))
    if said is not None:
        return said
    if trouble is not None:
        return _of(trouble, pod, report, directory.log_tail())
    found = examine(folder, name)
    return found.problem or ContractError(
        f"pod {pod} ended with exit code 0, but nothing shows in {directory.path} that the job ran there: the "
        "artefact store must be a volume of the pod, mounted at the same path as on the worker"
    )


def _did_not_end(report: PodReport, pod: str, problem: Exception | None) -> MLOpsError:
    if report.trouble is not None:
        return _of(report.trouble, pod, report)
    if report.ending:
        return TransientAdapterError(f"pod {pod} is being deleted")
    if report.phase is PodPhase.PENDING:
        return _of(Trouble(cause=Cause.SLOW_START, message=f"the pod did not start in time: {problem}"), pod, report)
    return TransientAdapterError(f"pod {pod} is still running: {problem or 'the trigger came back too early'}")


def _of(trouble: Trouble, pod: str, report: PodReport, log: str = "") -> MLOpsError:
    kind = TransientAdapterError if trouble.cause.retryable else PermanentAdapterError
    return kind(_with_lines(f"pod {pod}: {trouble.message}", log or report.last_lines))


def _with_lines(text: str, lines: str) -> str:
    return f"{text}; last lines of its log:\n{lines}" if lines else text


@dataclass(kw_only=True)
class TrainingPods:
    """One job's attempts; see :class:`~airflow_mlops.training.attempts.AttemptWorld`.

    :param pods: the namespace
    :param folder: the job's folder in the store
    :param labels: job and task, by their label names
    :param container: name of the container that trains
    :param request: what to ask for in an attempt
    :param build: the pod of an attempt
    :param patience_seconds: how long the pod of an earlier attempt may take to end
    """

    pods: PodClient
    folder: AttemptFolder
    labels: Mapping[str, str]
    container: str
    request: Callable[[str], JobRequest]
    build: Callable[[], Any]
    patience_seconds: float = 300.0
    created: Any = None
    _others: tuple[str, ...] = ()
    _leftovers: tuple[str, ...] = ()
    _deadline: float | None = field(default=None, repr=False)

    def look(self) -> Sequence[Attempt]:
        """Return all attempts of this job that have left a trace."""
        found = self.pods.list({TASK_LABEL: self.labels[TASK_LABEL]})
        reports: dict[str, PodReport] = {}
        others, leftovers = [], []
        for pod in found:
            labels = pod["metadata"].get("labels") or {}
            report = read_pod(pod, container=self.container)
            if labels.get(JOB_LABEL) != self.labels[JOB_LABEL]:
                others.append(pod["metadata"]["name"])
                continue
            reports[labels[ATTEMPT_LABEL]] = report
            if not report.phase.is_live:
                leftovers.append(pod["metadata"]["name"])
        self._others, self._leftovers = tuple(others), tuple(leftovers)
        names = sorted({*self.folder.names(), *reports})
        return tuple(self._attempt(name, reports.get(name)) for name in names)

    def submit(self, attempt: str, seen: Sequence[Attempt]) -> bool:
        """Prepare the attempt's directory, then make its pod."""
        self.folder.prepare(attempt, self.request(attempt))
        if self.folder.claims() - {one.name for one in seen if one.claimed}:
            return False
        for name in (*self._others, *self._leftovers):  # same task, another request; and pods that nobody cleaned up
            self.pods.delete(name)
        self.created = self.pods.create(self.build())
        return self.created is not None

    def pause(self, attempt: str) -> None:
        """Let some time pass while the attempt's pod ends."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.patience_seconds
        if now > self._deadline:
            raise TransientAdapterError(
                f"attempt {attempt}: its pod has been ending for {self.patience_seconds:.0f} s; is its node lost?"
            )
        time.sleep(_PAUSE_SECONDS)

    def tidy(self) -> None:
        """Remove the pods of attempts that have ended."""
        for name in self._leftovers:
            self.pods.delete(name)

    def _attempt(self, name: str, report: PodReport | None) -> Attempt:
        phase = report.phase if report else PodPhase.ABSENT
        output = Output.OPEN if phase.is_live else examine(self.folder, name).output
        return Attempt(
            name=name,
            claimed=name in self.folder.claims(),
            output=output,
            pod=phase,
            ending=report.ending if report else False,
        )
