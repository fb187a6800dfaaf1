"""From what lies in a job directory to what became of the job."""

from __future__ import annotations

import json
import signal
from dataclasses import dataclass

from airflow_mlops.codec import decode
from airflow_mlops.container.directory import ExitStatus, JobDirectory
from airflow_mlops.exceptions import (
    ContractError,
    DigestMismatchError,
    MLOpsError,
    PermanentAdapterError,
    SpecificationError,
    TransientAdapterError,
)
from airflow_mlops.manifest import Manifest, manifest_of
from airflow_mlops.training.contract import CONTROL_FILES, MANIFEST, RESULT, JobRequest, JobResult
from airflow_mlops.training.ports import JobPhase

__all__ = ["Outcome", "collect", "is_done", "outcome"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where a job stands and why.

    :param phase: where it stands
    :param result: what the script reported, if it did
    :param problem: what :func:`collect` raises; None when the job succeeded
    """

    phase: JobPhase
    result: JobResult | None = None
    problem: MLOpsError | None = None


def outcome(directory: JobDirectory, *, running: bool | None = None) -> Outcome:
    """Look at a job without reading its artefacts.

    :param directory: the job's directory
    :param running: whether its lock is held; None to find out
    """
    if directory.is_running if running is None else running:
        waiting = TransientAdapterError(f"{directory.path}: the job is still running")
        return Outcome(phase=JobPhase.RUNNING, problem=waiting)
    status = directory.exit_status()
    try:
        result = directory.result()
        if result is not None:
            _check_identity(directory, result)
    except ContractError as error:
        return Outcome(phase=JobPhase.FAILED, problem=_with_log(error, directory))
    if result is not None and result.status == "failed":
        return Outcome(
            phase=JobPhase.FAILED, result=result, problem=_failed(directory, f"the script failed: {result.error}")
        )
    if status is not None and (status.code or status.signal):
        return Outcome(phase=JobPhase.FAILED, result=result, problem=_ended_badly(directory, status))
    if result is None or not directory.is_sealed:
        return _unfinished(directory, status, result)
    return Outcome(phase=JobPhase.SUCCEEDED, result=result)


def collect(directory: JobDirectory, *, running: bool | None = None) -> JobResult:
    """Return the result of a job that succeeded, after every one of its files was verified.

    :param directory: the job's directory
    :param running: whether its lock is held by the job; None to find out
    :raises PermanentAdapterError: if the job failed
    :raises TransientAdapterError: if it was killed or lost, or still runs
    :raises ContractError: if what it left is not what the contract says
    """
    found = outcome(directory, running=running)
    if found.problem is not None:
        raise found.problem
    if found.result is None:
        raise ContractError(f"{directory.path}: succeeded without a result")
    _verify(directory)
    for role, path in found.result.artifacts.items():
        if not (directory.path / path).exists():
            raise ContractError(
                f"{directory.path}: the result names the artefact {role!r} at {path!r}; nothing is there"
            )
    return found.result


def is_done(directory: JobDirectory, request: JobRequest, *, running: bool | None = None) -> bool:
    """Whether this very job has succeeded before and every file that it left still verifies.

    :param directory: the job's directory
    :param request: what is asked for now
    :param running: whether its lock is held by the job; None to find out
    """
    if outcome(directory, running=running).phase is not JobPhase.SUCCEEDED or directory.request() != request:
        return False
    try:
        collect(directory, running=running)
    except ContractError as error:
        with directory.log.open("a") as log:
            log.write(f"an earlier result does not verify and is made again: {error}\n")
        return False
    return True


def _verify(directory: JobDirectory) -> None:
    where = directory.path / MANIFEST
    try:
        promised = decode(Manifest, json.loads(directory.manifest_text()))
    except (ValueError, SpecificationError) as error:
        raise ContractError(f"{where} cannot be read: {error}") from error
    actual = {entry.path: entry for entry in manifest_of(directory.path, exclude=CONTROL_FILES).files}
    for entry in promised.files:
        found = actual.pop(entry.path, None)
        if found is None:
            raise ContractError(f"{directory.path / entry.path} is listed in {MANIFEST} but is not there")
        if found != entry:
            file = str(directory.path / entry.path)
            raise DigestMismatchError(file, f"sha256:{entry.sha256}", f"sha256:{found.sha256}")
    if actual:
        raise ContractError(f"{directory.path}: {', '.join(sorted(actual))} appeared after {MANIFEST} was written")


def _check_identity(directory: JobDirectory, result: JobResult) -> None:
    request = directory.request()
    if request is not None and request.job_id != result.job_id:
        raise ContractError(
            f"{directory.path / RESULT} is of job {result.job_id!r}, but {request.job_id!r} was asked for"
        )


def _ended_badly(directory: JobDirectory, status: ExitStatus) -> MLOpsError:
    if status.signal is None:
        return _failed(directory, f"the script ended with exit code {status.code}")
    try:
        name = signal.Signals(status.signal).name
    except ValueError:
        name = "unknown"
    hint = "; possibly the machine ran out of memory" if status.signal == signal.SIGKILL else ""
    return TransientAdapterError(_message(directory, f"the script was killed by signal {status.signal} ({name}){hint}"))


def _unfinished(directory: JobDirectory, status: ExitStatus | None, result: JobResult | None) -> Outcome:
    if status is not None:
        missing = RESULT if result is None else MANIFEST
        text = f"the script ended with exit code 0 but left no {missing}; it must call job.finish()"
        problem: MLOpsError = ContractError(_message(directory, text))
        return Outcome(phase=JobPhase.FAILED, result=result, problem=problem)
    text = "the job's processes are gone without a result or an exit status, as after a restart of the machine"
    return Outcome(phase=JobPhase.LOST, result=result, problem=TransientAdapterError(_message(directory, text)))


def _failed(directory: JobDirectory, text: str) -> MLOpsError:
    return PermanentAdapterError(_message(directory, text))


def _with_log(error: ContractError, directory: JobDirectory) -> ContractError:
    return ContractError(_message(directory, str(error)))


def _message(directory: JobDirectory, text: str) -> str:
    tail = directory.log_tail()
    shown = f"last lines of {directory.log}:\n{tail}" if tail else f"{directory.log} is empty"
    return f"{text}; {shown}"
