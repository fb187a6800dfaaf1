"""Counting by day and group."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["MISSING", "Counts", "count", "groups_of"]

#: Rows that have no value make a group of their own, under this name.
MISSING = "(missing)"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """How often what happened, as arrays with one row per day and one column per group.

    :param day: of each row of the evaluation, as a number
    :param group: of each row
    :param scores: the model's answer to each row
    """

    day: Any
    group: Any
    scores: Any
    true_positives: Any
    false_positives: Any
    positives: Any
    rows: Any

    @property
    def selected(self) -> Any:
        """How many rows are predicted positive."""
        return self.true_positives + self.false_positives

    def of(self, metric: str) -> tuple[Any, Any]:
        """Return hits and what could have been one."""
        return {
            "selection_rate": (self.selected, self.rows),
            "true_positive_rate": (self.true_positives, self.positives),
            "false_positive_rate": (self.false_positives, self.rows - self.positives),
            "precision": (self.true_positives, self.selected),
            "roc_auc": (self.positives, self.rows),
        }[metric]

    def measurable(self, metric: str, large: Any, minimum_cases: int) -> Any:
        """Return those of the large groups in which a metric has enough cases, over at least two days."""
        hits, totals = (found[:, large] for found in self.of(metric))
        enough = (totals.sum(axis=0) >= minimum_cases) & ((totals > 0).sum(axis=0) >= 2)
        if metric == "roc_auc":
            enough &= (hits.sum(axis=0) >= minimum_cases) & ((totals - hits).sum(axis=0) >= minimum_cases)
        return large[enough]


def groups_of(values: Any) -> tuple[list[str], Any]:
    """Return the groups' names in order, and each row's group as a number."""
    import numpy as np

    texts = np.where(values.isna().to_numpy(), MISSING, np.asarray(values, dtype="object").astype(str))
    names, codes = np.unique(texts, return_inverse=True)
    return names.tolist(), codes


def count(subject: Subject, scores: Any, groups: Any, width: int) -> Counts:
    """Count what a model's answers to the rows of an evaluation come to.

    :param scores: its answers
    :param groups: group of each row, as a number
    :param width: how many groups there are
    """
    import numpy as np

    names, days = np.unique(np.asarray(subject.days), return_inverse=True)
    height = len(names)
    positive = np.asarray(subject.labels) == 1
    selected = np.asarray(scores) >= subject.threshold
    cells = days * width + groups

    def table(chosen: Any) -> Any:
        return np.bincount(cells[chosen], minlength=height * width).reshape(height, width)

    return Counts(
        day=days,
        group=groups,
        scores=np.asarray(scores),
        true_positives=table(positive & selected),
        false_positives=table(~positive & selected),
        positives=table(positive),
        rows=np.bincount(cells, minlength=height * width).reshape(height, width),
    )
