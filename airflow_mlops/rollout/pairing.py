"""Brings together what two models answered to the same request, as the answers come in."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.shadow_spec import ShadowSpec

__all__ = ["Answer", "AnswerLog", "Arm", "Pairing", "count_pair"]

Arm = Literal["candidate", "stable"]

_DISORDER_SECONDS = 10.0  # how far apart two logs may be read that were written at the same time


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One answered row as logged.

    :param id: of the request; the same in both logs
    :param time: when it was answered, seconds since the epoch
    :param prediction: what was answered
    :param latency_ms: how long it took
    """

    id: str
    time: float
    prediction: float
    latency_ms: float = 0.0


class AnswerLog(Protocol):
    """What both models have logged; every call returns what came since the last one."""

    def answers(self) -> Iterable[tuple[Arm, Answer]]:
        """Return new answers of both arms, roughly in the order of time."""
        ...

    def labels(self) -> Mapping[str, int]:
        """Return new labels: id to 0 or 1."""
        ...


class Pairing:
    """Counts pairs of answers; the same logs from the beginning give the same counts.

    Rows count as pairs of their own, also those that were asked for in one request. An id that comes twice from one
    model before it came from the other pairs with the later one.

    :param spec: when answers differ, and how far apart they may be logged
    """

    def __init__(self, spec: ShadowSpec) -> None:
        self._spec = spec
        self._waiting: dict[Arm, dict[str, Answer]] = {"candidate": {}, "stable": {}}
        self._undecided: dict[str, bool] = {}  # pairs that decided differently: whether the candidate said 1
        self._labels: dict[str, int] = {}
        self.counts = PairCounts()

    def read(self, log: AnswerLog) -> PairCounts:
        """Take in what is new in the log; return the counts of all pairs so far."""
        if self._spec.labels is not None:
            for key, label in log.labels().items():
                self.add_label(key, label)
        for arm, answer in log.answers():
            self.add(arm, answer)
        return self.counts

    def add(self, arm: Arm, answer: Answer) -> None:
        """Take in one answer."""
        other: Arm = "stable" if arm == "candidate" else "candidate"
        partner = self._waiting[other].pop(answer.id, None)
        if partner is None or abs(partner.time - answer.time) > self._spec.pair_seconds:
            self._waiting[arm].pop(answer.id, None)
            self._waiting[arm][answer.id] = answer
        elif arm == "candidate":
            self._count(answer, partner)
        else:
            self._count(partner, answer)
        self._forget(answer.time - self._spec.pair_seconds - _DISORDER_SECONDS)

    def add_label(self, key: str, label: int) -> None:
        """Take in one label, before or after the pair that it belongs to."""
        candidate_said_one = self._undecided.pop(key, None)
        if candidate_said_one is None:
            self._labels[key] = label
        else:
            self.counts += _decided(candidate_said_one, label)

    def _count(self, candidate: Answer, stable: Answer) -> None:
        counted = count_pair(self._spec, candidate, stable)
        self.counts += counted
        label = self._labels.pop(candidate.id, None)
        if counted.apart and self._spec.labels is not None:
            said_one = candidate.prediction >= self._spec.labels.threshold
            if label is None:
                self._undecided[candidate.id] = said_one
            else:
                self.counts += _decided(said_one, label)

    def _forget(self, before: float) -> None:
        """Drop what waits so long that no partner will come; it began to wait in the order of time."""
        for waiting in self._waiting.values():
            while waiting and (first := next(iter(waiting.values()))).time < before:
                del waiting[first.id]


def count_pair(spec: ShadowSpec, candidate: Answer, stable: Answer) -> PairCounts:
    """Return what one pair comes to, its label aside."""
    difference = candidate.prediction - stable.prediction
    apart = spec.labels is not None and (
        (candidate.prediction >= spec.labels.threshold) != (stable.prediction >= spec.labels.threshold)
    )
    slower = spec.latency is not None and candidate.latency_ms - stable.latency_ms > spec.latency.slower_ms
    return PairCounts(
        pairs=1,
        differing=int(abs(difference) > spec.answers.tolerance),
        difference_sum=difference,
        difference_squares=difference * difference,
        slower=int(slower),
        apart=int(apart),
    )


def _decided(candidate_said_one: bool, label: int) -> PairCounts:
    right = candidate_said_one == bool(label)
    return PairCounts(candidate_wrong=int(not right), stable_wrong=int(right))
