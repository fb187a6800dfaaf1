"""Rows as numbers, for explainers that know nothing else: text becomes codes, and back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.attribution import typed

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Diagnosed

__all__ = ["CodedRows"]


@dataclass(frozen=True, kw_only=True)
class CodedRows:
    """A model that takes an array of numbers.

    :param model: the model
    :param columns: its columns
    :param texts: column of text to its values; a value's code is its place there
    :param numbers: numpy array, rows by columns: what was coded
    :param like: an empty frame with the right columns
    """

    model: Diagnosed
    columns: tuple[str, ...]
    texts: dict[str, list[Any]]
    numbers: Any
    like: Any

    @classmethod
    def of(cls, model: Diagnosed, rows: Any) -> CodedRows:
        """Code rows.

        :param rows: frame with at least the model's columns
        """
        import numpy as np

        frame = typed(model, rows)
        columns = tuple(frame.columns)
        numbers = np.empty(frame.shape)
        texts = {}
        for at, name in enumerate(columns):
            if model.features[name] == "string":
                values = [
                    None if missing else value for value, missing in zip(frame[name], frame[name].isna(), strict=True)
                ]
                known = sorted({str(value) for value in values if value is not None})
                texts[name] = [*known, None]
                place = {value: code for code, value in enumerate(known)}
                numbers[:, at] = [len(known) if value is None else place[str(value)] for value in values]
            else:
                numbers[:, at] = frame[name].to_numpy()
        return cls(model=model, columns=columns, texts=texts, numbers=numbers, like=frame.iloc[:0])

    def predict(self, numbers: Any) -> Any:
        """Answer rows of numbers; codes between two values count as the nearer one."""
        import numpy as np

        columns = {}
        for at, name in enumerate(self.columns):
            if name in self.texts:
                values = np.array(self.texts[name], dtype="object")
                columns[name] = values[np.rint(numbers[:, at]).astype(int).clip(0, len(values) - 1)]
            else:
                columns[name] = numbers[:, at]
        return self.model.predict(type(self.like)(columns))
