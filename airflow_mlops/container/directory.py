"""One job's directory: who holds it, what was asked, what came back.

An exclusive ``flock`` on ``job.lock`` is held for as long as any process of the job lives, because the processes
inherit the open file. So "running" needs no bookkeeping that could be wrong after a crash: the lock is held or it is
not. Everything that changes the directory happens under this lock, and every document is replaced by rename.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from airflow_mlops.codec import canonical_json, decode, encode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.manifest import manifest_of
from airflow_mlops.training.contract import (
    CONTROL_FILES,
    LOG,
    MANIFEST,
    REQUEST,
    RESULT,
    JobRequest,
    JobResult,
    dump,
    parse_request,
    parse_result,
)

__all__ = ["Attempt", "ExitStatus", "JobDirectory", "ProcessIdentity"]

T = TypeVar("T")

# A process that only looks whether the lock is held takes it for microseconds; a starter outlasts that.
_LOCK_PATIENCE_SECONDS = 0.25


@dataclass(frozen=True, kw_only=True)
class ProcessIdentity:
    """A process, told apart from a later one that got the same number.

    :param pid: its number
    :param started: the kernel's start time in clock ticks since boot, empty where the system does not tell
    """

    pid: int
    started: str

    @classmethod
    def of(cls, pid: int) -> ProcessIdentity:
        """Describe a process that exists."""
        return cls(pid=pid, started=_start_time(pid) or "")

    @property
    def alive(self) -> bool:
        """Whether this very process still exists."""
        return _start_time(self.pid) == self.started


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One start of the job.

    :param launcher: leader of the job's process group
    :param script: the script's process, None before it exists
    :param started_at: seconds since the epoch
    :param log_offset: length of the log before this attempt
    """

    launcher: ProcessIdentity
    script: ProcessIdentity | None
    started_at: float
    log_offset: int


@dataclass(frozen=True, kw_only=True)
class ExitStatus:
    """How the script's process ended.

    :param code: its exit code, None if a signal ended it
    :param signal: the signal's number, None if it ended by itself
    """

    code: int | None
    signal: int | None


@dataclass(frozen=True)
class JobDirectory:
    """Access to the files of one job.

    :param path: the directory
    """

    path: Path

    @property
    def log(self) -> Path:
        """The job's log; every attempt appends to it."""
        return self.path / LOG

    def lock(self) -> int | None:
        """Take the job: return an open file that holds the lock, or None where somebody else holds it."""
        self.path.mkdir(parents=True, exist_ok=True)
        handle = os.open(self.path / "job.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + _LOCK_PATIENCE_SECONDS
        while not _try_lock(handle, fcntl.LOCK_EX):
            if time.monotonic() > deadline:
                os.close(handle)
                return None
            time.sleep(0.01)
        return handle

    @property
    def is_running(self) -> bool:
        """Whether a process of the job lives."""
        try:
            handle = os.open(self.path / "job.lock", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not _try_lock(handle, fcntl.LOCK_SH)
        finally:
            os.close(handle)

    def prepare(self, request: JobRequest) -> None:
        """Clear what an earlier attempt left, except its log, and write the request. Only under the lock."""
        # The manifest goes first: whatever is cut off after that is no finished job.
        for name in (MANIFEST, RESULT):
            (self.path / name).unlink(missing_ok=True)
        for entry in self.path.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name not in (LOG, "job.lock"):
                entry.unlink()
        self.write(REQUEST, dump(request))

    def write(self, name: str, text: str) -> None:
        """Replace a document by rename, so that no reader sees half of it. Each document has one writer at a time."""
        target = self.path / name
        temporary = self.path / f"{name}.tmp"
        with temporary.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)

    def request(self) -> JobRequest | None:
        """Return what was asked, None where nothing was.

        :raises ContractError: if the document is not a request
        """
        text = self._read(REQUEST)
        return None if text is None else parse_request(text, where=str(self.path / REQUEST))

    def result(self) -> JobResult | None:
        """Return what the script reported, None where it reported nothing.

        :raises ContractError: if the document is not a result
        """
        text = self._read(RESULT)
        return None if text is None else parse_result(text, where=str(self.path / RESULT))

    def finish(self, result: JobResult) -> None:
        """Write the result and then, if it succeeded, the manifest that makes it count."""
        self.write(RESULT, dump(result))
        if result.status == "succeeded":
            self.write(MANIFEST, canonical_json(encode(manifest_of(self.path, exclude=CONTROL_FILES))))

    @property
    def is_sealed(self) -> bool:
        """Whether a manifest was written, the last act of a job that succeeded."""
        return (self.path / MANIFEST).is_file()

    def manifest_text(self) -> str:
        """Return the manifest's document.

        :raises ContractError: if there is none
        """
        text = self._read(MANIFEST)
        if text is None:
            raise ContractError(f"{self.path / MANIFEST} is missing, so nothing says that the job's files are whole")
        return text

    def attempt(self) -> Attempt | None:
        """Return the newest attempt, None where none began."""
        return self._decode(Attempt, "job.pid")

    def record_attempt(self, attempt: Attempt) -> None:
        """Keep who runs the job."""
        self.write("job.pid", canonical_json(encode(attempt)))

    def exit_status(self) -> ExitStatus | None:
        """Return how the script ended, None where nobody saw it."""
        return self._decode(ExitStatus, "exit.json")

    def record_exit(self, status: ExitStatus) -> None:
        """Keep how the script ended."""
        self.write("exit.json", canonical_json(encode(status)))

    def log_tail(self, lines: int = 20) -> str:
        """Return the last lines of the log."""
        if not self.log.is_file():
            return ""
        with self.log.open("rb") as stream:
            stream.seek(max(0, self.log.stat().st_size - 400 * lines))
            return "\n".join(stream.read().decode(errors="replace").splitlines()[-lines:])

    def _read(self, name: str) -> str | None:
        try:
            return (self.path / name).read_text(errors="replace")
        except FileNotFoundError:
            return None

    def _decode(self, cls: type[T], name: str) -> T | None:
        text = self._read(name)
        if text is None:
            return None
        try:
            return decode(cls, json.loads(text))
        except (ValueError, SpecificationError) as error:
            raise ContractError(f"{self.path / name} cannot be read: {error}") from error


def _try_lock(handle: int, kind: int) -> bool:
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _start_time(pid: int) -> str | None:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The second field, the command's name, may hold spaces and parentheses; the start time is the 22nd.
    fields = status.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
