"""A pod that is started once and runs several steps."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from airflow_mlops.adapters.pods.kubernetes import PodClient
from airflow_mlops.exceptions import MLOpsError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.phase import PodReport, Trouble, read_pod
from airflow_mlops.training.warm import WarmPodRef, start_trouble

__all__ = ["SPEC_LABEL", "WarmPods", "failure"]

#: Digest of what the pod is made of; one that is made of something else is replaced.
SPEC_LABEL = "airflow-mlops/pod-spec"

_LOOK_SECONDS = 0.2


class WarmPods:
    """Makes, finds and removes warm pods.

    :param pods: the namespace
    :param patience_seconds: how long an earlier pod of the same name may take to end
    """

    def __init__(self, pods: PodClient, *, patience_seconds: float = 300.0) -> None:
        self._pods = pods
        self._patience_seconds = patience_seconds

    def ensure(self, pod: Any, container: str) -> tuple[str, bool]:
        """Make the pod unless it is there.

        :param pod: the pod as the client's own object, with :data:`SPEC_LABEL`
        :param container: where steps will run
        :return: the pod's uid, and whether this call made it
        :raises TransientAdapterError: if an earlier pod of this name does not end
        """
        name, wanted = pod.metadata.name, pod.metadata.labels[SPEC_LABEL]
        deadline = time.monotonic() + self._patience_seconds
        while True:
            found = self._pods.get(name)
            if found is None:
                created = self._pods.create(pod)
                if created is not None:
                    return str(created.metadata.uid), True
                continue
            report = read_pod(found, container=container)
            if not report.ending:
                if report.phase.is_live and (found["metadata"].get("labels") or {}).get(SPEC_LABEL) == wanted:
                    return str(found["metadata"]["uid"]), False
                self._pods.delete(name)
            if time.monotonic() > deadline:
                raise TransientAdapterError(
                    f"pod {self._pods.namespace}/{name}: an earlier one has been ending for "
                    f"{self._patience_seconds:.0f} s; is its node lost?"
                )
            time.sleep(_LOOK_SECONDS)

    def await_start(self, ref: WarmPodRef, *, schedule_seconds: float, startup_seconds: float) -> None:
        """Wait until steps can run in the pod.

        :param schedule_seconds: how long it may wait for a node
        :param startup_seconds: how long it may take altogether once it has one
        :raises AdapterError: if it does not start, with the reason
        """
        began = time.monotonic()
        while True:
            pod = self._find(ref)
            if pod is not None and _runs(pod, ref.container):
                return
            report = self._report(ref, pod)
            trouble = start_trouble(report, time.monotonic() - began, schedule_seconds, startup_seconds)
            if trouble is not None:
                raise failure(trouble, ref, report.last_lines)
            time.sleep(_LOOK_SECONDS)

    def report(self, ref: WarmPodRef) -> PodReport:
        """Say where the pod stands; a later one of the same name is not this pod."""
        return self._report(ref, self._find(ref))

    def delete(self, ref: WarmPodRef) -> bool:
        """Ask for the pod's deletion, and return whether it was there."""
        if self._find(ref) is None:
            return False
        self._pods.delete(ref.name)
        return True

    def _find(self, ref: WarmPodRef) -> Mapping[str, Any] | None:
        pod = self._pods.get(ref.name)
        return pod if pod is not None and pod["metadata"]["uid"] == ref.uid else None

    def _report(self, ref: WarmPodRef, pod: Mapping[str, Any] | None) -> PodReport:
        report = read_pod(pod, container=ref.container)
        if report.trouble is None:
            return report
        events = [
            event
            for event in self._pods.events(ref.name)
            if (event.get("involvedObject") or {}).get("uid") in (None, ref.uid)
        ]
        return read_pod(pod, container=ref.container, events=events)


def failure(trouble: Trouble, ref: WarmPodRef, last_lines: str = "") -> MLOpsError:
    """Return what a pod's trouble means as an error.

    :param last_lines: the end of a log that may explain more
    """
    kind = TransientAdapterError if trouble.cause.retryable else PermanentAdapterError
    lines = f"; last lines of its log:\n{last_lines}" if last_lines else ""
    return kind(f"pod {ref.namespace}/{ref.name}: {trouble.message}{lines}")


def _runs(pod: Mapping[str, Any], container: str) -> bool:
    status = pod.get("status") or {}
    if status.get("phase") != "Running" or (pod.get("metadata") or {}).get("deletionTimestamp"):
        return False
    return any(
        one.get("name") == container and (one.get("state") or {}).get("running") is not None
        for one in status.get("containerStatuses") or ()
    )
