"""Where jobs run: the places that there are, and what each has to be told once for all of its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.pods import PodResources, PodVolume
from airflow_mlops.training.resources import DockerResources

__all__ = ["Backend", "DockerSettings", "KubernetesSettings", "check_settings", "read_backend"]


class Backend(Enum):
    """A place where jobs run."""

    LOCAL = "local"
    DOCKER = "docker"
    KUBERNETES = "kubernetes"


@dataclass(frozen=True, kw_only=True)
class DockerSettings:
    """What every container gets; see :class:`~airflow_mlops.operators.docker.TrainInDockerOperator`.

    :param image: what to run
    :param python: interpreter in the image
    :param docker_resources: processors, memory and devices of each job
    :param network: name of a network of the engine, ``host`` or ``none``
    :param user: ``uid:gid``
    :param read_only: False for images that must write elsewhere than to ``/tmp``
    :param docker_conn_id: the registry to fetch from
    :param docker_url: the engine's address
    """

    image: str
    python: str | None = None
    docker_resources: DockerResources = field(default_factory=DockerResources)
    network: str | None = None
    user: str | None = None
    read_only: bool = True
    docker_conn_id: str | None = None
    docker_url: str | None = None


@dataclass(frozen=True, kw_only=True)
class KubernetesSettings:
    """What every pod gets; see :class:`~airflow_mlops.operators.kubernetes.TrainOnKubernetesOperator`.

    :param image: what to run
    :param artifacts: the artefact store as a volume
    :param pod_resources: what each pod gets of the cluster
    :param python: interpreter in the image
    :param namespace: where the pods are made
    :param kubernetes_conn_id: the connection to the cluster
    :param config_file: kubeconfig instead of a connection
    :param cluster_context: which of the kubeconfig's contexts
    :param in_cluster: whether to use the account of the pod that Airflow itself runs in
    :param image_pull_policy: when the image is fetched
    :param pod_template_file: whatever else the pods need, as a file
    :param hostnetwork: whether the pods share the node's network
    :param deferrable: whether the triggerer waits instead of a worker
    :param poll_interval_seconds: how often the trigger looks
    :param startup_timeout_seconds: how long the image may be pulled and the containers made
    :param schedule_timeout_seconds: how long a pod may wait for a node
    :param on_finish_action: what becomes of a pod that has ended
    """

    image: str
    artifacts: PodVolume | None = None
    pod_resources: PodResources = field(default_factory=PodResources)
    python: str = "python"
    namespace: str | None = None
    kubernetes_conn_id: str | None = None
    config_file: str | None = None
    cluster_context: str | None = None
    in_cluster: bool | None = None
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    pod_template_file: str | None = None
    hostnetwork: bool = False
    deferrable: bool = False
    poll_interval_seconds: float = 2.0
    startup_timeout_seconds: int = 900
    schedule_timeout_seconds: int = 300
    on_finish_action: Literal["delete_pod", "delete_succeeded_pod", "keep_pod"] = "delete_pod"


_SETTINGS: dict[Backend, type[Any]] = {Backend.DOCKER: DockerSettings, Backend.KUBERNETES: KubernetesSettings}


def read_backend(value: str | Backend, *, where: str) -> Backend:
    """Read the name of a backend.

    :param where: where the name stood, for messages
    :raises SpecificationError: if there is none of this name
    """
    try:
        return Backend(value)
    except ValueError:
        accepted = "one of " + ", ".join(repr(one.value) for one in Backend)
        raise SpecificationError(where, value, accepted) from None


def check_settings(backend: Backend, given: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Return a backend's settings as they were given, after reading all of them strictly.

    :param given: JSON values by field
    :param where: where they stood, for messages
    :raises SpecificationError: on an unknown field, a missing one or a wrong value
    """
    fields = _SETTINGS.get(backend)
    if fields is None:
        if given:
            raise SpecificationError(where, dict(given), f"nothing: the backend {backend.value!r} has no settings")
        return {}
    decode(fields, given, where=where)
    return dict(given)
