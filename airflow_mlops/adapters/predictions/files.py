"""Prediction logs and labels as files of JSON lines.

Predictions lie at ``<root>/<model>/<version>/*.jsonl``, labels at ``<root>/<model>/*.jsonl``. A writer that is killed
leaves an unfinished last line: that one is counted and left out. Any other line that is not what it should be is
counted as unreadable, and the first one is named.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.monitoring.window import LabelRow, PredictionRow, ReadResult, Window

__all__ = ["LabelFiles", "PredictionFiles"]

T = TypeVar("T")


class PredictionFiles:
    """A folder of prediction logs.

    :param root: folder with a folder per model, in it one per version
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, model_name: str, window: Window, *, version: str | None) -> tuple[list[PredictionRow], ReadResult]:
        """Return the predictions of a window in the order in which they were logged.

        :param version: only those of this version; None for all
        :raises PermanentAdapterError: if there is no folder of the model
        """
        folder = _existing(self._root / model_name, "predictions", model_name)
        scope = folder if version is None else folder / version
        rows, result = _read(sorted(scope.rglob("*.jsonl")), _prediction)
        return [row for row in rows if window.holds(row.id, row.time)], result


class LabelFiles:
    """A folder of label files.

    :param root: folder with a folder per model
    """

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, model_name: str, window: Window) -> tuple[list[LabelRow], ReadResult]:
        """Return the labels whose ids lie in the window; they may have arrived at any time.

        :raises PermanentAdapterError: if there is no folder of the model
        """
        folder = _existing(self._root / model_name, "labels", model_name)
        rows, result = _read(sorted(folder.rglob("*.jsonl")), _label)
        return [row for row in rows if row.id.startswith(window.id_prefix)], result


def _existing(folder: Path, what: str, model_name: str) -> Path:
    if not folder.is_dir():
        raise PermanentAdapterError(f"{folder}: there are no {what} of model {model_name!r} here")
    return folder


def _read(files: Iterable[Path], parse: Callable[[Mapping[str, Any]], T]) -> tuple[list[T], ReadResult]:
    rows: list[T] = []
    count = lines = torn = 0
    problems: list[str] = []
    for file in files:
        count += 1
        for number, text, is_last in _lines(file):
            lines += 1
            try:
                rows.append(parse(_mapping(text)))
            except (ValueError, KeyError, TypeError) as error:
                if is_last:
                    torn += 1
                else:
                    problems.append(f"{file.name}:{number}: {_reason(error)}")
    return rows, ReadResult(
        files=count,
        lines=lines,
        torn=torn,
        unreadable=len(problems),
        first_problem=problems[0] if problems else None,
    )


def _lines(file: Path) -> Iterator[tuple[int, str, bool]]:
    """Yield line number, text and whether the line is a last one without its end."""
    with file.open("rb") as stream:
        for number, raw in enumerate(stream, start=1):
            if raw.strip():
                yield number, raw.decode("utf-8", "replace"), not raw.endswith(b"\n")


def _mapping(text: str) -> Mapping[str, Any]:
    value = json.loads(text)
    if not isinstance(value, Mapping):
        raise ValueError(f"a mapping is expected, not {type(value).__name__}")  # noqa: TRY004 - counted as unreadable
    return value


def _prediction(value: Mapping[str, Any]) -> PredictionRow:
    probability = _number(value, "prediction")
    if not 0 <= probability <= 1:
        raise ValueError(f"prediction is {probability}, not a probability")
    return PredictionRow(
        id=_identifier(value),
        time=_number(value, "time"),
        prediction=probability,
        version=str(value.get("version", "")),
    )


def _label(value: Mapping[str, Any]) -> LabelRow:
    label = _number(value, "label")
    if label not in (0, 1):
        raise ValueError(f"label is {label}, neither 0 nor 1")
    return LabelRow(id=_identifier(value), time=_number(value, "time"), label=int(label))


def _identifier(value: Mapping[str, Any]) -> str:
    identifier = value["id"]
    if not isinstance(identifier, str) or not identifier:
        raise ValueError("id is not a text")
    return identifier


def _number(value: Mapping[str, Any], key: str) -> float:
    number = value[key]
    if isinstance(number, bool) or not isinstance(number, (int, float)) or not math.isfinite(number):
        raise ValueError(f"{key} is {number!r}, not a finite number")
    return float(number)


def _reason(error: Exception) -> str:
    return f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
