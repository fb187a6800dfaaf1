"""What the traffic generator saw: reading its trace, and the questions that stories and tests ask of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from airflow_mlops.container.lines import read_lines

__all__ = ["Answer", "Outage", "longest_outage", "percentile", "read_trace", "shares", "shares_over_time", "statuses"]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request and what came of it.

    :param t: when it was sent, seconds since the epoch
    :param status: HTTP status; 0 where no answer came
    :param ms: milliseconds until the answer, or until it was given up
    :param server: who answered, from the gateway's ``x-model-version`` header; None where nobody did
    """

    t: float
    id: str
    status: int
    ms: float
    server: str | None = None

    @property
    def ok(self) -> bool:
        """Whether it was answered, and not with a server's error."""
        return 0 < self.status < 500


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Requests in a row that all failed.

    :param began: when the first of them was sent, seconds since the epoch
    :param seconds: from then until the next good request was sent, or until the last failure was over
    :param requests: how many failed
    """

    began: float
    seconds: float
    requests: int


def read_trace(paths: Iterable[Path], *, since: float = 0.0, until: float = float("inf")) -> list[Answer]:
    """Read trace files and return the answers in the order in which the requests were sent; torn lines are left out.

    :param since: leave out what was sent before, seconds since the epoch
    :param until: leave out what was sent at this time or later
    """
    answers = [
        Answer(t=line["t"], id=line["id"], status=line["status"], ms=line["ms"], server=line["server"])
        for line in read_lines(paths).documents
        if since <= line["t"] < until
    ]
    return sorted(answers, key=lambda answer: answer.t)


def statuses(answers: Iterable[Answer]) -> dict[int, int]:
    """Count answers by status."""
    return dict(sorted(Counter(answer.status for answer in answers).items()))


def shares(answers: Iterable[Answer]) -> dict[str, float]:
    """Share of the answered requests, 0 to 1, that each server answered; empty if nobody answered any."""
    counts = Counter(answer.server for answer in answers if answer.server is not None)
    total = sum(counts.values())
    return {server: count / total for server, count in sorted(counts.items())}


def shares_over_time(answers: Sequence[Answer], *, bucket_seconds: float) -> list[tuple[float, Mapping[str, float]]]:
    """Cut time into buckets, each with its start (seconds since the epoch) and the servers' shares in it."""
    if not answers:
        return []
    first = min(answer.t for answer in answers)
    buckets: dict[int, list[Answer]] = {}
    for answer in answers:
        buckets.setdefault(int((answer.t - first) // bucket_seconds), []).append(answer)
    return [(first + number * bucket_seconds, shares(members)) for number, members in sorted(buckets.items())]


def longest_outage(answers: Sequence[Answer]) -> Outage | None:
    """Find the longest time without a single good answer; None if every request was answered well.

    :param answers: in the order in which they were sent
    """
    longest: Outage | None = None
    failed: list[Answer] = []
    for answer in answers:
        if not answer.ok:
            failed.append(answer)
            continue
        longest = _longer(longest, failed, ended=answer.t)
        failed = []
    return _longer(longest, failed, ended=max((answer.t + answer.ms / 1000 for answer in failed), default=0.0))


def _longer(longest: Outage | None, failed: list[Answer], *, ended: float) -> Outage | None:
    if not failed:
        return longest
    outage = Outage(began=failed[0].t, seconds=ended - failed[0].t, requests=len(failed))
    return outage if longest is None or outage.seconds > longest.seconds else longest


def percentile(values: Iterable[float], percent: float) -> float:
    """Nearest-rank percentile; 0 for no values.

    :param percent: 0 to 100
    """
    ordered = sorted(values)
    if not ordered:
        return 0.0
    return ordered[min(len(ordered) - 1, max(0, -int(-len(ordered) * percent // 100) - 1))]
