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

    :param root: folder of all labels, with a folder per model, in it ``*.jsonl``
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._tails: dict[str, LogTail] = {}
        self._labels: dict[str, dict[str, list[ArrivedLabel]]] = {}

    def refresh(self, model_name: str) -> None:
        """Read new labels.

        :raises PermanentAdapterError: if there is no folder of the model
        :raises TransientAdapterError: when a file cannot be read
        :raises ContractError: at a line that is no label
        """
        folder = self._root / model_name
        if not folder.is_dir():
            raise PermanentAdapterError(f"{folder}: there are no labels of model {model_name!r} here")
        known = self._labels.setdefault(model_name, {})
        for rows in self._tails.setdefault(model_name, LogTail(folder)).batches(_label):
            for identifier, label in rows:
                known.setdefault(identifier, []).append(label)

    def find(self, model_name: str, ids: Sequence[str]) -> Mapping[str, Sequence[ArrivedLabel]]:
        """Return the labels of some ids."""
        known = self._labels.get(model_name, {})
        return {identifier: known[identifier] for identifier in ids if identifier in known}

    def forget(self, before: float) -> None:
        """Forget labels that no prediction can need any more."""
        for model_name, known in self._labels.items():
            self._labels[model_name] = {
                identifier: kept
                for identifier, labels in known.items()
                if (kept := [label for label in labels if label.arrived_at >= before])
            }

    def close(self) -> None:
        """Hold nothing between looks: files are closed as soon as they are read."""


def _label(document: Mapping[str, Any]) -> tuple[str, ArrivedLabel]:
    identifier, label, time = document["id"], document["label"], document["time"]
    if label not in (0, 1):
        raise ValueError(f"label is {label!r}, neither 0 nor 1")
    return str(identifier), ArrivedLabel(arrived_at=float(time), label=int(label))
