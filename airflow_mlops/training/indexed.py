"""One training in several pods: the Job and the Service that make them, and what they say of themselves.

Everything here is pure: documents are the plain JSON mappings of the Kubernetes API. The Job is an Indexed one, so the
cluster gives each pod its rank. Clusters before Kubernetes 1.22 drop that field without a word; there the pods take
their ranks themselves, each one that is free (see :mod:`airflow_mlops.container.ranks`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble, read_pod
from airflow_mlops.training.pods import ATTEMPT_LABEL, JOB_LABEL

__all__ = [
    "ADDRESS_VARIABLE",
    "POD_VARIABLE",
    "RANK_VARIABLE",
    "JobReport",
    "MemberReport",
    "Patience",
    "gives_ranks",
    "indexed_job",
    "leader",
    "read_job",
    "rendezvous_service",
    "stuck",
]

Json = Mapping[str, Any]

#: Set by the cluster in the pods of an Indexed Job.
RANK_VARIABLE = "JOB_COMPLETION_INDEX"
#: Set by the pod template: what a pod knows of itself.
POD_VARIABLE = "MLOPS_POD_NAME"
ADDRESS_VARIABLE = "MLOPS_POD_ADDRESS"

_RANK_ANNOTATION = "batch.kubernetes.io/job-completion-index"
#: Where rank 0 listens; the port is the one that users of torch.distributed know.
_PORT = 29500
#: On the network of the nodes, where other trainings may run, rank 0 takes one that is free.
_ANY_PORT = 0
_FIELDS = {POD_VARIABLE: "metadata.name", ADDRESS_VARIABLE: "status.podIP"}


@dataclass(frozen=True, kw_only=True)
class MemberReport:
    """One pod of the Job.

    :param pod: its name
    :param rank: which it has, as far as the cluster gave it one
    :param report: what its documents say
    :param since: seconds since the epoch: when it began to wait for what it waits for now
    """

    pod: str
    rank: int | None
    report: PodReport
    since: float


@dataclass(frozen=True, kw_only=True)
class JobReport:
    """A training in several pods.

    :param phase: where it stands; live for as long as any pod of it may still run, or be made
    :param members: its pods
    :param ending: whether no more pods are made and those that are left are being ended
    :param present: whether the cluster knows the Job
    :param since: seconds since the epoch: when the Job was made
    :param complaint: why the cluster makes no more pods, in its own words
    """

    phase: PodPhase
    members: tuple[MemberReport, ...] = ()
    ending: bool = False
    present: bool = True
    since: float = 0.0
    complaint: str = ""


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long pods may take to begin.

    :param schedule_seconds: to be made, and to get a node
    :param startup_seconds: to get their images and containers after that
    """

    schedule_seconds: float
    startup_seconds: float


def leader(job: Json) -> str:
    """Return ``host:port`` of rank 0 as DNS names it where the cluster gives pods their ranks; port 0 for any.

    :param job: what :func:`indexed_job` returned
    """
    spec = job["spec"]["template"]["spec"]
    return f"{job['metadata']['name']}-0.{spec['subdomain']}:{_ANY_PORT if spec.get('hostNetwork') else _PORT}"


