"""What a pod's documents say: where it stands and, if it is in trouble, what happened, in words.

Everything here is pure: the pod and its events come as the plain JSON mappings that the Kubernetes API returns. The
rules are Kubernetes' own, from the reasons that the kubelet, the scheduler and the controllers write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

__all__ = ["Cause", "PodPhase", "PodReport", "Trouble", "read_pod"]

Json = Mapping[str, Any]


class PodPhase(Enum):
    """Where a pod stands."""

    ABSENT = "absent"
    PENDING = "pending"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"

    @property
    def is_live(self) -> bool:
        """Whether the pod's containers may still run."""
        return self in (PodPhase.PENDING, PodPhase.RUNNING)


class Cause(Enum):
    """Why a pod did not do its work; the value says whether another try may mend it."""

    IMAGE = ("image", False)
    REGISTRY = ("registry", True)
    CONFIGURATION = ("configuration", False)
    UNSCHEDULABLE = ("unschedulable", True)
    OUT_OF_MEMORY = ("out of memory", False)
    DEADLINE = ("deadline", False)
    EVICTED = ("evicted", True)
    PREEMPTED = ("preempted", True)
    NODE = ("node", True)
    KILLED = ("killed", True)
    EXIT_CODE = ("exit code", False)
    GONE = ("gone", True)
    SLOW_START = ("slow start", True)

    @property
    def retryable(self) -> bool:
        """Whether another try may end differently without anybody changing anything."""
        return self.value[1]

    @property
    def is_outside(self) -> bool:
        """Whether the cluster ended the pod, so that what the script left says nothing about the reason."""
        return self not in (Cause.EXIT_CODE, Cause.KILLED)


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What is wrong with a pod.

    :param cause: what kind of thing happened
    :param message: one sentence for a person, in Kubernetes' own words where it has some
    """

    cause: Cause
    message: str


@dataclass(frozen=True, kw_only=True)
class PodReport:
    """What the pod's documents say.

    :param phase: where it stands
    :param trouble: why it failed or vanished, or what keeps it from starting; None when all is well
    :param ending: whether somebody asked for its deletion and it still exists
    :param exit_code: of the watched container, None before it ended
    :param last_lines: the end of the container's log, as far as the kubelet kept it
    """

    phase: PodPhase
    trouble: Trouble | None = None
    ending: bool = False
    exit_code: int | None = None
    last_lines: str = ""


_PHASES = {"Running": PodPhase.RUNNING, "Succeeded": PodPhase.SUCCEEDED, "Failed": PodPhase.FAILED}

_IMAGE_REASONS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_REGISTRY_REASONS = frozenset({"RegistryUnavailable", "ImageInspectError"})
_NEVER_RIGHT = frozenset({"InvalidImageName", "ErrImageNeverPull"})
# What registries and the network say when the same image may well be there in a minute.
_PASSING = re.compile(
    r"qps exceeded|rate limit|too many requests|quota exceeded|temporarily unavailable|timed? ?out|timeout"
    r"|bad gateway|service unavailable|connection refused|connection reset|no such host|server misbehaving"
    r"|i/o|TLS handshake",
    re.IGNORECASE,
)
_CONFIGURATION_REASONS = frozenset(
    {
        *("CreateContainerConfigError", "CreateContainerError", "RunContainerError", "ContainerCannotRun"),
        *("StartError", "PreStartHookError", "PostStartHookError"),
    }
)
_POD_REASONS = {
    "Evicted": Cause.EVICTED,
    "DeadlineExceeded": Cause.DEADLINE,
    "Preempting": Cause.PREEMPTED,
    "Preempted": Cause.PREEMPTED,
    "PreemptionByScheduler": Cause.PREEMPTED,
    "PreemptionByKubeScheduler": Cause.PREEMPTED,
    "EvictionByEvictionAPI": Cause.EVICTED,
    "DeletionByTaintManager": Cause.EVICTED,
    "TaintManagerEviction": Cause.EVICTED,
    "DeletionByPodGC": Cause.NODE,
    "TerminationByKubelet": Cause.NODE,
    "NodeLost": Cause.NODE,
    "NodeShutdown": Cause.NODE,
    "Shutdown": Cause.NODE,
    "Terminated": Cause.NODE,
    "NodeAffinity": Cause.NODE,
    "UnexpectedAdmissionError": Cause.NODE,
}
_WORDS = {
    Cause.EVICTED: "was evicted",
    Cause.PREEMPTED: "was preempted by a more important one",
    Cause.DEADLINE: "ran past its deadline (active_deadline_seconds)",
    Cause.NODE: "was ended or refused by its node",
}


def read_pod(pod: Json | None, *, container: str, events: Sequence[Json] = ()) -> PodReport:
    """Say where a pod stands and what is wrong with it.

    :param pod: the pod as JSON, None if the API server does not know it
    :param container: name of the container that does the work
    :param events: the pod's events, oldest first; they outlive it
    """
    if pod is None:
        return PodReport(phase=PodPhase.ABSENT, trouble=_vanished(events))
    status: Json = pod.get("status") or {}
    phase = _PHASES.get(status.get("phase", ""), PodPhase.PENDING)
    ended = _terminated(status, container)
    ending = bool((pod.get("metadata") or {}).get("deletionTimestamp"))
    trouble = None
    if phase is PodPhase.FAILED:
        trouble = _why_failed(status, container)
        if ending and not trouble.cause.is_outside:
            # Scripts end in many ways when they are asked to; what counts is that somebody asked.
            trouble = _vanished(events, f"; {trouble.message}")
    elif phase is PodPhase.PENDING:
        trouble = _why_waiting(status, events)
    return PodReport(
        phase=phase,
        trouble=trouble,
        ending=ending,
        exit_code=ended.get("exitCode"),
        last_lines=str(ended.get("message") or "").strip(),
    )


def _containers(status: Json) -> list[Json]:
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _terminated(status: Json, container: str) -> Json:
    for found in _containers(status):
        if found.get("name") == container:
            return (found.get("state") or {}).get("terminated") or {}
    return {}


def _why_failed(status: Json, container: str) -> Trouble:
    by_pod = _reason_of_pod(status)
    if by_pod is not None:
        return by_pod
    ended = [(one.get("name"), (one.get("state") or {}).get("terminated") or {}) for one in _containers(status)]
    for name, state in ended:
        if state.get("reason") == "OOMKilled":
            return Trouble(
                cause=Cause.OUT_OF_MEMORY,
                message=f"container {name!r} ran out of memory and was killed (OOMKilled); raise its memory limit",
            )
    for name, state in ended:
        if state.get("reason") in _CONFIGURATION_REASONS:
            return Trouble(cause=Cause.CONFIGURATION, message=_could_not_start(name, state))
    failed = [(name, state) for name, state in ended if state.get("exitCode")]
    failed.sort(key=lambda item: item[0] != container)
    if not failed:
        return Trouble(cause=Cause.NODE, message=f"the pod failed before its containers ran{_said(status)}")
    name, state = failed[0]
    code = state["exitCode"]
    if code in (137, 143):
        signal = {137: "SIGKILL", 143: "SIGTERM"}[code]
        return Trouble(cause=Cause.KILLED, message=f"container {name!r} was killed by {signal} (exit code {code})")
    return Trouble(cause=Cause.EXIT_CODE, message=f"container {name!r} ended with exit code {code}")


def _reason_of_pod(status: Json) -> Trouble | None:
    reason = status.get("reason") or ""
    cause = _POD_REASONS.get(reason)
    if cause is None and reason.startswith("OutOf"):
        cause = Cause.NODE  # OutOfcpu, OutOfmemory, …: the node filled up between the scheduler's choice and the start
    if cause is not None:
        return Trouble(cause=cause, message=f"the pod {_WORDS[cause]} ({reason}){_said(status)}")
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True":
            why = condition.get("reason") or ""
            cause = _POD_REASONS.get(why, Cause.EVICTED)
            return Trouble(cause=cause, message=f"the pod {_WORDS[cause]} ({why}){_said(condition)}")
    return None


def _why_waiting(status: Json, events: Sequence[Json]) -> Trouble | None:
    for found in _containers(status):
        waiting = (found.get("state") or {}).get("waiting") or {}
        reason = waiting.get("reason") or ""
        if reason in _IMAGE_REASONS | _REGISTRY_REASONS:
            return _image(found, reason, str(waiting.get("message") or ""), events)
        if reason in _CONFIGURATION_REASONS:
            return Trouble(cause=Cause.CONFIGURATION, message=_could_not_start(found.get("name"), waiting))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return Trouble(cause=Cause.UNSCHEDULABLE, message=f"no node takes the pod{_said(condition)}")
    return None


def _image(found: Json, reason: str, message: str, events: Sequence[Json]) -> Trouble:
    # "Back-off pulling image" says nothing of why; the event of the first failure does.
    pulls = [text for event in events if "Failed to pull image" in (text := str(event.get("message") or ""))]
    detail = pulls[-1] if pulls else message
    permanent = reason in _NEVER_RIGHT or not (reason in _REGISTRY_REASONS or _PASSING.search(detail))
    return Trouble(
        cause=Cause.IMAGE if permanent else Cause.REGISTRY,
        message=f"the image {found.get('image')!r} of container {found.get('name')!r} cannot be pulled "
        f"({reason}): {detail or 'no reason was given'}",
    )


def _could_not_start(name: Any, state: Json) -> str:
    return f"container {name!r} cannot be started ({state.get('reason')}){_said(state)}"


def _vanished(events: Sequence[Json], end: str = "") -> Trouble:
    for event in reversed(events):
        cause = _POD_REASONS.get(str(event.get("reason") or ""))
        if cause is not None:
            said = f"({event.get('reason')}){_said(event)}"
            return Trouble(cause=cause, message=f"the pod {_WORDS[cause]} {said}, and is gone{end}")
    return Trouble(cause=Cause.GONE, message=f"the pod is gone: it was deleted before it had left a result{end}")


def _said(document: Json) -> str:
    message = str(document.get("message") or "").strip()
    return f": {message}" if message else ""
