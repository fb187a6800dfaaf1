"""What the user wants measured."""

from __future__ import annotations

from dataclasses import dataclass

from airflow_mlops.evaluation.diagnostics import Diagnostics
from airflow_mlops.exceptions import SpecificationError

__all__ = ["EvaluationSpec"]


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """How a binary classifier is evaluated.

    :param target: column with the labels, 0 or 1
    :param day_column: column that groups rows which are not independent, usually the day
    :param slices: columns by which the measurements are repeated, value by value
    :param minimum_slice_rows: smaller slices are counted but not measured
    :param confidence: two-sided coverage of every interval
    :param threshold: probability from which a row counts as predicted positive
    :param diagnostics: what else is wanted to be known
    """

    target: str
    day_column: str = "date"
    slices: tuple[str, ...] = ()
    minimum_slice_rows: int = 200
    confidence: float = 0.95
    threshold: float = 0.5
    diagnostics: Diagnostics | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if not self.target:
            raise SpecificationError("EvaluationSpec.target", self.target, "the name of the label column")
        if self.minimum_slice_rows < 1:
            raise SpecificationError("EvaluationSpec.minimum_slice_rows", self.minimum_slice_rows, "at least 1")
        for name in ("confidence", "threshold"):
            if not 0 < getattr(self, name) < 1:
                raise SpecificationError(f"EvaluationSpec.{name}", getattr(self, name), "a number between 0 and 1")
