"""A custom resource whose controller runs a training: what it is called, where it stands, what its document holds.

Everything here is pure. A resource stands where a pod stands (:class:`~airflow_mlops.training.phase.PodReport`), so
whoever follows trainings needs to know nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.pods import pod_name

__all__ = ["Json", "ResourceKind", "age_seconds", "failed", "lost_fields", "merged", "resource_name", "suspended"]

Json = Mapping[str, Any]

# KubeRay takes 47 characters, so that the names that it makes of ours are still names.
_LONGEST_NAME = 47
_DIGEST = 16


@dataclass(frozen=True, kw_only=True)
class ResourceKind:
    """One kind of custom resource.

    :param kind: as its documents say
    :param group: the API group
    :param version: of the group
    :param plural: as addresses say
    :param controller: what has to be installed in the cluster, for people
    :param container: name of the container that trains, in the pods that the controller makes
    :param read: says where a document stands
    """

    kind: str
    group: str
    version: str
    plural: str
    controller: str
    container: str
    read: Callable[[Json], PodReport]

    @property
    def definition(self) -> str:
        """The definition's full name."""
        return f"{self.plural}.{self.group}/{self.version}"

    @property
    def api_version(self) -> str:
        """What stands in ``apiVersion``."""
        return f"{self.group}/{self.version}"

    def report(self, found: Json | None) -> PodReport:
        """Say where the resource stands; ``None`` if the API server does not know it."""
        if found is None:
            return PodReport(
                phase=PodPhase.ABSENT,
                trouble=Trouble(cause=Cause.GONE, message="it is gone: it was deleted before it had left a result"),
            )
        report = self.read(found)
        if not (found.get("metadata") or {}).get("deletionTimestamp"):
            return report
        return replace(report, ending=True)


def failed(cause: Cause, status: str, *, reason: str = "", message: str = "") -> PodReport:
    """Report a failure in the controller's own words.

    :param status: the state's name
    """
    return PodReport(
        phase=PodPhase.FAILED, trouble=Trouble(cause=cause, message=f"it is {_words(status, reason, message)}")
    )


def suspended(status: str, *, reason: str = "", message: str = "") -> PodReport:
    """Report that nothing runs because a person or a queue holds it back."""
    words = _words(status, reason, message)
    return PodReport(
        phase=PodPhase.PENDING,
        trouble=Trouble(cause=Cause.UNSCHEDULABLE, message=f"it is {words}; a queue or a person holds it back"),
    )


def resource_name(task_id: str, *identity: str) -> str:
    """Name a resource so that the same identity always gives the same name, and another identity another.

    :param task_id: for people
    :param identity: everything that tells this resource from others
    """
    name = pod_name(task_id, *identity)
    readable, digest = name[: -_DIGEST - 1], name[-_DIGEST:]
    # Services are named after it, and their names begin with a letter.
    readable = readable if readable[0].isalpha() else f"t-{readable}"
    return f"{readable[: _LONGEST_NAME - _DIGEST - 1].strip('-')}-{digest}"


def age_seconds(found: Json, now: datetime) -> float:
    """Return how long ago the API server took the resource in, 0 where it does not say."""
    created = (found.get("metadata") or {}).get("creationTimestamp")
    return (now - datetime.fromisoformat(created)).total_seconds() if created else 0.0


def merged(document: Json, changes: Json) -> dict[str, Any]:
    """Return a document with changes: mappings are merged, everything else is replaced."""
    result = dict(document)
    for key, value in changes.items():
        ours = result.get(key)
        result[key] = merged(ours, value) if isinstance(ours, Mapping) and isinstance(value, Mapping) else value
    return result


def lost_fields(sent: Any, stored: Any, where: str = "spec") -> Sequence[str]:
    """Return what the API server did not keep, because the cluster's definition does not know it."""
    if isinstance(sent, Mapping):
        known = stored if isinstance(stored, Mapping) else {}
        return [
            path
            for key, value in sent.items()
            for path in (lost_fields(value, known[key], f"{where}.{key}") if key in known else [f"{where}.{key}"])
        ]
    if isinstance(sent, Sequence) and not isinstance(sent, str):
        kept = list(stored) if isinstance(stored, Sequence) else []
        kept += [None] * (len(sent) - len(kept))
        return [
            path
            for position, value in enumerate(sent)
            for path in lost_fields(value, kept[position], f"{where}[{position}]")
        ]
    return []


def _words(status: str, reason: str, message: str) -> str:
    text = status if reason in ("", status) else f"{status} ({reason})"
    return f"{text}: {message.strip()}" if message.strip() else text
