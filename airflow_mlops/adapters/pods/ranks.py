"""What the processes of an attempt have left, and which of them is to blame where it did not succeed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_mlops.adapters.pods.attempts import Finding, examine
from airflow_mlops.container.attempt import CLAIMED
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.outcome import Outcome, outcome
from airflow_mlops.container.ranks import RankFolder
from airflow_mlops.exceptions import (
    ContractError,
    MLOpsError,
    PeerLostError,
    PermanentAdapterError,
    TransientAdapterError,
)
from airflow_mlops.training.attempts import Output
from airflow_mlops.training.contract import RESULT
from airflow_mlops.training.indexed import JobReport, MemberReport
from airflow_mlops.training.phase import Cause, PodPhase, PodReport, Trouble, read_pod
from airflow_mlops.training.ports import JobPhase

__all__ = ["GroupFailure", "examine_ranks", "explain_ranks", "of_trouble"]

Events = Callable[[str], Sequence[Mapping[str, Any]]]

# The lower, the more likely the reason of the others: what the cluster did, what the script did, a pod that is gone or
# a process that missed another one, and a pod that the cluster made again where there was nothing left to do.
_CLUSTER, _SCRIPT, _LOST, _AFTERWARDS = range(4)
#: A process that misses another one may say so before anybody has noted the other's end; the cluster removes the pods
#: of a Job that has failed, but not as soon.
_NOTICE_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class GroupFailure:
    """Why several processes did not succeed together.

    :param error: names the rank to blame, what happened and its last lines
    :param exit_code: of that rank's container, None where it is not known
    """

    error: MLOpsError
    exit_code: int | None = None


@dataclass(frozen=True, kw_only=True)
class _Suspect:
    order: tuple[int, float, int]
    who: str
    short: str
    error: MLOpsError
    exit_code: int | None


def examine_ranks(folder: RankFolder, world_size: int) -> Finding:
    """Read what an attempt has left, after its pods have ended: rank 0's result counts if all ranks succeeded."""
    found = examine(folder.attempts, folder.name)
    if found.output is not Output.VERIFIED:
        return found
    for rank in range(1, world_size):
        told = outcome(folder.directory(rank), running=False)
        if told.problem is not None:
            return Finding(output=Output.UNUSABLE, problem=told.problem)
    return found


def explain_ranks(
    report: JobReport, folder: RankFolder, world_size: int, job: str, *, container: str, events: Events
) -> GroupFailure:
    """Say why an attempt did not succeed, by the rank that failed first or whose pod the cluster ended.

    :param report: what the cluster says, after all pods have ended
    :param job: the Job's name, for the message
    :param container: name of the container that trains
    :param events: returns what happened to a pod that may be gone
    """
    pods = {one.pod: one for one in report.members}
    ranks = {one.rank: one.pod for one in report.members if one.rank is not None}
    suspects = []
    for rank in range(world_size):
        pod = folder.owner(rank) or ranks.get(rank)
        if pod is None:
            continue
        member = pods.pop(pod, None)
        seen = member.report if member else read_pod(None, container=container, events=events(pod))
        suspects.append(_suspect(folder.directory(rank), rank, f"rank {rank} of {world_size} (pod {pod})", seen))
    suspects += [_without_rank(one) for one in pods.values()]
    guilty = sorted((one for one in suspects if one is not None), key=lambda one: one.order)
    if not guilty:
        return GroupFailure(error=_nobody(report, folder, world_size, job))
    first, *others = guilty
    text = f"job {job}: {first.who}: {first.error}"
    if others:
        text += "\nthereafter: " + "; ".join(f"{one.who}: {one.short}" for one in others)
    return GroupFailure(error=type(first.error)(text), exit_code=first.exit_code)


def of_trouble(trouble: Trouble, lines: str = "") -> MLOpsError:
    """Turn what is wrong with a pod into an error that another try may mend, or not."""
    kind = TransientAdapterError if trouble.cause.retryable else PermanentAdapterError
    return kind(f"{trouble.message}; last lines of its log:\n{lines}" if lines else trouble.message)


def _suspect(directory: JobDirectory, rank: int, who: str, report: PodReport) -> _Suspect | None:
    told = outcome(directory, running=False)
    trouble = report.trouble
    if told.phase is JobPhase.SUCCEEDED and report.phase is not PodPhase.FAILED:
        return None
    kind, gone = _kind(told, trouble), trouble is not None and trouble.cause is Cause.GONE
    missed = _missed(told)
    lines = directory.log_tail() or report.last_lines
    if trouble is not None and (kind == _CLUSTER or (gone and kind == _LOST and not missed)):
        error, short = of_trouble(trouble, lines), trouble.message
    elif told.problem is not None and told.phase is JobPhase.FAILED:
        error, short = _plain(told.problem, passing=missed), _short(told)
    elif trouble is not None:
        error, short = of_trouble(trouble, lines), trouble.message
    else:
        error = TransientAdapterError(f"it ended without a result: {told.problem}")
        short = "ended without a result"
    order = (kind, _ended_at(directory) - (_NOTICE_SECONDS if gone and not missed else 0.0), rank)
    return _Suspect(order=order, who=who, short=short, error=error, exit_code=report.exit_code)


def _kind(told: Outcome, trouble: Trouble | None) -> int:
    gone = trouble is not None and trouble.cause is Cause.GONE
    if trouble is not None and trouble.cause.is_outside and not gone:
        return _CLUSTER
    # Who is asked to end does not know why.
    asked = gone and (told.result is None or _said(told, "SystemExit", "KeyboardInterrupt"))
    return _LOST if asked or _missed(told) else _SCRIPT


def _missed(told: Outcome) -> bool:
    return _said(told, PeerLostError.__name__)


def _said(told: Outcome, *errors: str) -> bool:
    return told.result is not None and str(told.result.error or "").startswith(errors)


def _without_rank(member: MemberReport) -> _Suspect | None:
    """Judge a pod that ended before it had a rank."""
    trouble = member.report.trouble
    if trouble is None:
        return None
    late = member.report.exit_code == CLAIMED or trouble.cause is Cause.GONE
    return _Suspect(
        order=(_AFTERWARDS if late else _SCRIPT, 0.0, 0),
        who=f"pod {member.pod}, which has no rank",
        short=trouble.message,
        error=of_trouble(trouble, member.report.last_lines),
        exit_code=member.report.exit_code,
    )


def _nobody(report: JobReport, folder: RankFolder, world_size: int, job: str) -> MLOpsError:
    if not report.present:
        return TransientAdapterError(f"job {job} is gone: it was deleted before its pods had left a result")
    if report.complaint:
        return TransientAdapterError(f"job {job} failed: {report.complaint}")
    found = examine_ranks(folder, world_size)
    return found.problem or ContractError(
        f"all pods of job {job} ended with exit code 0, but nothing shows in {folder.path} that they ran: the artefact "
        "store must be a volume of the pods, mounted at the same path as on the worker"
    )


def _plain(problem: MLOpsError, *, passing: bool) -> MLOpsError:
    kind = TransientAdapterError if passing or isinstance(problem, TransientAdapterError) else PermanentAdapterError
    return kind(str(problem))


def _short(told: Outcome) -> str:
    text = told.result.error if told.result is not None and told.result.error else str(told.problem)
    return text.partition("; last lines of ")[0].partition("\n")[0] or "no reason given"


def _ended_at(directory: JobDirectory) -> float:
    """Return when the process reported, or was seen to end; 0 where nobody was left to see it."""
    for name in (RESULT, "exit.json"):
        try:
            return (directory.path / name).stat().st_mtime
        except FileNotFoundError:
            continue
    return 0.0
