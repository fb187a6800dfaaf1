"""Right and wrong predictions of both arms, all judged at the same age."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from airflow_mlops.adapters.metrics.log_tail import LogTail
from airflow_mlops.adapters.metrics.prediction_log import LoggedPrediction, folder_of, logged_prediction
from airflow_mlops.clock import Clock, SystemClock
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.checks import LABELLED, LABELS
from airflow_mlops.rollout.observation import Tally

__all__ = ["ArrivedLabel", "LabelLookup", "LabelTallies"]


@dataclass(frozen=True, slots=True)
class ArrivedLabel:
    """A label.

    :param arrived_at: seconds since the epoch
    :param label: 0 or 1
    """

    arrived_at: float
    label: int


class LabelLookup(Protocol):
    """Where labels arrive."""

    def refresh(self, model_name: str) -> None:
        """Learn what is new of a model."""
        ...

    def find(self, model_name: str, ids: Sequence[str]) -> Mapping[str, Sequence[ArrivedLabel]]:
        """Return the labels of some ids; an id without labels may be missing."""
        ...

    def forget(self, before: float) -> None:
        """Forget labels that arrived before a moment; they are asked for no more."""
        ...

    def close(self) -> None:
        """Give back what the look held, for example connections; the next one may open them again."""
        ...


@dataclass
class _Counted:
    tail: LogTail
    matured: int = 0
    labelled: int = 0
    wrong: int = 0


class LabelTallies:
    """Counts ``labels``: predictions with a label, and those that it shows wrong.

    A prediction counts once it is ``age_seconds`` old, and its label only if it had arrived by then: what is compared
    has the same age in both arms, however long a prediction has waited since. Beside ``labels`` there is always
    ``labelled``: predictions that are old enough, and those of them with a label. Where that share differs much between
    the arms, the labels that are there may say little.

    Of several labels the last one in time counts. One that arrived before its prediction belongs to another prediction
    of the same id. A prediction is judged ``settle_seconds`` after it is old enough, because a label may be readable
    later than it arrived; every process that looks then sees the same labels and counts the same.

    :param root: folder of all prediction logs
    :param labels: where labels are looked up
    :param age_seconds: the age, the same as the rollout's ``labels.age_seconds``
    :param settle_seconds: how much later than its arrival a label may be readable; also how far clocks may differ
    :param positive_at: predictions at or above this say 1
    :param clock: what time it is
    """

    def __init__(
        self,
        root: Path,
        labels: LabelLookup,
        *,
        age_seconds: float,
        settle_seconds: float = 5.0,
        positive_at: float = 0.5,
        clock: Clock | None = None,
    ) -> None:
        for name, seconds in (("age_seconds", age_seconds), ("settle_seconds", settle_seconds)):
            if seconds < 0:
                raise SpecificationError(name, seconds, "0 or more seconds")
        self._root = root
        self._labels = labels
        self.age_seconds = age_seconds
        self._settle_seconds = settle_seconds
        self._positive_at = positive_at
        self._clock = clock or SystemClock()
        self._counted: dict[str, _Counted] = {}

    def counts(self, name: str) -> bool:
        """Whether the name is ``labels`` or ``labelled``."""
        return name in (LABELS, LABELLED)

    def read(self, targets: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, Tally]]:  # noqa: ARG002
        """Return both tallies of every target.

        :raises SpecificationError: when a target's name is not ``<model>-v<version>``
        :raises AdapterError: when log or labels cannot be read
        :raises ContractError: at a line or a label that is none
        """
        now = self._clock.now()
        try:
            for model_name in sorted({target.rpartition("-v")[0] for target in targets}):
                self._labels.refresh(model_name)
            found = {target: self._read(target, now) for target in targets}
        finally:
            self._labels.close()
        # Only now: of a look that failed half-way the predictions are still to be judged.
        self._labels.forget(now - self.age_seconds - 2 * self._settle_seconds)
        return found

    def _read(self, target: str, now: float) -> dict[str, Tally]:
        folder = folder_of(self._root, target)
        counted = self._counted.setdefault(target, _Counted(LogTail(folder)))
        oldest = now - self.age_seconds - self._settle_seconds
        # The log is read as far as predictions are old enough, so none of the younger ones has to be remembered.
        for rows in counted.tail.batches(logged_prediction, ready=lambda row: row.time <= oldest):
            found = self._labels.find(folder.parent.name, [row.id for row in rows])
            told = [(row, label) for row in rows if (label := self._label(row, found.get(row.id, ()))) is not None]
            counted.matured += len(rows)
            counted.labelled += len(told)
            counted.wrong += sum((row.prediction >= self._positive_at) != bool(label) for row, label in told)
        return {LABELS: Tally(counted.labelled, counted.wrong), LABELLED: Tally(counted.matured, counted.labelled)}

    def _label(self, row: LoggedPrediction, found: Sequence[ArrivedLabel]) -> int | None:
        first, last = row.time - self._settle_seconds, row.time + self.age_seconds
        in_time = [one for one in found if first <= one.arrived_at <= last]
        return max(in_time, key=lambda one: one.arrived_at).label if in_time else None
