"""How a fleet's model servers run in a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.pods import PodVolume

__all__ = ["FleetSettings"]

_DNS = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, kw_only=True)
class FleetSettings:
    """How model servers run in a cluster, the same for all versions; most fields and defaults are the Helm chart's.

    What is changed here reaches servers that are started afterwards.

    :param namespace: where they run
    :param image: made from ``docker/server``, with tag or digest
    :param image_pull_policy: ``IfNotPresent``, ``Always`` or ``Never``
    :param image_pull_secrets: names of secrets
    :param command: what starts the server, where an image of your own has another entry point; it gets the arguments
    :param replicas: pods of a server that is started; whoever scales it later is not overruled
    :param port: TCP port of pod and Service
    :param resources: requests and limits of a pod, as Kubernetes writes them
    :param artifacts: the artefact store as a volume; models have to lie in it. None: the image, or the file system that
        the pods have anyway, holds them
    :param prediction_log: folder in the artefact store for the log of predictions; None keeps it in the pod, and it is
        gone with it. A store on a claim is asked for; without one it is in the pod in any case
    :param service_account: whose rights the pods have, none of which they need; None for the namespace's default one
    :param env: environment variables
    :param user: number of the user, who is not root
    :param group: number of the group
    :param batch_window_ms: milliseconds that a request waits for others to be scored with
    :param startup_seconds: how long a model may take to load
    :param settle_seconds: how long a new pod is ready before it counts, until every proxy has heard of it
    :param drain_seconds: how long a server that ends still answers, until everybody has heard that it goes
    :param scratch: size of /tmp
    :param instance: value of the label ``app.kubernetes.io/instance``; that of the chart's release, and its network
        policies and monitors are for these servers too
    :param labels: more labels of the pods
    :param pod_annotations: annotations of the pods
    :param node_selector: labels that a node must have
    :param tolerations: taints that the pods bear, as Kubernetes writes them
    :param priority_class: name of a priority class
    :param address: how servers are reached: ``dns`` by the name of their Service, from within the cluster; ``ip`` by
        its cluster IP, which nodes reach as well
    """

    namespace: str
    image: str
    image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = "IfNotPresent"
    image_pull_secrets: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    replicas: int = 1
    port: int = 8080
    resources: Mapping[str, Mapping[str, str]] = field(
        default_factory=lambda: {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "512Mi"}}
    )
    artifacts: PodVolume | None = None
    prediction_log: str | None = "predictions"
    service_account: str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    user: int = 10001
    group: int = 10001
    batch_window_ms: float = 5.0
    startup_seconds: int = 300
    settle_seconds: int = 2
    drain_seconds: int = 5
    scratch: str = "256Mi"
    instance: str = "airflow-mlops"
    labels: Mapping[str, str] = field(default_factory=dict)
    pod_annotations: Mapping[str, str] = field(default_factory=dict)
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str | None = None
    address: Literal["dns", "ip"] = "dns"

    def __post_init__(self) -> None:
        """Refuse what no cluster would run."""
        if not _DNS.fullmatch(self.namespace):
            raise SpecificationError("serving.namespace", self.namespace, "the name of a namespace")
        if not self.image:
            raise SpecificationError("serving.image", self.image, "an image from docker/server, with tag or digest")
        if not 1024 <= self.port <= 65535:
            raise SpecificationError("serving.port", self.port, "a TCP port from 1024 to 65535, as nobody is root")
        if not 0 <= self.batch_window_ms <= 1000:
            raise SpecificationError("serving.batch_window_ms", self.batch_window_ms, "0 to 1000 milliseconds")
        for name in ("replicas", "user", "group", "startup_seconds", "settle_seconds", "drain_seconds"):
            least = 0 if name in ("settle_seconds", "drain_seconds") else 1
            if getattr(self, name) < least:
                raise SpecificationError(f"serving.{name}", getattr(self, name), f"{least} or more")
        for name in self.resources:
            if name not in ("requests", "limits"):
                raise SpecificationError(f"serving.resources.{name}", self.resources[name], "requests or limits")
        self._check_log()

    def _check_log(self) -> None:
        if self.prediction_log is not None and not _is_below(self.prediction_log):
            raise SpecificationError("serving.prediction_log", self.prediction_log, "a folder in the artefact store")
        if self.logs_to_store and self.artifacts is not None and self.artifacts.read_only:
            raise SpecificationError(
                "serving.artifacts.read_only", True, "false, or prediction_log null: the log is on the same claim"
            )

    @property
    def logs_to_store(self) -> bool:
        """Whether the log of predictions outlives the pod."""
        return self.prediction_log is not None and self.artifacts is not None and self.artifacts.claim is not None


def _is_below(folder: str) -> bool:
    path = PurePosixPath(folder)
    return bool(folder) and not path.is_absolute() and ".." not in path.parts
