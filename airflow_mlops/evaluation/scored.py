"""Labelled rows with one model's answers: what every metric looks at."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from airflow_mlops.exceptions import ContractError
from airflow_mlops.stats.cluster_bootstrap import gathered
from airflow_mlops.stats.cluster_mean import cluster_codes

__all__ = ["Scored", "Task"]

Task = Literal["classification", "regression", "ranking"]
"""What a model does: say how likely a row is of class 1, foretell a number, or put the rows of a query in order."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Labelled rows with a model's answers, as numpy arrays of one length.

    :param labels: 0 or 1; for regression the numbers that were to be foretold; for ranking relevances, 0 or more
    :param scores: probabilities of 1; for regression the foretold numbers; for ranking numbers, higher for first
    :param days: group of each row; rows of different groups are independent
    :param threshold: probability from which a row counts as predicted positive
    :param task: what the model does
    :param queries: for ranking: the query that each row answers
    :param cutoff: for ranking: how many of the first rows count
    :param top_share: the share of rows with the highest scores whose lift is measured
    """

    labels: Any
    scores: Any
    days: Any
    threshold: float = 0.5
    task: Task = "classification"
    queries: Any = None
    cutoff: int = 10
    top_share: float = 0.1

    def __post_init__(self) -> None:
        """Refuse labels and answers that the task cannot have."""
        if len(self.labels) == 0:
            raise ContractError("there are no rows to evaluate on")
        {"classification": self._classified, "regression": self._foretold, "ranking": self._ranked}[self.task]()

    def scored_by(self, scores: Any) -> Scored:
        """Return the same rows with another model's answers."""
        return replace(self, scores=scores)

    def part(self, chosen: Any) -> Scored:
        """Return some of the rows.

        :param chosen: array of truth values or positions, or a slice
        """
        return replace(
            self,
            labels=self.labels[chosen],
            scores=self.scores[chosen],
            days=self.days[chosen],
            queries=None if self.queries is None else self.queries[chosen],
        )

    @cached_property
    def groups(self) -> tuple[Any, int]:
        """Number of each row's group and how many groups there are, gathered to as many as can be resampled.

        :raises SpecificationError: if there are fewer than two
        """
        return gathered(*cluster_codes(self.days, len(self.labels)))

    @cached_property
    def chosen(self) -> Any:
        """Which rows count as predicted positive."""
        return self.scores >= self.threshold

    def _classified(self) -> None:
        import numpy as np

        if not np.isin(self.labels, (0, 1)).all():
            found = np.unique(np.asarray(self.labels, dtype="object").astype(str))
            more = f" and {len(found) - 5} more" if len(found) > 5 else ""
            raise ContractError(
                f"labels must be 0 or 1; found {', '.join(found[:5].tolist())}{more}. More than two classes are not "
                "measured: make one class 1 and the others 0; numbers are for the task 'regression'"
            )
        if not (np.isfinite(self.scores).all() and (self.scores >= 0).all() and (self.scores <= 1).all()):
            raise ContractError("the model's answers must be probabilities between 0 and 1")

    def _foretold(self) -> None:
        self._numbers("labels", self.labels)
        self._numbers("the model's answers", self.scores)

    def _ranked(self) -> None:
        self._numbers("labels", self.labels)
        self._numbers("the model's answers", self.scores)
        if (self.labels < 0).any():
            raise ContractError("labels of a ranking are relevances of 0 or more; found negative ones")
        if self.queries is None:
            raise ContractError("a ranking needs the query of each row; name its column as group_column")

    @staticmethod
    def _numbers(what: str, found: Any) -> None:
        import numpy as np

        if found.dtype.kind not in "buif" or not np.isfinite(found).all():
            raise ContractError(f"{what} must be finite numbers")
