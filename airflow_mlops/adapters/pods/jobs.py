"""Trainings in several pods: the calls for Jobs and Services, and attempts as Jobs of a cluster."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from airflow_mlops.adapters.pods.kubernetes import PodClient, _ExistsError, _NotFoundError
from airflow_mlops.adapters.pods.ranks import examine_ranks
from airflow_mlops.container.attempt import AttemptFolder
from airflow_mlops.container.ranks import RankFolder
from airflow_mlops.exceptions import TransientAdapterError
from airflow_mlops.training.attempts import Attempt, Output
from airflow_mlops.training.contract import Group, JobRequest
from airflow_mlops.training.indexed import JobReport, MemberReport, leader, read_job, rendezvous_service
from airflow_mlops.training.phase import Cause, read_pod
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL, TASK_LABEL

__all__ = ["AttemptJob", "JobClient", "TrainingJobs", "service_name"]

Json = Mapping[str, Any]

_PAUSE_SECONDS = 0.5


def service_name(job_name: str) -> str:
    """Name the Service of a Job; a Service's name begins with a letter, a Job's may not."""
    return f"ranks-{job_name[-16:]}"


class JobClient(PodClient):
    """Jobs of one namespace with their pods and Services.

    :param api: ``kubernetes.client.CoreV1Api``
    :param batch: ``kubernetes.client.BatchV1Api``
    :param namespace: where they are
    """

    def __init__(self, api: Any, batch: Any, namespace: str) -> None:
        super().__init__(api, namespace)
        self._batch = batch

    def list_jobs(self, labels: Mapping[str, str]) -> Sequence[Json]:
        """Return the Jobs that have all of these labels."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found = self._read(self._batch.list_namespaced_job, self.namespace, label_selector=selector)
        return list(found.get("items") or ())

    def get_job(self, name: str) -> Json | None:
        """Return a Job, None where there is none."""
        try:
            return self._read(self._batch.read_namespaced_job, name, self.namespace)
        except _NotFoundError:
            return None

    def job_events(self, name: str) -> Sequence[Json]:
        """Return what happened to a Job, oldest first."""
        selector = f"involvedObject.kind=Job,involvedObject.name={name}"
        found = self._read(self._api.list_namespaced_event, self.namespace, field_selector=selector)
        return sorted(found.get("items") or (), key=lambda event: str(event.get("lastTimestamp") or ""))

    def create_job(self, document: Json) -> bool:
        """Make a Job; False if one of this name is there already."""
        what = f"job {self.namespace}/{document['metadata']['name']}"
        try:
            self._call(self._batch.create_namespaced_job, self.namespace, document, what=what)
        except _ExistsError:
            return False
        return True

    def delete_job(self, name: str) -> None:
        """Ask for a Job's deletion, and that its pods go after it; it is fine if there is none."""
        try:
            self._call(
                self._batch.delete_namespaced_job,
                name,
                self.namespace,
                what=f"job {self.namespace}/{name}",
                propagation_policy="Background",
            )
        except _NotFoundError:
            return

    def create_service(self, document: Json) -> None:
        """Make a Service; it is fine if it is there already."""
        what = f"service {self.namespace}/{document['metadata']['name']}"
        try:
            self._call(self._api.create_namespaced_service, self.namespace, document, what=what)
        except _ExistsError:
            return

    def delete_service(self, name: str) -> None:
        """Ask for a Service's deletion; it is fine if there is none."""
        try:
            self._call(self._api.delete_namespaced_service, name, self.namespace, what=f"service {name}")
        except _NotFoundError:
            return


@dataclass(frozen=True, kw_only=True)
class AttemptJob:
    """The Job of one attempt, with its pods and its Service.

    :param jobs: the namespace
    :param name: the Job's name
    :param labels: by which its pods are found
    :param container: name of the container that trains
    :param world_size: how many pods
    """

    jobs: JobClient
    name: str
    labels: Mapping[str, str]
    container: str
    world_size: int

    def introduce(self) -> Json | None:
        """Make sure that the Service is there; return the Job."""
        job = self.jobs.get_job(self.name)
        if job is not None:
            self.jobs.create_service(rendezvous_service(job, name=service_name(self.name)))
        return job

    def report(self) -> JobReport:
        """Say where it stands in the cluster."""
        pods, job = self.jobs.list(self.labels), self.jobs.get_job(self.name)
        events = self.jobs.job_events(self.name) if job is not None and len(pods) < self.world_size else ()
        found = read_job(job, pods, container=self.container, events=events)
        by_name = {str(pod["metadata"]["name"]): pod for pod in pods}
        return replace(found, members=tuple(self._explained(one, by_name[one.pod]) for one in found.members))

    def remove(self) -> None:
        """Remove the Job with its pods, and the Service."""
        self.jobs.delete_job(self.name)
        self.jobs.delete_service(service_name(self.name))
        # The cluster's garbage collector would do it too, when it comes to it; until then they would run on.
        for pod in self.jobs.list(self.labels):
            self.jobs.delete(str(pod["metadata"]["name"]))

    def _explained(self, member: MemberReport, pod: Json) -> MemberReport:
        trouble = member.report.trouble
        if trouble is None or trouble.cause not in (Cause.IMAGE, Cause.REGISTRY):
            return member
        # Only the first failure says why an image cannot be pulled, and only its event keeps that.
        events = self.jobs.events(member.pod)
        return replace(member, report=read_pod(pod, container=self.container, events=events))


