"""Which training the pods of a cluster belong to, and what a watcher who did not start it makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath
from typing import Any

from airflow_mlops.training.attempts import Action, Attempt, Decision, Output
from airflow_mlops.training.phase import PodPhase, PodReport, read_pod
from airflow_mlops.training.pods import DIRECTORY_ANNOTATION

__all__ = ["Seen", "Sighting", "conclude", "newest"]

Json = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a watcher remembers: pods vanish, and the next look is another process's.

    :param folder: the job's folder
    :param attempt: the newest attempt that had a pod
    """

    folder: str
    attempt: str


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """The training that is followed, as its pods show it.

    :param seen: what to remember of it
    :param reports: attempt to where its pods stand, by their names
    """

    seen: Seen
    reports: Mapping[str, Mapping[str, PodReport]]

    @property
    def is_live(self) -> bool:
        """Whether any pod may still run."""
        return any(report.phase.is_live for pods in self.reports.values() for report in pods.values())

    def report(self, attempt: str) -> tuple[str, PodReport]:
        """Return the pod of an attempt that says most: one at work, else one in trouble, else any.

        An attempt that has no pod any more is named by itself.
        """
        pods = self.reports.get(attempt) or {}
        if not pods:
            return attempt, read_pod(None, container="")
        return min(pods.items(), key=lambda one: (not one[1].phase.is_live, one[1].trouble is None, one[0]))


def newest(pods: Sequence[Json], *, container: str, created_after: datetime | None = None) -> Sighting | None:
    """Find the training whose pod was made last, with all its pods; None where no pod is a training's.

    :param pods: any pods; those that no training made are passed over
    :param container: name of the container that trains
    :param created_after: earlier pods do not count
    """
    trainings: dict[str, dict[str, dict[str, PodReport]]] = {}
    latest: tuple[datetime, str, str] | None = None
    for pod in pods:
        metadata: Json = pod["metadata"]
        directory = (metadata.get("annotations") or {}).get(DIRECTORY_ANNOTATION)
        created = datetime.fromisoformat(metadata["creationTimestamp"])
        # The API server keeps whole seconds.
        if not directory or (created_after is not None and created < created_after.replace(microsecond=0)):
            continue
        path = PurePosixPath(directory)
        folder, attempt = str(path.parent.parent), path.name
        reports = trainings.setdefault(folder, {}).setdefault(attempt, {})
        reports[str(metadata["name"])] = read_pod(pod, container=container)
        latest = max(latest or (created, attempt, folder), (created, attempt, folder))
    if latest is None:
        return None
    folder = latest[2]
    seen = Seen(folder=folder, attempt=max(trainings[folder]))
    return Sighting(seen=seen, reports=trainings[folder])


def conclude(attempts: Sequence[Attempt], seen: Seen) -> Decision:
    """Choose what a watcher does: ``WAIT``, ``FINISH`` with a verified attempt, or ``FAIL`` with the newest one.

    :param attempts: all attempts of the job that left a trace
    :param seen: the newest attempt that had a pod
    """
    by_age = sorted(attempts, key=lambda attempt: attempt.name, reverse=True)
    for attempt in by_age:
        if attempt.pod.is_live:
            return _decision(Action.WAIT, attempt, "its pod is under way")
    for attempt in by_age:
        if attempt.output is Output.VERIFIED:
            return _decision(Action.FINISH, attempt, "its result is there and verified")
    last = by_age[0] if by_age else Attempt(name=seen.attempt)
    if last.name > seen.attempt and not last.claimed and last.pod is PodPhase.ABSENT:
        return _decision(Action.WAIT, last, "its directory is there, its pod is not yet")
    return _decision(Action.FAIL, last, "it has ended and left no result that counts")


def _decision(action: Action, attempt: Attempt, reason: str) -> Decision:
    return Decision(action=action, attempt=attempt.name, reason=f"attempt {attempt.name}: {reason}")
