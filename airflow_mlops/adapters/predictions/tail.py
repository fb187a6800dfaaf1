"""The end of prediction logs and labels: what was appended since the last look, without reading the rest.

The files are those of :mod:`airflow_mlops.adapters.predictions.files`. A line without its end is read when it has one.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.rollout.pairing import Answer, Arm
from airflow_mlops.rollout.replay import LoggedRequest

__all__ = ["AnswerFiles", "read_labels", "read_requests"]


class AnswerFiles:
    """What two versions of a model log from some moment on; an :class:`airflow_mlops.rollout.pairing.AnswerLog`.

    :param predictions: folder of all prediction logs
    :param model_name: the model
    :param versions: arm to version
    :param since: nothing earlier counts, seconds since the epoch
    :param labels: folder of all labels, None where there are none
    """

    def __init__(
        self,
        predictions: Path,
        model_name: str,
        versions: Mapping[Arm, str],
        *,
        since: float,
        labels: Path | None = None,
    ) -> None:
        self._folders = {arm: predictions / model_name / version for arm, version in versions.items()}
        self._labels = None if labels is None else labels / model_name
        self._since = since
        self._ends: dict[Path, int] = {}
        self.unreadable = 0

    def answers(self) -> Iterable[tuple[Arm, Answer]]:
        """Return new answers of both arms in the order of time."""
        # A file lists its lines in the order of time already, so merging them needs no more than a line of each.
        streams = [self._stream(arm, path) for arm, folder in self._folders.items() for path in _files(folder)]
        return heapq.merge(*streams, key=lambda item: item[1].time)

    def labels(self) -> Mapping[str, int]:
        """Return new labels: id to 0 or 1."""
        found = {}
        for path in [] if self._labels is None else _files(self._labels):
            for document in self._new_lines(path):
                label = document.get("label")
                if isinstance(document.get("id"), str) and label in (0, 1):
                    found[str(document["id"])] = int(label)
                else:
                    self.unreadable += 1
        return found

    def _stream(self, arm: Arm, path: Path) -> Iterator[tuple[Arm, Answer]]:
        if path not in self._ends:
            self._ends[path] = _first_byte(path, self._since)
        for document in self._new_lines(path):
            answer = _answer(document)
            if answer is None:
                self.unreadable += 1
            elif answer.time >= self._since:
                yield arm, answer

    def _new_lines(self, path: Path) -> Iterator[Mapping[str, Any]]:
        with path.open("rb") as stream:
            stream.seek(self._ends.get(path, 0))
            for line in stream:
                if not line.endswith(b"\n"):
                    return
                self._ends[path] = self._ends.get(path, 0) + len(line)
                document = _document(line)
                if document is None:
                    self.unreadable += 1
                else:
                    yield document


def read_requests(
    predictions: Path,
    model_name: str,
    version: str,
    *,
    most: int,
    since: float | None = None,
    until: float | None = None,
) -> list[LoggedRequest]:
    """Return the last rows that a version was asked for, oldest first.

    :param predictions: folder of all prediction logs
    :param most: how many
    :param since: only those from then on, seconds since the epoch
    :param until: only those before, seconds since the epoch
    :raises PermanentAdapterError: if there is no log of this version
    """
    folder = predictions / model_name / version
    if not folder.is_dir():
        raise PermanentAdapterError(f"{folder}: there are no predictions of version {version} of {model_name!r} here")
    kept: deque[LoggedRequest] = deque(maxlen=most)
    for path in _files(folder):
        with path.open("rb") as stream:
            stream.seek(0 if since is None else _first_byte(path, since))
            for line in stream:
                document = _document(line) or {}
                answer, features = _answer(document), document.get("features")
                if answer is None or not isinstance(features, Mapping):
                    continue
                if (since is None or answer.time >= since) and (until is None or answer.time < until):
                    kept.append(LoggedRequest(answer=answer, features=features))
    return list(kept)


def read_labels(labels: Path, model_name: str, keys: Iterable[str]) -> dict[str, int]:
    """Return the labels of these ids, as far as they have arrived; the last of several counts."""
    wanted, files = set(keys), AnswerFiles(labels, model_name, {}, since=0.0, labels=labels)
    return {key: label for key, label in files.labels().items() if key in wanted}


def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.jsonl")) if folder.is_dir() else []


def _document(line: bytes) -> Mapping[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, Mapping) else None


def _answer(document: Mapping[str, Any]) -> Answer | None:
    key, time, prediction = document.get("id"), _number(document, "time"), _number(document, "prediction")
    if not isinstance(key, str) or not key or time is None or prediction is None:
        return None
    return Answer(id=key, time=time, prediction=prediction, latency_ms=_number(document, "latency_ms") or 0.0)


def _number(document: Mapping[str, Any], key: str) -> float | None:
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def _first_byte(path: Path, since: float) -> int:
    """Return where a line begins before which all are earlier, by halving: lines lie in the order of time."""
    low, high = 0, path.stat().st_size
    with path.open("rb") as stream:
        while high - low > 1 << 16:
            middle = (low + high) // 2
            stream.seek(middle)
            stream.readline()
            begin = stream.tell()
            time = _number(_document(stream.readline()) or {}, "time")
            if begin >= high or time is None:
                break
            low, high = (begin, high) if time < since else (low, middle)
    return low
