"""Following a pod to its end."""

from __future__ import annotations

import time
from typing import Any

from airflow.providers.cncf.kubernetes.utils.container import container_is_completed, container_is_running
from airflow.providers.cncf.kubernetes.utils.pod_manager import PodManager, PodPhase

__all__ = ["PodWatch"]


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
