"""What the user wants measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from airflow_mlops.evaluation.diagnostics import Diagnostics
from airflow_mlops.evaluation.scored import Task
from airflow_mlops.exceptions import SpecificationError

__all__ = ["EvaluationSpec"]

Block = Literal["entity", "time"]
"""What a group of rows is: an entity, independent of all others, or time, whose neighbours are alike."""


@dataclass(frozen=True, kw_only=True)
class EvaluationSpec:
    """How a model is evaluated.

    :param target: column with the labels: 0 or 1; for regression numbers; for ranking relevances, 0 or more
    :param day_column: column that groups rows which are not independent: a day, or an entity such as a customer
    :param slices: columns by which the measurements are repeated, value by value, and pairs of columns for what two
        values have in common
    :param minimum_slice_rows: smaller slices are counted but not measured
    :param confidence: two-sided coverage of every interval
    :param threshold: probability from which a row counts as predicted positive
    :param diagnostics: what else is wanted to be known
    :param task: ``classification`` into 0 and 1, ``regression`` or ``ranking``
    :param group_column: for ranking: the column that names the query which a row answers; else None
    :param cutoff: for ranking: how many of a query's first rows NDCG and MRR look at
    :param top_share: the share of rows with the highest probabilities whose lift is measured
    :param block: ``entity`` if the groups of ``day_column`` are independent of each other; ``time`` if they follow on
        one another when sorted, and neighbours are alike: then ``block_length`` of them in a row make one group
    :param block_length: how many values of ``day_column`` one block of time holds; as long as rows remember
    """

    target: str
    day_column: str = "date"
    slices: tuple[str | tuple[str, ...], ...] = ()
    minimum_slice_rows: int = 200
    confidence: float = 0.95
    threshold: float = 0.5
    diagnostics: Diagnostics | None = None
    task: Task = "classification"
    group_column: str | None = None
    cutoff: int = 10
    top_share: float = 0.1
    block: Block = "entity"
    block_length: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot be measured."""
        if not self.target:
            raise SpecificationError("EvaluationSpec.target", self.target, "the name of the label column")
        for name in ("minimum_slice_rows", "cutoff"):
            if getattr(self, name) < 1:
                raise SpecificationError(f"EvaluationSpec.{name}", getattr(self, name), "at least 1")
        for name in ("confidence", "threshold", "top_share"):
            if not 0 < getattr(self, name) < 1:
                raise SpecificationError(f"EvaluationSpec.{name}", getattr(self, name), "a number between 0 and 1")
        self._check_slices()
        self._check_blocks()
        if (self.task == "ranking") != (self.group_column is not None):
            wanted = "the column that names the query of a row" if self.task == "ranking" else "None but for a ranking"
            raise SpecificationError("EvaluationSpec.group_column", self.group_column, wanted)

    def _check_slices(self) -> None:
        for part in self.slices:
            if not isinstance(part, str) and (len(part) != 2 or len(set(part)) != 2):
                raise SpecificationError("EvaluationSpec.slices", list(part), "a column, or a pair of two columns")

    def _check_blocks(self) -> None:
        if self.block == "entity" and self.block_length is not None:
            raise SpecificationError("EvaluationSpec.block_length", self.block_length, "None unless block is 'time'")
        if self.block == "time" and (self.block_length is None or self.block_length < 2):
            raise SpecificationError(
                "EvaluationSpec.block_length", self.block_length, "2 or more where block is 'time'"
            )

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that the data must have beside the model's own."""
        sliced = (one for part in self.slices for one in ((part,) if isinstance(part, str) else part))
        queries = () if self.group_column is None else (self.group_column,)
        return tuple(dict.fromkeys((self.target, self.day_column, *queries, *sliced)))
