"""What a training's pod looks like: resources, volumes, names and labels, as plain Kubernetes documents."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.resources import size_in_bytes

__all__ = [
    "ATTEMPT_LABEL",
    "DIRECTORY_ANNOTATION",
    "JOB_LABEL",
    "MODEL_LABEL",
    "TASK_LABEL",
    "PodResources",
    "PodVolume",
    "SecretVariable",
    "label_value",
    "pod_name",
    "pod_overlay",
]

#: The job: same task instance, same request.
JOB_LABEL = "airflow-mlops/job"
#: The task instance, whatever it asks for.
TASK_LABEL = "airflow-mlops/task"
ATTEMPT_LABEL = "airflow-mlops/attempt"
MODEL_LABEL = "airflow-mlops/model"
#: Where the attempt's job directory is, as the worker sees it.
DIRECTORY_ANNOTATION = "airflow-mlops/directory"

_PROCESSORS = re.compile(r"[0-9]+(\.[0-9]{1,3})?|[0-9]+m")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_MIG = re.compile(r"[0-9]+g\.[0-9]+gb(\.me)?")


@dataclass(frozen=True, kw_only=True)
class PodVolume:
    """Storage that the pod sees; exactly one source.

    :param mount_path: where it appears in the container
    :param claim: name of a persistent volume claim, which may stand for a bucket
    :param host_path: folder of the node, for clusters of one node
    :param sub_path: folder within the volume
    :param read_only: whether the pod must not write
    """

    mount_path: str
    claim: str | None = None
    host_path: str | None = None
    sub_path: str | None = None
    read_only: bool = False

    def __post_init__(self) -> None:
        """Refuse relative paths and anything but one source."""
        if not self.mount_path.startswith("/"):
            raise SpecificationError("PodVolume.mount_path", self.mount_path, "an absolute path")
        if (self.claim is None) == (self.host_path is None):
            raise SpecificationError(
                "PodVolume.claim", self.claim, "either a claim or a host_path, and not both of them"
            )
        if self.host_path is not None and not self.host_path.startswith("/"):
            raise SpecificationError("PodVolume.host_path", self.host_path, "an absolute path")

    def source(self, name: str) -> dict[str, Any]:
        """Return the pod's entry for the volume."""
        if self.claim is not None:
            return {"name": name, "persistentVolumeClaim": {"claimName": self.claim, "readOnly": self.read_only}}
        return {"name": name, "hostPath": {"path": self.host_path, "type": "Directory"}}

    def mount(self, name: str) -> dict[str, Any]:
        """Return the container's entry for the volume."""
        entry: dict[str, Any] = {"name": name, "mountPath": self.mount_path, "readOnly": self.read_only}
        return entry | ({"subPath": self.sub_path} if self.sub_path else {})


@dataclass(frozen=True, kw_only=True)
class SecretVariable:
    """An environment variable whose value stays in a Kubernetes secret.

    :param variable: the variable's name
    :param secret: the secret's name
    :param key: which of its entries
    """

    variable: str
    secret: str
    key: str

    def __post_init__(self) -> None:
        """Refuse empty names."""
        for name in ("variable", "secret", "key"):
            if not getattr(self, name):
                raise SpecificationError(f"SecretVariable.{name}", "", "a name")


