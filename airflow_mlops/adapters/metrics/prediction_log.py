"""How a target's predictions lie, counted out of the prediction log of its model server."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.metrics.log_tail import LogTail
from airflow_mlops.exceptions import PermanentAdapterError, SpecificationError
from airflow_mlops.rollout.observation import Tally

__all__ = ["LoggedPrediction", "PredictionLogTallies", "folder_of", "logged_prediction"]

_NAME = re.compile(r"predictions_above_(-?[0-9.]+(?:e[+-]?[0-9]+)?)")


@dataclass(frozen=True, slots=True)
class LoggedPrediction:
    """What is needed of a line of the log.

    :param id: what was predicted
    :param time: when, seconds since the epoch
    :param prediction: the answer
    """

    id: str
    time: float
    prediction: float


def logged_prediction(document: Mapping[str, Any]) -> LoggedPrediction:
    """Read a line of the log.

    :raises ValueError: when it is none
    :raises KeyError: when something is missing
    """
    identifier, time, prediction = document["id"], document["time"], document["prediction"]
    for name, number in (("time", time), ("prediction", prediction)):
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
            raise ValueError(f"{name} is {number!r}, not a finite number")
    return LoggedPrediction(str(identifier), float(time), float(prediction))


def folder_of(root: Path, target: str) -> Path:
    """Return where a target logs its predictions.

    :param target: ``<model>-v<version>``
    :raises SpecificationError: for a target of another form
    :raises PermanentAdapterError: when nothing was ever logged of the model
    """
    model, separator, version = target.rpartition("-v")
    if not separator or not model or not version:
        raise SpecificationError("target", target, "a model server's name, <model>-v<version>")
    if not (root / model).is_dir():
        raise PermanentAdapterError(f"{root / model}: there are no predictions of model {model!r} here")
    return root / model / version


@dataclass
class _Counted:
    tail: LogTail
    edges: tuple[float, ...]
    total: int = 0
    above: dict[float, int] = field(default_factory=dict)


class PredictionLogTallies:
    """Counts ``predictions_above_<edge>``: predictions, and those at or above the edge.

    The first look of a process reads the logs of both versions; every further one reads only what came since. See
    :class:`~airflow_mlops.adapters.metrics.log_tail.LogTail` for torn lines and for files that vanish.

    :param root: folder of all prediction logs, with a folder per model, in it one per version
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._counted: dict[str, _Counted] = {}

    def counts(self, name: str) -> bool:
        """Whether the name is that of an edge."""
        return _NAME.fullmatch(name) is not None

    def read(self, targets: Sequence[str], names: Sequence[str]) -> Mapping[str, Mapping[str, Tally]]:
        """Return the tallies; a version that logged nothing yet has counted none.

        :raises SpecificationError: when a target's name is not ``<model>-v<version>``
        :raises PermanentAdapterError: when nothing was ever logged of the model
        :raises TransientAdapterError: when a file cannot be read
        :raises ContractError: at a line that is no prediction
        """
        edges = {name: float(found[1]) for name in names if (found := _NAME.fullmatch(name))}
        return {target: self._read(target, edges) for target in targets}

    def _read(self, target: str, edges: Mapping[str, float]) -> dict[str, Tally]:
        folder = folder_of(self._root, target)
        counted = self._counted.get(target)
        if counted is None or not set(edges.values()) <= set(counted.edges):
            wanted = tuple(sorted(set(edges.values())))
            counted = _Counted(LogTail(folder), wanted, above=dict.fromkeys(wanted, 0))
            self._counted[target] = counted
        for rows in counted.tail.batches(logged_prediction):
            counted.total += len(rows)
            for edge in counted.edges:
                counted.above[edge] += sum(row.prediction >= edge for row in rows)
        return {name: Tally(counted.total, counted.above[edge]) for name, edge in edges.items()}
