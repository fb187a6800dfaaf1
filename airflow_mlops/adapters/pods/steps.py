"""Steps inside a warm pod: started once, followed by whoever asks."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.adapters.pods.attempts import examine, explain
from airflow_mlops.adapters.pods.exec import ExecEnd, PodExec
from airflow_mlops.adapters.pods.warm import WarmPods, failure
from airflow_mlops.container.attempt import CLAIMED, AttemptFolder
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.warm_pod import run_command, running_command, stop_command
from airflow_mlops.exceptions import ContractError, MLOpsError, PermanentAdapterError, TransientAdapterError
from airflow_mlops.training.attempts import Attempt, Output
from airflow_mlops.training.contract import JobRequest, JobResult
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble
from airflow_mlops.training.warm import Remark, StepStream, WarmPodRef, is_over

__all__ = ["StepEnd", "WarmSteps"]

# Whoever shows a log in the pod speaks at least every five seconds.
_SILENCE_SECONDS = 30.0
_MOST_EMPTY_ROUNDS = 6
_MOST_ENDING_ROUNDS = 75
_PAUSE_SECONDS = 0.25
_LONGEST_PAUSE_SECONDS = 4.0
_NEVER = re.compile(r"executable file not found|no such file or directory|permission denied", re.IGNORECASE)
#: Signals end what shows the log, too: nobody knows from this what became of the step.
_SIGNALLED = (137, 143)


@dataclass(frozen=True, kw_only=True)
class StepEnd:
    """Why a step is followed no longer.

    :param remark: what was said of its process; None if the pod is over
    :param pod: where the pod stands; None if it was not asked, because the step ended by itself
    """

    remark: Remark | None = None
    pod: PodReport | None = None


@dataclass(kw_only=True)
class WarmSteps:
    """One step's attempts in a warm pod; see :class:`~airflow_mlops.training.attempts.AttemptWorld`.

    :param pods: the pod's namespace
    :param commands: how to run something in it
    :param ref: the pod
    :param folder: the job's folder in the store
    :param entrypoint: path or module as the container sees it
    :param request: what to ask for in an attempt
    """

    pods: WarmPods
    commands: PodExec
    ref: WarmPodRef
    folder: AttemptFolder
    entrypoint: str
    request: Callable[[str], JobRequest]

    def look(self) -> Sequence[Attempt]:
        """Return all attempts of this job that have left a trace."""
        claims, names = self.folder.claims(), self.folder.names()
        unsettled = [name for name in names if name in claims and self._directory(name).exit_status() is None]
        living = self._living(unsettled) if unsettled else frozenset()
        return tuple(
            Attempt(
                name=name,
                claimed=name in claims,
                output=Output.OPEN if name in living else examine(self.folder, name).output,
                pod=PodPhase.RUNNING if name in living else PodPhase.ABSENT,
            )
            for name in names
        )

    def submit(self, attempt: str, seen: Sequence[Attempt]) -> bool:
        """Prepare the attempt's directory; its script is started by whoever follows it first."""
        self.folder.prepare(attempt, self.request(attempt))
        return not self.folder.claims() - {one.name for one in seen if one.claimed}

    def pause(self, attempt: str) -> None:
        """Let some time pass."""
        del attempt
        time.sleep(_PAUSE_SECONDS)

    def follow(self, attempt: str, show: Callable[[str], None]) -> StepEnd:
        """Start the attempt's script unless it was ever started, and wait until it or the pod is over.

        :param show: takes the lines of its log
        :raises PermanentAdapterError: if nothing can be run in the pod
        :raises TransientAdapterError: if the pod lives and cannot be reached
        """
        stream, empty_rounds = StepStream(), 0

        def take(data: bytes) -> None:
            for line in stream.log(data):
                show(line)

        while True:
            received, began = stream.received, time.monotonic()
            end = self.commands.run(
                self.ref.name,
                self.ref.container,
                run_command(self.ref.python, str(self._directory(attempt).path), self.entrypoint, stream.received),
                output=take,
                errors=stream.errors,
                silence_seconds=_SILENCE_SECONDS,
            )
            stream.close()
            report = None if stream.ended else self.pods.report(self.ref)
            if report is None or is_over(report):
                for line in stream.rest():
                    show(line)
                return StepEnd(remark=stream.ended, pod=report)
            lasted = time.monotonic() - began > 2 * _SILENCE_SECONDS
            empty_rounds = 0 if lasted or stream.received > received else empty_rounds + 1
            self._judge(end, stream, empty_rounds, report)
            time.sleep(min(_PAUSE_SECONDS * 2**empty_rounds, _LONGEST_PAUSE_SECONDS))

    def stop(self, attempt: str, grace_seconds: float) -> None:
        """End the attempt's processes, or see to it that they never begin."""
        self._call(stop_command(self.ref.python, str(self._directory(attempt).path), grace_seconds))

    def conclude(self, attempt: str, end: StepEnd) -> JobResult:
        """Return the verified result of an attempt that is over.

        :param end: how following it ended
        :raises MLOpsError: if there is none, with what happened
        """
        found = examine(self.folder, attempt)
        if found.output is Output.VERIFIED and found.result is not None:
            return found.result
        if end.pod is not None:
            raise self._pod_is_over(attempt, end.pod)
        if end.remark is not None and end.remark.code == CLAIMED and end.remark.state == "superseded":
            raise TransientAdapterError(f"attempt {attempt}: a newer one takes its place")
        raise self._out_of_memory(attempt) or found.problem or ContractError(f"attempt {attempt}: it never began")

    def _judge(self, end: ExecEnd, stream: StepStream, empty_rounds: int, report: PodReport) -> None:
        where = f"pod {self.ref.namespace}/{self.ref.name}"
        said = end.problem or stream.stray.strip()
        if report.ending:
            # What runs in it has its grace period; after that only a lost node keeps it.
            if empty_rounds >= _MOST_ENDING_ROUNDS:
                raise TransientAdapterError(f"{where}: it has been ending for minutes; is its node lost?")
            return
        if (end.code is not None and end.code not in _SIGNALLED) or _NEVER.search(end.problem):
            raise PermanentAdapterError(f"{where}: a step cannot be run in it ({_code(end)}): {said}")
        if empty_rounds >= _MOST_EMPTY_ROUNDS:
            raise TransientAdapterError(f"{where}: it runs, but cannot be reached: {said or 'the connection breaks'}")

    def _pod_is_over(self, attempt: str, report: PodReport) -> MLOpsError:
        error: MLOpsError
        if report.phase.is_live or (report.trouble is None and attempt not in self.folder.claims()):
            gone = Trouble(cause=Cause.GONE, message=f"its container {self.ref.container!r} has ended")
            error = failure(gone, self.ref, report.last_lines)
        else:
            error = explain(report, self.folder, attempt, f"{self.ref.namespace}/{self.ref.name}")
        # Another try of this task would look for the same pod.
        return PermanentAdapterError(f"{error}\n{_hint(self.ref)}")

    def _out_of_memory(self, attempt: str) -> MLOpsError | None:
        directory = self._directory(attempt)
        try:
            seen = json.loads((directory.path / "container.json").read_text())
        except (OSError, ValueError):
            return None
        if not seen.get("out_of_memory"):
            return None
        limit = seen.get("memory_bytes")
        room = f" of {limit / 2**20:.0f} MiB" if isinstance(limit, int) else ""
        return PermanentAdapterError(
            f"pod {self.ref.namespace}/{self.ref.name}: the script was killed because the pod's memory{room} ran out; "
            f"raise pod_resources.memory of task {self.ref.setup!r}; last lines of its log:\n{directory.log_tail()}"
        )

    def _living(self, names: Sequence[str]) -> frozenset[str]:
        for _ in range(_MOST_EMPTY_ROUNDS):
            end, output, said = self._call(
                running_command(self.ref.python, [str(self._directory(name).path) for name in names])
            )
            if end.code == 0:
                return frozenset(output.split())
            if is_over(self.pods.report(self.ref)):
                return frozenset()
            time.sleep(_PAUSE_SECONDS)
        raise TransientAdapterError(
            f"pod {self.ref.namespace}/{self.ref.name}: it runs, but does not say which steps do ({_code(end)}): "
            f"{end.problem or said}"
        )

    def _call(self, command: Sequence[str]) -> tuple[ExecEnd, str, str]:
        output, errors = bytearray(), bytearray()
        end = self.commands.run(
            self.ref.name,
            self.ref.container,
            command,
            output=output.extend,
            errors=errors.extend,
            silence_seconds=_SILENCE_SECONDS,
        )
        return end, output.decode(errors="replace"), errors.decode(errors="replace").strip()

    def _directory(self, attempt: str) -> JobDirectory:
        return self.folder.directory(attempt)


def _code(end: ExecEnd) -> str:
    return "no exit code" if end.code is None else f"exit code {end.code}"


def _hint(ref: Any) -> str:
    return f"Steps share the pod that task {ref.setup!r} starts: clear that task, and the steps with it, to start again"