def indexed_job(pod: Json, *, parallelism: int, container: str, command: Sequence[str], service: str) -> dict[str, Any]:
    """Make a Job of as many equal pods, each of which is started once.

    :param pod: the pod of a training alone: its name becomes the Job's, and the rest the template
    :param parallelism: how many pods
    :param container: name of the container that trains
    :param command: what it runs instead of what a lone pod would
    :param service: name of the headless Service that gives the pods their names in DNS
    """
    metadata = pod["metadata"]
    common = {name: dict(metadata.get(name) or {}) for name in ("labels", "annotations")}
    spec = copy.deepcopy(dict(pod["spec"]))
    spec |= {"restartPolicy": "Never", "subdomain": service}
    (main,) = (one for one in spec["containers"] if one["name"] == container)
    own = [{"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}} for name, path in _FIELDS.items()]
    main |= {"command": list(command), "env": [*(main.get("env") or ()), *own]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": metadata["name"], **common},
        "spec": {
            "completionMode": "Indexed",
            "parallelism": parallelism,
            "completions": parallelism,
            # Ranks talk to each other: one that is made again finds the others in the middle.
            "backoffLimit": 0,
            "template": {"metadata": common, "spec": spec},
        },
    }


def rendezvous_service(job: Json, *, name: str) -> dict[str, Any]:
    """Make the headless Service of a Job that the cluster has taken; the cluster removes it with the Job.

    :param job: the Job as the cluster returned it
    """
    metadata = job["metadata"]
    labels = metadata["labels"]
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
        "spec": {
            "clusterIP": "None",
            # The processes look for each other before any of them is ready.
            "publishNotReadyAddresses": True,
            "selector": {label: labels[label] for label in (JOB_LABEL, ATTEMPT_LABEL)},
            "ports": [{"name": "rendezvous", "port": _PORT}],
        },
    }


def gives_ranks(job: Json) -> bool:
    """Whether the cluster understood that the Job is an Indexed one."""
    return (job.get("spec") or {}).get("completionMode") == "Indexed"


def read_job(job: Json | None, pods: Sequence[Json], *, container: str, events: Sequence[Json] = ()) -> JobReport:
    """Say where a training in several pods stands.

    :param job: the Job as JSON, None if the API server does not know it
    :param pods: all of its pods that are there
    :param container: name of the container that trains
    :param events: the Job's events, oldest first
    """
    members = tuple(sorted((_member(pod, container) for pod in pods), key=lambda one: one.pod))
    ended = None if job is None else _ended(job)
    deleted = job is None or bool(job["metadata"].get("deletionTimestamp"))
    if any(one.report.phase.is_live for one in members):
        running = any(one.report.phase is PodPhase.RUNNING for one in members)
        phase = PodPhase.RUNNING if running else PodPhase.PENDING
    elif job is None:
        phase = PodPhase.ABSENT
    else:
        phase = ended or PodPhase.PENDING
    return JobReport(
        phase=phase,
        members=members,
        ending=deleted or ended is not None,
        present=job is not None,
        since=0.0 if job is None else _seconds(job["metadata"].get("creationTimestamp")),
        complaint=_complaint(job, events),
    )


def stuck(
    report: JobReport, parallelism: int, patience: Patience, now: float
) -> tuple[MemberReport | None, Trouble] | None:
    """Say what keeps a training from beginning, if it is not worth waiting any longer.

    :param parallelism: how many pods there should be
    :param now: seconds since the epoch
    :return: the pod that does not begin, None where it is the Job, and what is wrong; None to go on waiting
    """
    if report.ending or not report.phase.is_live:
        return None
    for member in report.members:
        trouble = _why_waiting(member, patience, now)
        if trouble is not None:
            return member, trouble
    waited = now - report.since
    if len(report.members) < parallelism and waited > patience.schedule_seconds:
        text = f"there are {len(report.members)} of {parallelism} pods after {waited:.0f} s"
        said = f": {report.complaint}" if report.complaint else ""
        return None, Trouble(cause=Cause.UNSCHEDULABLE, message=text + said)
    return None


def _why_waiting(member: MemberReport, patience: Patience, now: float) -> Trouble | None:
    report, waited = member.report, now - member.since
    if report.phase is not PodPhase.PENDING or report.ending:
        return None
    trouble = report.trouble
    if trouble is not None and trouble.cause is Cause.IMAGE:
        return trouble
    if trouble is not None and trouble.cause is Cause.UNSCHEDULABLE:
        return trouble if waited > patience.schedule_seconds else None
    if waited <= patience.startup_seconds:
        return None
    return trouble or Trouble(cause=Cause.SLOW_START, message=f"the pod did not start within {waited:.0f} s")


def _member(pod: Json, container: str) -> MemberReport:
    metadata = pod["metadata"]
    given = (metadata.get("annotations") or {}).get(_RANK_ANNOTATION)
    conditions = (pod.get("status") or {}).get("conditions") or ()
    scheduled = [one for one in conditions if one.get("type") == "PodScheduled" and one.get("status") == "True"]
    since = scheduled[0].get("lastTransitionTime") if scheduled else metadata.get("creationTimestamp")
    return MemberReport(
        pod=str(metadata["name"]),
        rank=None if given is None else int(given),
        report=read_pod(pod, container=container),
        since=_seconds(since),
    )


def _ended(job: Json) -> PodPhase | None:
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in ("Complete", "Failed"):
            return PodPhase.SUCCEEDED if condition["type"] == "Complete" else PodPhase.FAILED
    return None


def _complaint(job: Json | None, events: Sequence[Json]) -> str:
    if job is None:
        return ""
    for condition in (job.get("status") or {}).get("conditions") or ():
        if condition.get("type") == "Failed" and condition.get("status") == "True":
            return f"{condition.get('reason')}: {condition.get('message')}"
    said = [str(event.get("message")) for event in events if event.get("reason") == "FailedCreate"]
    return said[-1] if said else ""


def _seconds(timestamp: Any) -> float:
    return datetime.fromisoformat(str(timestamp)).timestamp() if timestamp else 0.0
