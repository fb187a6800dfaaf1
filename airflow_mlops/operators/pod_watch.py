"""What the operators of pods add to Airflow's own: following a pod to its end, and who may write where."""

from __future__ import annotations

import time
from typing import Any

from airflow.providers.cncf.kubernetes.utils.container import container_is_completed, container_is_running
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodPhase
from kubernetes.client import V1PodSecurityContext  # noqa: TID253 - the pod operator has imported it already

__all__ = ["PodWatch", "join_group"]


class PodWatch(PodManager):
    """Airflow's pod manager, for which a pod that has ended is over.

    A kubelet that ends a pod at its deadline may leave the container's status at ``running`` for ever; Airflow's own
    manager would follow such a pod for ever, too.
    """

    def container_is_running(self, pod: Any, container_name: str) -> bool:
        """Whether the container runs in a pod that has not ended."""
        found = self.read_pod(pod)
        return not _over(found) and container_is_running(found, container_name)

    def await_container_completion(self, pod: Any, container_name: str, polling_time: float = 1) -> None:
        """Wait for the container's or the pod's end."""
        while True:
            found = self.read_pod(pod)
            if _over(found) or container_is_completed(found, container_name):
                return
            time.sleep(polling_time)


def _over(pod: Any) -> bool:
    return pod.status.phase in PodPhase.terminal_states


def join_group(pod: Any, group: int) -> None:
    """Let a pod of any user write into the folder of a group, beside what its security context says already."""
    context = pod.spec.security_context or V1PodSecurityContext()
    if isinstance(context, dict):
        groups = context.get("supplementalGroups") or []
        pod.spec.security_context = {**context, "supplementalGroups": sorted({*groups, group})}
        return
    context.supplemental_groups = sorted({*(context.supplemental_groups or ()), group})
    pod.spec.security_context = context
