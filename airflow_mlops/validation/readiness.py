"""Have data arrived, or do they still grow? What can be told from looking at their files again and again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.codec import digest_of, encode
from airflow_mlops.exceptions import SpecificationError

__all__ = ["Arrival", "FileFact", "Readiness", "Unchanged", "look"]


@dataclass(frozen=True, kw_only=True, order=True)
class FileFact:
    """One file as its file system lists it.

    :param path: path relative to the folder that is watched
    :param size_bytes: its length
    :param version: whatever else tells one content from the next: a time, an ETag; empty where there is nothing
    """

    path: str
    size_bytes: int
    version: str = ""

    @property
    def is_data(self) -> bool:
        """Whether this is no hidden, temporary or marker file; names that begin with ``.`` or ``_`` are."""
        return not any(part.startswith((".", "_")) for part in self.path.split("/"))


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What is waited for.

    :param uri: a file or a folder
    :param marker: path, relative to the folder, of the file whose coming says that the data are complete; None if
        there is none, and then they are when they do not change any more
    :param quiet_seconds: for how long nothing may change where there is no marker
    :param min_files: how many data files there must be at least
    """

    uri: str
    marker: str | None = None
    quiet_seconds: float = 60.0
    min_files: int = 1

    def __post_init__(self) -> None:
        """Refuse what could be ready before anything has come."""
        if not isinstance(self.uri, str) or ("://" not in self.uri and not self.uri.startswith("/")):
            raise SpecificationError("uri", self.uri, "an absolute path, or a URI such as s3://bucket/flights/2013-03")
        if self.marker is not None and (not self.marker or self.marker.startswith("/") or "://" in self.marker):
            raise SpecificationError("marker", self.marker, "a path relative to uri, for example '_SUCCESS'")
        number = isinstance(self.quiet_seconds, (int, float)) and not isinstance(self.quiet_seconds, bool)
        if not number or not self.quiet_seconds > 0:
            raise SpecificationError("quiet_seconds", self.quiet_seconds, "a number of seconds above 0")
        if not isinstance(self.min_files, int) or self.min_files < 1:
            raise SpecificationError("min_files", self.min_files, "a whole number of at least 1")


@dataclass(frozen=True, kw_only=True)
class Unchanged:
    """Files that have looked the same for a while.

    :param fingerprint: digest of their names, lengths and versions
    :param since: seconds since the epoch at which they were first seen so
    """

    fingerprint: str
    since: float


@dataclass(frozen=True, kw_only=True)
class Readiness:
    """What one look showed.

    :param ready: whether the data may be read
    :param reason: one sentence
    :param files: number of data files
    :param size_bytes: their length together
    :param unchanged: to be remembered until the next look; None if there are no data yet
    """

    ready: bool
    reason: str
    files: int
    size_bytes: int
    unchanged: Unchanged | None


def look(arrival: Arrival, files: Sequence[FileFact], before: Unchanged | None, now: float) -> Readiness:
    """Judge what is there now.

    Modification times are compared with each other only, never with a clock: whoever copies files may keep their old
    times, and a store's clock is not ours.

    :param files: all files below the folder, or the file itself
    :param before: what the last look remembered, None at the first
    :param now: seconds since the epoch
    """
    data = sorted(file for file in files if file.is_data and file.path != arrival.marker)
    size = sum(file.size_bytes for file in data)
    seen = f"{len(data)} data file(s) with {size:,} bytes"
    fingerprint = digest_of(encode(data))
    unchanged = before if before is not None and before.fingerprint == fingerprint else None
    unchanged = unchanged or Unchanged(fingerprint=fingerprint, since=now)
    ready = False
    if len(data) < arrival.min_files:
        marked = arrival.marker is not None and any(file.path == arrival.marker for file in files)
        reason = f"{seen}, {arrival.min_files} expected" + (f", although {arrival.marker} is there" if marked else "")
    elif arrival.marker is not None:
        ready = any(file.path == arrival.marker for file in files)
        reason = f"{seen}, and {arrival.marker} is {'there' if ready else 'not there yet'}"
    else:
        quiet = now - unchanged.since
        ready = quiet >= arrival.quiet_seconds
        reason = f"{seen}, unchanged for {quiet:.0f} of {arrival.quiet_seconds:g} seconds"
    return Readiness(
        ready=ready, reason=reason, files=len(data), size_bytes=size, unchanged=unchanged if data else None
    )
