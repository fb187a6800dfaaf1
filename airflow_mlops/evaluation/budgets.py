"""What a model costs to run: how long an answer takes, how large its directory is, how much memory it takes.

Times are of ``predict`` alone, in the process of the evaluation, with no server around it. Candidate and champion
answer in turn, so that both meet the same moments of a machine that others use, too; the ratio is the median over these
pairs. Even so times depend on the machine: a rule on them warns unless its policy says otherwise. Sizes are exact.
The operators let OpenMP have one thread; where a job is given more, threads that wait for each other are timed, too.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.interval import Interval
from airflow_mlops.stats.quantile_interval import quantile_interval

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed, Subject

__all__ = ["BudgetsReport", "BudgetsSpec", "Latency", "Percentiles", "measure_budgets"]

_METHOD = "order statistics"


@dataclass(frozen=True, kw_only=True)
class BudgetsSpec:
    """How costs are measured.

    :param batches: numbers of rows in one call; more than there are become as many as there are
    :param repetitions: timed calls per number of rows; fewer than 100 say too little about the slowest in twenty
    :param warm_up: calls before, which are not timed
    :param memory: whether to find the peak of what Python and numpy allocate in a call with the largest batch
    """

    batches: tuple[int, ...] = (1, 1000)
    repetitions: int = 200
    warm_up: int = 10
    memory: bool = True

    def __post_init__(self) -> None:
        """Refuse what cannot be timed."""
        if not self.batches or min(self.batches) < 1 or len(set(self.batches)) < len(self.batches):
            raise SpecificationError("budgets.batches", self.batches, "different numbers of rows, each at least 1")
        if self.repetitions < 100:
            raise SpecificationError("budgets.repetitions", self.repetitions, "at least 100")
        if self.warm_up < 0:
            raise SpecificationError("budgets.warm_up", self.warm_up, "0 or more")


@dataclass(frozen=True, kw_only=True)
class Percentiles:
    """How long calls took, in milliseconds.

    :param p50: half of the calls took no longer
    :param p95: 95 in 100
    :param p99: 99 in 100; of 100 calls its interval ends at the slowest
    """

    p50: Estimate
    p95: Estimate
    p99: Estimate


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Calls with one number of rows.

    :param batch: rows in one call
    :param repetitions: how many calls were timed
    :param candidate: the candidate
    :param champion: the champion, in turn with it
    :param ratio: median of the candidate's time over the champion's just before or after
    """

    batch: int
    repetitions: int
    candidate: Percentiles
    champion: Percentiles | None = None
    ratio: Estimate | None = None


@dataclass(frozen=True, kw_only=True)
class BudgetsReport:
    """What was found.

    :param confidence: two-sided coverage of all intervals
    :param latencies: one per number of rows
    :param candidate_bytes: size of the candidate's directory
    :param champion_bytes: size of the champion's
    :param candidate_peak_bytes: most that one call of the candidate allocated at a time
    :param champion_peak_bytes: most that one call of the champion allocated at a time
    """

    confidence: float
    latencies: tuple[Latency, ...]
    candidate_bytes: int
    champion_bytes: int | None = None
    candidate_peak_bytes: int | None = None
    champion_peak_bytes: int | None = None


def measure_budgets(
    spec: BudgetsSpec, subject: Subject, clock: Callable[[], float] = time.perf_counter
) -> BudgetsReport:
    """Time and weigh candidate and champion.

    :param clock: seconds from an arbitrary moment; a fake one makes the measurement repeatable
    """
    largest = subject.rows.iloc[: max(spec.batches)]
    champion = subject.champion
    sizes = sorted({min(batch, len(subject.rows)) for batch in spec.batches})
    return BudgetsReport(
        confidence=subject.confidence,
        latencies=tuple(_latency(spec, subject, batch, clock) for batch in sizes),
        candidate_bytes=_bytes(subject.candidate.path),
        champion_bytes=None if champion is None else _bytes(champion.path),
        candidate_peak_bytes=_peak(subject.candidate, largest) if spec.memory else None,
        champion_peak_bytes=_peak(champion, largest) if spec.memory and champion is not None else None,
    )


def _latency(spec: BudgetsSpec, subject: Subject, batch: int, clock: Callable[[], float]) -> Latency:
    models = [subject.candidate] if subject.champion is None else [subject.candidate, subject.champion]
    times: list[list[float]] = [[] for _ in models]
    total = len(subject.rows)
    for call in range(-spec.warm_up, spec.repetitions):
        # Other rows every time: answers that depend on the row are met as they come.
        start = (call * batch) % max(total - batch + 1, 1)
        rows = subject.rows.iloc[start : start + batch]
        # In changing order: who comes second finds the rows in the processor's memory.
        turn = list(zip(models, times, strict=True))
        for model, taken in reversed(turn) if call % 2 else turn:
            began = clock()
            model.predict(rows)
            ended = clock()
            if call >= 0:
                taken.append(1000 * (ended - began))
    other = _percentiles(times[1], subject.confidence) if len(models) > 1 else None
    return Latency(
        batch=batch,
        repetitions=spec.repetitions,
        candidate=_percentiles(times[0], subject.confidence),
        champion=other,
        ratio=_ratio(times[0], times[1], subject.confidence) if len(models) > 1 else None,
    )


def _percentiles(times: Sequence[float], confidence: float) -> Percentiles:
    return Percentiles(
        **{
            f"p{percent}": _estimate(quantile_interval(times, percent / 100, confidence=confidence), _METHOD)
            for percent in (50, 95, 99)
        }
    )


def _ratio(first: Sequence[float], second: Sequence[float], confidence: float) -> Estimate | None:
    if min(second) <= 0:
        return None
    ratios = [one / other for one, other in zip(first, second, strict=True)]
    return _estimate(quantile_interval(ratios, 0.5, confidence=confidence), f"median of pairs, {_METHOD}")


def _estimate(found: Interval, method: str) -> Estimate:
    return Estimate(value=found.value, low=found.low, high=found.high, method=method)


def _bytes(path: Path) -> int:
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _peak(model: Diagnosed, rows: Any) -> int:
    """Most that one call holds at a time; not among the timed calls, since tracing slows them down."""
    import tracemalloc

    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        model.predict(rows)
        return max(0, tracemalloc.get_traced_memory()[1] - before)
    finally:
        if not tracing:
            tracemalloc.stop()
