"""A warm pod, and how a step inside it speaks to the worker: its log on one channel, remarks on the other.

The first channel carries the step's log byte for byte, so a worker that comes back says from which byte on it wants
it. The second carries one remark a line, as JSON; empty lines say that the connection lives. Anything else there was
said by somebody else: the interpreter that found no package, the container runtime that found no interpreter.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble

__all__ = ["HEARTBEAT", "Remark", "StepStream", "WarmPodRef", "is_over", "remark", "start_trouble"]

#: What is said while there is nothing to say.
HEARTBEAT = "\n"

_KEY = "airflow-mlops-step"
_MOST_STRAY_CHARACTERS = 4000


@dataclass(frozen=True, kw_only=True)
class WarmPodRef:
    """A pod that was started for several steps.

    :param namespace: where it is
    :param name: its name, the same for every try of its setup
    :param uid: the cluster's name of it, never used again: a later pod of the same name is another one
    :param container: where the steps run
    :param python: interpreter in it
    :param setup: task that starts it
    """

    namespace: str
    name: str
    uid: str
    container: str
    python: str
    setup: str


@dataclass(frozen=True, kw_only=True)
class Remark:
    """What became of an attempt's process.

    :param state: ``started`` or ``found``; ``ended``; ``superseded`` by a newer attempt
    :param code: exit code of the script, or 128 and the signal's number; None where nobody saw it
    """

    state: str
    code: int | None = None


def remark(state: str, code: int | None = None) -> str:
    """Return the line that says so."""
    return json.dumps({_KEY: state, "code": code}) + "\n"


@dataclass
class StepStream:
    """What came through one connection, put together again from pieces of any length.

    :param received: bytes of the log so far, over all connections
    :param remarks: what was said of the process, in order
    :param stray: what somebody else said
    """

    received: int = 0
    remarks: list[Remark] = field(default_factory=list)
    stray: str = ""
    _log: bytes = field(default=b"", repr=False)
    _errors: bytes = field(default=b"", repr=False)

    @property
    def ended(self) -> Remark | None:
        """The remark that the attempt is over, None before it was made."""
        return next((one for one in self.remarks if one.state in ("ended", "superseded")), None)

    def log(self, data: bytes) -> list[str]:
        """Take a piece of the log and return the lines that it completes."""
        self.received += len(data)
        *lines, self._log = (self._log + data).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    def rest(self) -> list[str]:
        """Return the line that the log ends in without a line's end."""
        line, self._log = self._log, b""
        return [line.decode(errors="replace")] if line else []

    def errors(self, data: bytes) -> None:
        """Take a piece of the other channel."""
        *lines, self._errors = (self._errors + data).split(b"\n")
        for line in lines:
            self._say(line.decode(errors="replace"))

    def close(self) -> None:
        """Take the connection for over."""
        line, self._errors = self._errors, b""
        self._say(line.decode(errors="replace"))

    def _say(self, line: str) -> None:
        try:
            document = json.loads(line)
        except ValueError:
            document = None
        if isinstance(document, dict) and _KEY in document:
            code = document.get("code")
            self.remarks.append(Remark(state=str(document[_KEY]), code=code if isinstance(code, int) else None))
        elif line.strip():
            self.stray = f"{self.stray}{line}\n"[-_MOST_STRAY_CHARACTERS:]


def start_trouble(
    report: PodReport, waited_seconds: float, schedule_seconds: float, startup_seconds: float
) -> Trouble | None:
    """Say why waiting for a pod's start is over, None while it is not.

    :param report: where the pod stands
    :param waited_seconds: for how long it has been waited for
    :param schedule_seconds: how long it may wait for a node
    :param startup_seconds: how long it may take otherwise
    """
    trouble = report.trouble
    if not report.phase.is_live:
        ended = Trouble(cause=Cause.GONE, message=f"the pod has ended ({report.phase.value}) before any step ran")
        return trouble or ended
    if report.ending:
        return Trouble(cause=Cause.GONE, message="the pod is being deleted")
    if trouble is not None and not trouble.cause.retryable:
        return trouble
    waits_for_node = trouble is not None and trouble.cause is Cause.UNSCHEDULABLE
    if waited_seconds <= (schedule_seconds if waits_for_node else startup_seconds):
        return None
    slow = Trouble(cause=Cause.SLOW_START, message=f"the pod did not start within {startup_seconds:g} s")
    return trouble or slow


def is_over(report: PodReport) -> bool:
    """Whether nothing runs in the watched container any more."""
    return not report.phase.is_live or (report.phase is PodPhase.RUNNING and report.exit_code is not None)
