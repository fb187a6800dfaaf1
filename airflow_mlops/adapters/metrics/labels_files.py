"""Labels as files of JSON lines: ``{"id", "label", "time"}``, time being when the label arrived."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from airflow_mlops.adapters.metrics.equal_age import ArrivedLabel
from airflow_mlops.adapters.metrics.log_tail import LogTail
from airflow_mlops.exceptions import PermanentAdapterError

__all__ = ["FileLabels"]


class FileLabels:
    """Reads labels as they arrive, and remembers those that a prediction may still need.

    :param folder: of one model's labels, ``*.jsonl``
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tail = LogTail(folder)
        self._labels: dict[str, list[ArrivedLabel]] = {}

    def refresh(self) -> None:
        """Read new labels.

        :raises PermanentAdapterError: if there is no such folder
        :raises TransientAdapterError: when a file cannot be read
        :raises ContractError: at a line that is no label
        """
        if not self._folder.is_dir():
            raise PermanentAdapterError(f"{self._folder}: there are no labels here")
        for rows in self._tail.batches(_label):
            for identifier, label in rows:
                self._labels.setdefault(identifier, []).append(label)

    def find(self, ids: Sequence[str]) -> Mapping[str, Sequence[ArrivedLabel]]:
        """Return the labels of some ids."""
        return {identifier: self._labels[identifier] for identifier in ids if identifier in self._labels}

    def forget(self, before: float) -> None:
        """Forget labels that no prediction can need any more."""
        self._labels = {
            identifier: kept
            for identifier, labels in self._labels.items()
            if (kept := [label for label in labels if label.arrived_at >= before])
        }


def _label(document: Mapping[str, Any]) -> tuple[str, ArrivedLabel]:
    identifier, label, time = document["id"], document["label"], document["time"]
    if label not in (0, 1):
        raise ValueError(f"label is {label!r}, neither 0 nor 1")
    return str(identifier), ArrivedLabel(arrived_at=float(time), label=int(label))