@dataclass(frozen=True, kw_only=True)
class PodResources:
    """What a training pod gets of the cluster; what is not said is left to the cluster.

    :param cpu: processors to reserve, ``2`` or ``500m``
    :param memory: memory to reserve, ``2Gi``
    :param cpu_limit: most processors; None for no limit, so that idle ones may be used
    :param memory_limit: most memory; None for ``memory``, so that a pod never lives on what it did not reserve
    :param ephemeral_storage: room on the node's disk, ``10Gi``
    :param shared_memory: size of ``/dev/shm``, which data loaders with several processes need
    :param gpus: how many
    :param gpu_kind: the device plugin's resource
    :param mig_profile: slice of an NVIDIA GPU instead of a whole one, ``1g.5gb``
    :param node_selector: labels that the node must have
    :param tolerations: taints that the pod bears, as Kubernetes writes them; spot nodes have one
    :param priority_class: name of a priority class
    :param service_account: whose rights the pod has
    :param volumes: storage beside the artefact store
    :param secrets: environment variables by reference
    """

    cpu: str | None = None
    memory: str | None = None
    cpu_limit: str | None = None
    memory_limit: str | None = None
    ephemeral_storage: str | None = None
    shared_memory: str | None = None
    gpus: int = 0
    gpu_kind: str = "nvidia.com/gpu"
    mig_profile: str | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, Any], ...] = ()
    priority_class: str | None = None
    service_account: str | None = None
    volumes: tuple[PodVolume, ...] = ()
    secrets: tuple[SecretVariable, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what the API server would refuse later, or would take and never schedule."""
        for name in ("cpu", "cpu_limit"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and _PROCESSORS.fullmatch(value)):
                raise SpecificationError(f"PodResources.{name}", value, "processors as text: '2', '0.5' or '500m'")
        for name in ("memory", "memory_limit", "ephemeral_storage", "shared_memory"):
            value = getattr(self, name)
            if value is not None:
                size_in_bytes(value, where=f"PodResources.{name}")
        if self.gpus < 0 or (self.mig_profile and not self.gpus):
            raise SpecificationError("PodResources.gpus", self.gpus, "how many GPUs, or how many slices of mig_profile")
        if self.mig_profile is not None and not _MIG.fullmatch(self.mig_profile):
            raise SpecificationError("PodResources.mig_profile", self.mig_profile, "a profile such as '1g.5gb'")
        self._check_limit()

    def _check_limit(self) -> None:
        if self.memory is None or self.memory_limit is None:
            return
        sizes = [size_in_bytes(value, where="PodResources.memory") for value in (self.memory, self.memory_limit)]
        if sizes[1] < sizes[0]:
            raise SpecificationError(
                "PodResources.memory_limit", self.memory_limit, f"at least memory, which is {self.memory}"
            )

    @property
    def requirements(self) -> dict[str, dict[str, str]]:
        """Requests and limits of the container."""
        requests = {"cpu": self.cpu, "memory": self.memory, "ephemeral-storage": self.ephemeral_storage}
        limits = {"cpu": self.cpu_limit, "memory": self.memory_limit or self.memory}
        if self.gpus:
            kind = f"nvidia.com/mig-{self.mig_profile}" if self.mig_profile else self.gpu_kind
            # Devices are never shared or overcommitted: the limit is the request.
            limits[kind] = str(self.gpus)
        both = {"requests": requests, "limits": limits}
        return {name: {key: value for key, value in one.items() if value} for name, one in both.items()}


def pod_name(task_id: str, *identity: str) -> str:
    """Name a pod so that the same identity always gives the same name, and another identity another.

    :param task_id: for people
    :param identity: everything that tells this pod from others
    """
    readable = re.sub(r"[^a-z0-9]+", "-", task_id.lower()).strip("-")[:40].strip("-") or "train"
    return f"{readable}-{_digest(*identity)[:16]}"


def label_value(*identity: str) -> str:
    """Return a label's value: the text itself where Kubernetes accepts it, else a digest."""
    text = identity[0] if len(identity) == 1 else ""
    return text if _LABEL.fullmatch(text) else _digest(*identity)[:32]


def pod_overlay(
    *,
    container: str,
    command: Sequence[str],
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    resources: PodResources,
    artifacts: PodVolume | None,
    group: int | None,
) -> dict[str, Any]:
    """Return what this training adds to the user's pod.

    :param container: name of the container that trains
    :param artifacts: the artefact store as a volume, None where the user's pod has it already
    :param group: group of the job's folder, so that a pod of any user may write its result; None where it is added to
        the security context of the user's pod
    """
    volumes = [*([artifacts] if artifacts else []), *resources.volumes]
    named = [(f"mlops-{position}", volume) for position, volume in enumerate(volumes)]
    sources = [volume.source(name) for name, volume in named]
    mounts = [volume.mount(name) for name, volume in named]
    if resources.shared_memory:
        sources.append({"name": "mlops-shm", "emptyDir": {"medium": "Memory", "sizeLimit": resources.shared_memory}})
        mounts.append({"name": "mlops-shm", "mountPath": "/dev/shm"})  # noqa: S108 - the pod's own
    main: dict[str, Any] = {
        "name": container,
        "command": list(command),
        "volumeMounts": mounts,
        "env": [
            {"name": one.variable, "valueFrom": {"secretKeyRef": {"name": one.secret, "key": one.key}}}
            for one in resources.secrets
        ],
    }
    if any(resources.requirements.values()):
        # An empty one would take the place of what the user's pod template says.
        main["resources"] = resources.requirements
    spec: dict[str, Any] = {
        "containers": [main],
        "volumes": sources,
        "nodeSelector": dict(resources.node_selector),
        "tolerations": [dict(one) for one in resources.tolerations],
        "priorityClassName": resources.priority_class,
        "serviceAccountName": resources.service_account,
        "securityContext": {} if group is None else {"supplementalGroups": [group]},
    }
    return {
        "metadata": {"labels": dict(labels), "annotations": dict(annotations)},
        "spec": {key: value for key, value in spec.items() if value},
    }


def _digest(*identity: str) -> str:
    return hashlib.sha256("\0".join(identity).encode()).hexdigest()
