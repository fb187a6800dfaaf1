"""How many users met an error, counted out of a proxy's access log."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.metrics.log_tail import LogTail
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.checks import USERS
from airflow_mlops.rollout.observation import Tally

__all__ = ["AccessLogTallies"]

_FIRST_ERROR = 500


@dataclass(frozen=True, slots=True)
class _Request:
    target: str
    user: str
    time: float
    failed: bool


@dataclass
class _Arm:
    """What is counted of one target: two periods are kept open, because a log is not quite in order."""

    users: int = 0
    hit: int = 0
    period: int = 0
    seen: dict[int, dict[str, bool]] = field(default_factory=dict)

    def add(self, request: _Request, period: int) -> None:
        if period > self.period:
            self.period = period
            self.seen = {one: users for one, users in self.seen.items() if one >= period - 1}
        if period < self.period - 1:
            return
        users = self.seen.setdefault(period, {})
        self.users += request.user not in users
        self.hit += request.failed and not users.get(request.user, False)
        users[request.user] = users.get(request.user, False) or request.failed


class AccessLogTallies:
    """Counts ``users``: each user once in every period and target, and those of them with an error in that period.

    An error is a status of 500 or more, or none. Requests without a user are left out. The first look of a process
    reads the whole log, every further one only what is new; see
    :class:`~airflow_mlops.adapters.metrics.log_tail.LogTail` for files that vanish or are replaced.

    :param folder: of the log, ``*.jsonl`` with lines of ``time`` (seconds since the epoch), ``target``, ``status`` and
        ``user``, as the gateway's own Envoy writes them
    :param period_seconds: length of a period
    """

    def __init__(self, folder: Path, *, period_seconds: float = 60.0) -> None:
        if period_seconds <= 0:
            raise SpecificationError("period_seconds", period_seconds, "more than 0 seconds")
        self._folder = folder
        self._period_seconds = period_seconds
        self._tail = LogTail(folder)
        self._arms: dict[str, _Arm] = {}

    def counts(self, name: str) -> bool:
        """Whether the name is ``users``."""
        return name == USERS

    def read(self, targets: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, Tally]]:  # noqa: ARG002
        """Return the tally; a target that no user asked yet has counted none.

        :raises PermanentAdapterError: when there is no such folder
        :raises TransientAdapterError: when a file cannot be read
        :raises ContractError: at a line that is none of an access log
        """
        if not self._folder.is_dir():
            raise PermanentAdapterError(f"{self._folder}: there is no access log here")
        for requests in self._tail.batches(_request):
            for request in requests:
                if request is not None:
                    arm = self._arms.setdefault(request.target, _Arm())
                    arm.add(request, math.floor(request.time / self._period_seconds))
        none = _Arm()
        arms = {target: self._arms.get(target, none) for target in targets}
        return {target: {USERS: Tally(arm.users, arm.hit)} for target, arm in arms.items()}


def _request(document: Mapping[str, Any]) -> _Request | None:
    target, user, status, time = document["target"], document["user"], document["status"], float(document["time"])
    if not user or not target:
        return None
    return _Request(str(target), str(user), time, not 0 < int(status or 0) < _FIRST_ERROR)
