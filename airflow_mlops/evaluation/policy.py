"""What a candidate must show before it may be promoted.

A policy is a YAML file beside the DAG:

.. code-block:: yaml

    minimum_rows: {rows: 2000, positives: 300}
    absolute:
      - {metric: roc_auc, minimum: 0.60}
    non_inferiority:
      - {metric: roc_auc, margin: 0.02}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.evaluation.metrics import METRICS
from airflow_mlops.exceptions import SpecificationError

__all__ = ["AbsoluteRule", "GatePolicy", "MinimumRows", "NonInferiorityRule", "parse_policy"]


@dataclass(frozen=True, kw_only=True)
class MinimumRows:
    """How much evidence there must be at least.

    :param rows: labelled rows
    :param positives: rows with label 1, and as many with label 0
    """

    rows: int = 1000
    positives: int = 100

    def __post_init__(self) -> None:
        """Refuse a policy that would accept no evidence."""
        for name in ("rows", "positives"):
            if getattr(self, name) < 1:
                raise SpecificationError(f"minimum_rows.{name}", getattr(self, name), "at least 1")


@dataclass(frozen=True, kw_only=True)
class AbsoluteRule:
    """A bound on one metric; the whole interval must lie on its good side.

    :param metric: name of the metric
    :param minimum: the interval's low bound must reach it
    :param maximum: the interval's high bound must not exceed it
    """

    metric: str
    minimum: float | None = None
    maximum: float | None = None

    def __post_init__(self) -> None:
        """Refuse unknown metrics and rules with no bound or two."""
        _check_metric("absolute", self.metric)
        if (self.minimum is None) == (self.maximum is None):
            raise SpecificationError(
                f"absolute[{self.metric}]", (self.minimum, self.maximum), "either a minimum or a maximum"
            )
        if (self.minimum is not None) != METRICS[self.metric].greater_is_better:
            bound = "minimum" if METRICS[self.metric].greater_is_better else "maximum"
            raise SpecificationError(f"absolute[{self.metric}]", (self.minimum, self.maximum), f"a {bound}")


@dataclass(frozen=True, kw_only=True)
class NonInferiorityRule:
    """The candidate must be shown to be no worse than the champion by the margin or more.

    :param metric: name of the metric
    :param margin: how much worse would still be acceptable, in the metric's unit; above 0
    """

    metric: str
    margin: float

    def __post_init__(self) -> None:
        """Refuse unknown metrics and margins that nothing could show."""
        _check_metric("non_inferiority", self.metric)
        if not self.margin > 0:
            raise SpecificationError(f"non_inferiority[{self.metric}].margin", self.margin, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """All that is asked of a candidate.

    :param minimum_rows: how much evidence there must be
    :param absolute: bounds on the candidate's own metrics
    :param non_inferiority: comparisons with the champion on the same rows
    :param confidence: two-sided coverage of the intervals that the rules look at; an evaluation made with another one
        is not accepted
    :param policy_version: version of this document's form
    """

    minimum_rows: MinimumRows = field(default_factory=MinimumRows)
    absolute: tuple[AbsoluteRule, ...] = ()
    non_inferiority: tuple[NonInferiorityRule, ...] = ()
    confidence: float = 0.95
    policy_version: int = 1

    def __post_init__(self) -> None:
        """Refuse a policy that judges nothing, or the same thing twice."""
        if not self.absolute and not self.non_inferiority:
            raise SpecificationError("policy", "no rules", "at least one rule under absolute or non_inferiority")
        if not 0 < self.confidence < 1:
            raise SpecificationError("policy.confidence", self.confidence, "a number between 0 and 1")
        if self.policy_version != 1:
            raise SpecificationError("policy.policy_version", self.policy_version, "1")
        for section in ("absolute", "non_inferiority"):
            names = [rule.metric for rule in getattr(self, section)]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise SpecificationError(f"policy.{section}", ", ".join(twice), "each metric at most once")


def parse_policy(document: Mapping[str, Any]) -> GatePolicy:
    """Read a policy from the mapping that a YAML file holds.

    :raises SpecificationError: on an unknown key, naming the nearest, a wrong type or a rule that makes no sense
    """
    return decode(GatePolicy, document, where="policy")


def _check_metric(section: str, name: str) -> None:
    if name not in METRICS:
        raise SpecificationError(f"{section}.metric", name, "one of " + ", ".join(METRICS))
