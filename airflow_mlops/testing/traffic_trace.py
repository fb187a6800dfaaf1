"""What happened to a route while something was done to it: answers, weights and stored states over time.

A trace is what :mod:`airflow_mlops.testing.invariants` judges. :class:`Recorder` makes one from outside, by reading
again and again while requests run; a test in memory makes one with :class:`TraceLog`, at every write.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

from airflow_mlops.exceptions import MLOpsError
from airflow_mlops.rollout.observation import RouteView
from airflow_mlops.rollout.ports import Lease, RolloutStore, Router
from airflow_mlops.rollout.state import RolloutState

__all__ = ["CONTROL", "GATEWAY", "Answer", "Fault", "Recorder", "Sample", "Trace", "TraceLog", "table"]

#: Names of what a test breaks beside servers: the proxy, and what stores routes and rollouts.
GATEWAY, CONTROL = "gateway", "control plane"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One request as its sender saw it end.

    :param at: when it ended, seconds since the epoch
    :param status: HTTP status, 0 where no answer came
    :param target: who answered; empty where the router did, or nobody
    """

    at: float
    status: int
    target: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """How everything was at one time. The route is read before the lease: what it says was stored before.

    :param at: seconds since the epoch
    :param view: the route
    :param lease: what is stored, None if nothing is
    :param token: highest token that wrote the route; None where nobody can tell
    :param servers: ready servers, each with something that is another once it was started anew; None: not recorded
    """

    at: float
    view: RouteView
    lease: Lease | None = None
    token: int | None = None
    servers: Mapping[str, str] | None = None

    @property
    def state(self) -> RolloutState | None:
        """The rollout that the weights come from: the one under way, else the one before."""
        if self.lease is None:
            return None
        return self.lease.state or self.lease.previous

    def weight(self, target: str) -> int:
        """Per cent of the requests that a target gets."""
        return self.view.weights.get(target, 0)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What a test broke.

    :param what: ``gateway``, ``control plane`` or the name of a server
    :param since: seconds since the epoch
    :param until: when it worked again
    """

    what: str
    since: float
    until: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class Trace:
    """All that was recorded.

    :param answers: by time
    :param samples: by time, one for every change that was seen
    :param faults: what was broken, and when
    :param until: end of the record, seconds since the epoch
    """

    answers: tuple[Answer, ...] = ()
    samples: tuple[Sample, ...] = ()
    faults: tuple[Fault, ...] = ()
    until: float = 0.0

    def at(self, moment: float) -> Sample | None:
        """Return how everything was then; None before the first sample."""
        place = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else None

    def broken(self, what: str, since: float, until: float) -> float:
        """How many of these seconds something was broken."""
        spans = [(max(f.since, since), min(f.until, until)) for f in self.faults if f.what == what]
        return sum(max(0.0, end - begin) for begin, end in spans)


@dataclass
class TraceLog:
    """Collects samples and faults; equal samples in a row are kept once."""

    samples: list[Sample] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)

    def add(self, sample: Sample) -> None:
        """Note how everything is."""
        if not self.samples or replace(self.samples[-1], at=sample.at) != sample:
            self.samples.append(sample)

    def trace(self, *, until: float, answers: Sequence[tuple[float, int, str]] = ()) -> Trace:
        """Return what was collected."""
        return Trace(
            answers=tuple(Answer(at=at, status=status, target=target) for at, status, target in sorted(answers)),
            samples=tuple(self.samples),
            faults=tuple(self.faults),
            until=until,
        )


class _Answers(Protocol):
    @property
    def answers(self) -> Sequence[tuple[float, int, str]]:
        """Time of the end, status and target of each request."""
        ...


class Recorder:
    """Reads route and store while the block runs.

    :param traffic: the requests meanwhile, for example :class:`airflow_mlops.testing.gateway.Traffic`
    :param every_seconds: time between two readings
    :param token: tells the highest token that wrote the route
    :param servers: tells the servers that are ready
    """

    def __init__(
        self,
        traffic: _Answers,
        router: Router,
        store: RolloutStore,
        route: str,
        *,
        every_seconds: float = 0.05,
        token: Callable[[], int | None] = lambda: None,
        servers: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        self._traffic, self._router, self._store, self._route = traffic, router, store, route
        self._every_seconds, self._token, self._servers = every_seconds, token, servers
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="trace", daemon=True)
        self._log = TraceLog()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    def _run(self) -> None:
        while not self._stop.wait(self._every_seconds):
            self._read()

    def _read(self) -> None:
        # What cannot be read just now is read later; the test that broke it says so by `fault`.
        with suppress(MLOpsError, OSError):
            view, token = self._router.observe(self._route), self._token()
            lease = self._store.load(self._route)
            servers = None if self._servers is None else dict(self._servers())
            self._log.add(Sample(at=time.time(), view=view, lease=lease, token=token, servers=servers))

    @contextmanager
    def fault(self, what: str) -> Iterator[None]:
        """Say that something is broken while the block runs."""
        since = time.time()
        try:
            yield
        finally:
            self._log.faults.append(Fault(what=what, since=since, until=time.time()))

    def trace(self) -> Trace:
        """Return what was recorded until now."""
        return self._log.trace(until=time.time(), answers=list(self._traffic.answers))


def table(trace: Trace, candidate: str, *, settle_seconds: float = 0.5) -> list[str]:
    """Return weights and measured shares over time as rows of a Markdown table.

    :param settle_seconds: answers this close after a change count for neither side
    """
    changes = [s for n, s in enumerate(trace.samples) if n == 0 or s.view.weights != trace.samples[n - 1].view.weights]
    rows = ["| s | weight | share | requests | failed | decision |", "|---|---|---|---|---|---|"]
    for number, sample in enumerate(changes):
        end = changes[number + 1].at if number + 1 < len(changes) else trace.until
        between = [a for a in trace.answers if sample.at + settle_seconds <= a.at < end]
        counted = Counter(answer.target for answer in between)
        share = counted[candidate] / len(between) if between else 0.0
        state = trace.samples[-1].state
        said = [e.reason for e in (state.history if state else ()) if sample.at - 2 <= e.at <= sample.at]
        cells = (
            f"{sample.at - trace.samples[0].at:.1f}",
            f"{sample.weight(candidate)} %",
            f"{share:.1%}",
            str(len(between)),
            str(sum(answer.status != 200 for answer in between)),
            said[-1] if said else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return rows