@dataclass(kw_only=True)
class TrainingJobs:
    """One training's attempts, each in several pods; see :class:`~airflow_mlops.training.attempts.AttemptWorld`.

    :param jobs: the namespace
    :param folder: the job's folder in the store
    :param labels: job and task, by their label names
    :param container: name of the container that trains
    :param world_size: how many pods
    :param request: what to ask for in an attempt
    :param name_of: name of the Job of an attempt
    :param build: the Job of the current attempt
    :param patience_seconds: how long the pods of an earlier attempt may take to end
    """

    jobs: JobClient
    folder: AttemptFolder
    labels: Mapping[str, str]
    container: str
    world_size: int
    request: Callable[[str], JobRequest]
    name_of: Callable[[str], str]
    build: Callable[[], Json]
    patience_seconds: float = 300.0
    _others: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    _leftovers: tuple[str, ...] = ()
    _deadline: float | None = field(default=None, repr=False)

    def look(self) -> Sequence[Attempt]:
        """Return all attempts of this training that have left a trace."""
        task = {TASK_LABEL: self.labels[TASK_LABEL]}
        # Pods first: one that is made between the calls belongs to a Job that is seen.
        pods, jobs = self.jobs.list(task), self.jobs.list_jobs(task)
        ours, others = _by_attempt(pods, self.labels[JOB_LABEL])
        our_jobs, other_jobs = _by_attempt(jobs, self.labels[JOB_LABEL])
        self._others = (_names(other_jobs), _names(others))
        names = sorted({*self.folder.names(), *ours, *our_jobs})
        reports = {
            name: read_job(next(iter(our_jobs.get(name, ())), None), ours.get(name, ()), container=self.container)
            for name in names
        }
        self._leftovers = tuple(name for name in names if name in our_jobs and not reports[name].phase.is_live)
        return tuple(self._attempt(name, reports[name]) for name in names)

    def submit(self, attempt: str, seen: Sequence[Attempt]) -> bool:
        """Prepare the attempt's folders, then make its Job."""
        job = self.build()
        group = Group(world_size=self.world_size, rendezvous=leader(job))
        request = replace(self.request(attempt), group=group)
        RankFolder(self.folder, attempt).prepare(request)
        self.folder.prepare(attempt, request)
        if self.folder.claims() - {one.name for one in seen if one.claimed}:
            return False
        # Same task, another request; and Jobs that nobody cleaned up.
        for other in self._others[0]:
            self.jobs.delete_job(other)
        for pod in self._others[1]:
            self.jobs.delete(pod)
        self.tidy()
        return self.jobs.create_job(job)

    def pause(self, attempt: str) -> None:
        """Let some time pass while the attempt's pods end."""
        now = time.monotonic()
        self._deadline = self._deadline or now + self.patience_seconds
        if now > self._deadline:
            raise TransientAdapterError(
                f"attempt {attempt}: its pods have been ending for {self.patience_seconds:.0f} s; is a node lost?"
            )
        time.sleep(_PAUSE_SECONDS)

    def tidy(self) -> None:
        """Remove the Jobs of attempts that have ended."""
        for attempt in self._leftovers:
            self.job(attempt).remove()

    def job(self, attempt: str) -> AttemptJob:
        """Return the Job of an attempt, be it there or not."""
        return AttemptJob(
            jobs=self.jobs,
            name=self.name_of(attempt),
            labels={JOB_LABEL: self.labels[JOB_LABEL], ATTEMPT_LABEL: attempt},
            container=self.container,
            world_size=self.world_size,
        )

    def _attempt(self, name: str, report: JobReport) -> Attempt:
        live = report.phase.is_live
        output = Output.OPEN if live else examine_ranks(RankFolder(self.folder, name), self.world_size).output
        return Attempt(
            name=name,
            claimed=name in self.folder.claims(),
            output=output,
            pod=report.phase,
            ending=report.ending,
        )


def _by_attempt(found: Iterable[Json], job: str) -> tuple[dict[str, list[Json]], list[Json]]:
    ours: dict[str, list[Json]] = defaultdict(list)
    others = []
    for one in found:
        labels = one["metadata"].get("labels") or {}
        if labels.get(JOB_LABEL) == job:
            ours[labels[ATTEMPT_LABEL]].append(one)
        else:
            others.append(one)
    return ours, others


def _names(found: Iterable[Json]) -> tuple[str, ...]:
    return tuple(str(one["metadata"]["name"]) for one in found)
