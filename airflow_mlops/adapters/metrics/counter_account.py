"""How much counters grew since a fixed moment, out of the samples that a metrics server stored.

A sum over processes falls when one of them starts again, and an average over a window cannot be added up. So every
series is followed by itself, sample by sample. The account at a moment depends on nothing but the stored samples up to
then: whoever computes it gets the same number, it never falls, and the difference between two moments is what the
samples between them show, each counted once.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

__all__ = ["CounterAccount", "Samples"]


@dataclass(frozen=True, kw_only=True)
class Samples:
    """Stored samples of one series.

    :param key: what identifies the series
    :param process: what identifies the process that counts
    :param target: whom the series tells of
    :param roles: what the series counts; the first one decides which series are compared to notice a restart
    :param values: moment in seconds since the epoch and value, in order of time
    """

    key: Hashable
    process: Hashable
    target: str
    roles: tuple[str, ...]
    values: Sequence[tuple[float, float]]


@dataclass
class _Series:
    roles: tuple[str, ...]
    at: float
    value: float


@dataclass
class CounterAccount:
    """Adds up what counters grew by after ``origin``.

    A counter that falls began again at zero. When all counters of one kind that a process keeps of a target fall
    together, the process began again, and so did its other counters, even those that have grown past their old value
    since. A series that appears where the process, or anything else for longer than ``grace_seconds``, was watched
    before has counted from zero, so its first value counts in full: the first error of a process must not be lost. One
    that appears when the watching itself begins shows only what comes after it.

    Not seen is what a process counted after its last sample before a restart, and a restart after which every counter
    of a process has grown past its old value between two samples.

    :param origin: seconds since the epoch; what was counted until then is left out
    :param grace_seconds: how long after the first sample of all others may appear for the first time, because the
        watching began
    """

    origin: float
    grace_seconds: float
    grown: dict[tuple[str, str], float] = field(default_factory=dict)
    seen_at: dict[str, float] = field(default_factory=dict)
    _series: dict[Hashable, _Series] = field(default_factory=dict)
    _watched: dict[Hashable, float] = field(default_factory=dict)
    _units: dict[tuple[Hashable, str], set[Hashable]] = field(default_factory=dict)

    def begin(self, known: Iterable[Samples]) -> None:
        """Take what stood at the origin: the last sample of every series until then, however old."""
        for samples in known:
            for _, value in samples.values[-1:]:
                self._series[samples.key] = _Series(samples.roles, self.origin, value)
                self._watched[samples.process] = self.origin
                self._note(samples)

    def add(self, found: Iterable[Samples]) -> None:
        """Take further samples; those that were taken before, or lie before the origin, count nothing."""
        units: dict[tuple[Hashable, str], list[Samples]] = {}
        for samples in found:
            units.setdefault((samples.process, samples.target), []).append(samples)
            for at, _ in samples.values[:1]:
                self._watched[samples.process] = min(at, self._watched.get(samples.process, at))
            for at, _ in samples.values[-1:]:
                self.seen_at[samples.target] = max(at, self.seen_at.get(samples.target, at))
            self._note(samples)
        first = min(self._watched.values(), default=0.0)
        for (process, target), unit in units.items():
            watched_since = min(self._watched.get(process, first), first + self.grace_seconds)
            self._add_unit(unit, self._units[process, target], watched_since)

    def total(self, target: str, role: str) -> int | None:
        """Return how much a target's counters in a role grew, None when there never was one."""
        grown = self.grown.get((target, role))
        return None if grown is None else round(grown)

    def _note(self, samples: Samples) -> None:
        self._units.setdefault((samples.process, samples.target), set()).add(samples.key)
        for role in samples.roles:
            self.grown.setdefault((samples.target, role), 0.0)

    def _add_unit(self, unit: Sequence[Samples], keys: Iterable[Hashable], watched_since: float) -> None:
        moments = sorted(
            ((at, position, value) for position, samples in enumerate(unit) for at, value in samples.values),
            key=lambda moment: moment[:2],
        )
        for at, together in groupby(moments, key=lambda moment: moment[0]):
            now = [(unit[position], value) for _, position, value in together if self._is_new(unit[position].key, at)]
            if at > self.origin and self._began_again({samples.key: value for samples, value in now}):
                for key in keys:
                    if key in self._series:
                        self._series[key].value = 0.0
            for samples, value in now:
                self._count(samples, at, value, counted_from_zero=at > watched_since)

    def _is_new(self, key: Hashable, at: float) -> bool:
        before = self._series.get(key)
        return before is None or at > before.at

    def _began_again(self, now: Mapping[Hashable, float]) -> bool:
        kinds: dict[str, list[bool]] = {}
        for key, value in now.items():
            before = self._series.get(key)
            if before is not None and before.value > 0:
                kinds.setdefault(before.roles[0], []).append(value < before.value)
        return any(all(fell) for fell in kinds.values())

    def _count(self, samples: Samples, at: float, value: float, *, counted_from_zero: bool) -> None:
        before = self._series.get(samples.key)
        self._series[samples.key] = _Series(samples.roles, at, value)
        if at <= self.origin:
            return
        if before is None:
            increase = value if counted_from_zero else 0.0
        else:
            increase = value - before.value if value >= before.value else value
        for role in samples.roles:
            self.grown[samples.target, role] += increase
