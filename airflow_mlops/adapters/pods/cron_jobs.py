"""The CronJobs of a namespace, as far as one wants to know whether they run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow_mlops.adapters.kubernetes_objects import KubernetesObjects, ObjectKind
from airflow_mlops.exceptions import PermanentAdapterError

__all__ = ["CronJob", "cron_jobs"]

_VERSIONS = ("v1", "v1beta1")  # clusters before 1.21 have the older one only


@dataclass(frozen=True, kw_only=True)
class CronJob:
    """One CronJob.

    :param command: all words of its containers' commands and arguments
    :param last_scheduled: when it started a Job last, None if never
    """

    name: str
    schedule: str
    suspended: bool
    command: tuple[str, ...]
    last_scheduled: datetime | None


def cron_jobs(client: Any, namespace: str) -> Sequence[CronJob]:
    """Return the CronJobs of a namespace.

    :param client: ``kubernetes.client.ApiClient``
    :raises PermanentAdapterError: if they may not be listed, with the cluster's reason
    :raises TransientAdapterError: if the cluster does not answer
    """
    objects = KubernetesObjects(client, namespace)
    refused: PermanentAdapterError | None = None
    for version in _VERSIONS:
        kind = ObjectKind(group="batch", version=version, plural="cronjobs", kind="CronJob")
        try:
            return [_read(one) for one in objects.list(kind, {})]
        except PermanentAdapterError as error:
            # The newest version says best why; the older one may be unknown for no other reason than its age.
            refused = refused or error
    raise refused or PermanentAdapterError(f"the cluster has no CronJobs of versions {', '.join(_VERSIONS)}")


def _read(document: Any) -> CronJob:
    spec = document["spec"]
    containers = spec["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    last = (document.get("status") or {}).get("lastScheduleTime")
    return CronJob(
        name=document["metadata"]["name"],
        schedule=spec["schedule"],
        suspended=bool(spec.get("suspend")),
        command=tuple(word for one in containers for word in (*(one.get("command") or ()), *(one.get("args") or ()))),
        last_scheduled=None if last is None else datetime.fromisoformat(last),
    )
