"""Waiting for trainings without a worker; every event is a reason to look, never evidence."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_mlops.adapters.pods.asynchronous import AsyncCluster
from airflow_mlops.codec import decode
from airflow_mlops.exceptions import PermanentAdapterError, TransientAdapterError
from airflow_mlops.hooks.cluster import ClusterAccess
from airflow_mlops.training.kinds import KINDS
from airflow_mlops.training.phase import PodPhase
from airflow_mlops.training.sightings import Seen, newest
from airflow_mlops.triggers.events import to_payload
from airflow_mlops.triggers.task_state import STILL_AT_WORK, task_state

__all__ = ["CustomResourceTrigger", "TrainingEvent", "TrainingPodsTrigger"]


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """Somebody should look.

    :param name: at what
    :param carried: what the sleeping task wanted to know when it wakes
    """

    name: str
    carried: Mapping[str, Any]


class CustomResourceTrigger(BaseTrigger):
    """Fires when a custom resource has ended, is gone, takes too long, or cannot be looked at.

    :param kind: name of one of :data:`~airflow_mlops.training.kinds.KINDS`
    :param namespace: where it is
    :param name: its name
    :param access: an encoded :class:`~airflow_mlops.hooks.cluster.ClusterAccess`
    :param poll_seconds: time between two looks
    :param start_deadline: seconds since the epoch until which it must have started; None for no limit
    :param deadline: seconds since the epoch until which it must have ended; None for no limit
    :param task: dag_id, run_id, task_id and map_index of the waiting task
    :param carried: comes back with the event
    """

    def __init__(
        self,
        *,
        kind: str,
        namespace: str,
        name: str,
        access: dict[str, Any],
        poll_seconds: float,
        start_deadline: float | None,
        deadline: float | None,
        task: dict[str, Any],
        carried: dict[str, Any],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.access = access
        self.poll_seconds = poll_seconds
        self.start_deadline = start_deadline
        self.deadline = deadline
        self.task_key = task
        self.carried = carried
        self._fired = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.training.CustomResourceTrigger",
            {
                "kind": self.kind,
                "namespace": self.namespace,
                "name": self.name,
                "access": self.access,
                "poll_seconds": self.poll_seconds,
                "start_deadline": self.start_deadline,
                "deadline": self.deadline,
                "task": self.task_key,
                "carried": self.carried,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to see."""
        cluster = _cluster(self.access, self.namespace)
        while True:
            if await self._worth_a_look(cluster):
                break
            await asyncio.sleep(self.poll_seconds)
        self._fired = True
        yield TriggerEvent(to_payload(TrainingEvent(name=f"{self.namespace}/{self.name}", carried=self.carried)))

    async def _worth_a_look(self, cluster: AsyncCluster) -> bool:
        kind = KINDS[self.kind]
        try:
            report = kind.report(await cluster.get(kind, self.name))
        except TransientAdapterError as error:
            self.log.warning("%s/%s: %s", self.namespace, self.name, error)
            return _past(self.deadline)
        except PermanentAdapterError as error:
            self.log.warning("%s/%s: %s", self.namespace, self.name, error)
            return True
        late = report.phase is PodPhase.PENDING and _past(self.start_deadline)
        return late or not report.phase.is_live or _past(self.deadline)

    async def on_kill(self) -> None:
        """Delete the resource when a person ended or cleared the waiting task.

        Triggers that only move to another process are reported to come here too (Airflow issue 73454), so the task's
        state is asked first.
        """
        if self._fired or await task_state(self.task_key) in STILL_AT_WORK:
            return
        self.log.info("Deleting %s %s/%s: the task was ended by hand", self.kind, self.namespace, self.name)
        await _cluster(self.access, self.namespace).delete(KINDS[self.kind], self.name)


class TrainingPodsTrigger(BaseTrigger):
    """Fires when another training shows itself, when no pod of the followed one runs any more, or when time is over.

    :param namespace: where the pods are
    :param selector: their labels
    :param container: name of the container that trains
    :param created_after: ISO 8601; earlier pods do not count; None for all
    :param seen: an encoded :class:`~airflow_mlops.training.sightings.Seen`, None before there was any
    :param access: an encoded :class:`~airflow_mlops.hooks.cluster.ClusterAccess`
    :param poll_seconds: time between two looks
    :param deadline: seconds since the epoch
    :param carried: comes back with the event
    """

    def __init__(
        self,
        *,
        namespace: str,
        selector: str,
        container: str,
        created_after: str | None,
        seen: dict[str, Any] | None,
        access: dict[str, Any],
        poll_seconds: float,
        deadline: float,
        carried: dict[str, Any],
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.namespace = namespace
        self.selector = selector
        self.container = container
        self.created_after = created_after
        self.seen = seen
        self.access = access
        self.poll_seconds = poll_seconds
        self.deadline = deadline
        self.carried = carried

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return class path and arguments."""
        return (
            "airflow_mlops.triggers.training.TrainingPodsTrigger",
            {
                "namespace": self.namespace,
                "selector": self.selector,
                "container": self.container,
                "created_after": self.created_after,
                "seen": self.seen,
                "access": self.access,
                "poll_seconds": self.poll_seconds,
                "deadline": self.deadline,
                "carried": self.carried,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look until there is something to see; the task itself has looked a moment ago."""
        cluster = _cluster(self.access, self.namespace)
        while True:
            await asyncio.sleep(self.poll_seconds)
            if _past(self.deadline) or await self._worth_a_look(cluster):
                break
        yield TriggerEvent(to_payload(TrainingEvent(name=self.selector, carried=self.carried)))

    async def _worth_a_look(self, cluster: AsyncCluster) -> bool:
        after = datetime.fromisoformat(self.created_after) if self.created_after else None
        seen = decode(Seen, self.seen) if self.seen else None
        try:
            sighting = newest(await cluster.pods(self.selector), container=self.container, created_after=after)
        except TransientAdapterError as error:
            self.log.warning("%s: %s", self.selector, error)
            return False
        except PermanentAdapterError as error:
            self.log.warning("%s: %s", self.selector, error)
            return True
        if sighting is None:
            return seen is not None
        return sighting.seen != seen or not sighting.is_live


def _past(limit: float | None) -> bool:
    return limit is not None and time.time() > limit


def _cluster(access: dict[str, Any], namespace: str) -> AsyncCluster:
    return AsyncCluster(decode(ClusterAccess, access).async_hook().get_conn, namespace)
