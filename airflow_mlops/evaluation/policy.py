"""What a candidate must show before it may be promoted.

A policy is a YAML file beside the DAG; :mod:`airflow_mlops.evaluation.rules` says what its rules mean:

.. code-block:: yaml

    policy_version: 1
    minimum_rows: {rows: 2000, positives: 300}
    absolute:
      - {metric: roc_auc, minimum: 0.60}
    non_inferiority:
      - {metric: roc_auc, margin: 0.02}
    superiority:
      - {metric: log_loss, severity: warn}
    slices:
      - {metric: roc_auc, margin: 0.05, correction: holm, min_rows: 500, undecided: warn, too_little_data: ignore}
    fairness:
      - {column: carrier, metric: selection_rate, min_ratio: 0.8}
      - {column: carrier, metric: equalized_odds, max_gap: 0.1, min_rows: 500}
    calibration: {maximum_error: 0.05}
    robustness: {missing: {maximum_flips: 0.05, maximum_loss: {roc_auc: 0.02}}}
    budgets: {maximum_p95_ms: {1: 20}, maximum_bytes_ratio: 2}
    leakage: {maximum_row_overlap: 0, training_before_evaluation: true, maximum_feature_power: 0.9}
    freshness: {maximum_training_days: 60}
    holdout: {max_uses: 3, on_reuse: tighten}
    approval: {ask: inconclusive}

Its JSON Schema, for editors, is ``airflow_mlops.schemas.load_schema("gate-policy-1")``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.codec import decode
from airflow_mlops.evaluation.approval import ApprovalRule
from airflow_mlops.evaluation.budgets_rule import BudgetsRule
from airflow_mlops.evaluation.calibration_rule import CalibrationRule
from airflow_mlops.evaluation.explanations_rule import ExplanationsRule
from airflow_mlops.evaluation.fairness_rule import FairnessRule
from airflow_mlops.evaluation.freshness_rule import FreshnessRule
from airflow_mlops.evaluation.holdout import HoldoutRule
from airflow_mlops.evaluation.leakage_rule import LeakageRule
from airflow_mlops.evaluation.robustness_rule import RobustnessRule
from airflow_mlops.evaluation.rules import AbsoluteRule, MinimumRows, NonInferiorityRule, SliceRule, SuperiorityRule
from airflow_mlops.exceptions import SpecificationError

__all__ = [
    "AbsoluteRule",
    "ApprovalRule",
    "BudgetsRule",
    "CalibrationRule",
    "ExplanationsRule",
    "FairnessRule",
    "FreshnessRule",
    "GatePolicy",
    "HoldoutRule",
    "LeakageRule",
    "MinimumRows",
    "NonInferiorityRule",
    "RobustnessRule",
    "SliceRule",
    "SuperiorityRule",
    "parse_policy",
]

#: Sections each of which is enough for a policy; a section holds a tuple of rules, or one rule or None.
_SECTIONS = (
    "absolute",
    "non_inferiority",
    "superiority",
    "slices",
    "fairness",
    "calibration",
    "robustness",
    "budgets",
    "leakage",
    "freshness",
    "explanations",
)


@dataclass(frozen=True, kw_only=True)
class GatePolicy:
    """All that is asked of a candidate.

    :param minimum_rows: how much evidence there must be
    :param absolute: bounds on the candidate's own metrics
    :param non_inferiority: comparisons with the champion on the same rows
    :param superiority: improvements on the champion that are asked for, on the same rows
    :param slices: what must hold in every part of the data
    :param fairness: how far apart groups may lie
    :param calibration: how far probabilities may be from the truth; None where that is not asked
    :param robustness: what disturbed rows may do
    :param budgets: what the model may cost to run
    :param leakage: what it must not know
    :param freshness: how old the newest rows may be
    :param explanations: whether the candidate must go by what the champion goes by
    :param holdout: how many candidates the same data may decide about; None for any number
    :param approval: when a person decides; None for what the gate's task says, and never where it says nothing
    :param confidence: two-sided coverage of the intervals that the rules look at; an evaluation made with another one
        is not accepted
    :param policy_version: version of this document's form
    """

    minimum_rows: MinimumRows = field(default_factory=MinimumRows)
    absolute: tuple[AbsoluteRule, ...] = ()
    non_inferiority: tuple[NonInferiorityRule, ...] = ()
    superiority: tuple[SuperiorityRule, ...] = ()
    slices: tuple[SliceRule, ...] = ()
    fairness: tuple[FairnessRule, ...] = ()
    calibration: CalibrationRule | None = None
    robustness: RobustnessRule | None = None
    budgets: BudgetsRule | None = None
    leakage: LeakageRule | None = None
    freshness: FreshnessRule | None = None
    explanations: ExplanationsRule | None = None
    holdout: HoldoutRule | None = None
    approval: ApprovalRule | None = None
    confidence: float = 0.95
    policy_version: int = 1

    def __post_init__(self) -> None:
        """Refuse a policy that judges nothing, or the same thing twice."""
        if not any(self.rules(section) for section in _SECTIONS):
            sections = f"{', '.join(_SECTIONS[:-1])} or {_SECTIONS[-1]}"
            raise SpecificationError("policy", "no rules", f"at least one rule under {sections}")
        if not 0 < self.confidence < 1:
            raise SpecificationError("policy.confidence", self.confidence, "a number between 0 and 1")
        if self.policy_version != 1:
            raise SpecificationError("policy.policy_version", self.policy_version, "1")
        for section in ("absolute", "non_inferiority", "superiority", "slices", "fairness"):
            names = [(rule.metric, getattr(rule, "kind", None)) for rule in self.rules(section)]
            twice = sorted({name for name, kind in names if names.count((name, kind)) > 1})
            if twice:
                raise SpecificationError(f"policy.{section}", ", ".join(twice), "each metric at most once")

    def rules(self, section: str) -> tuple[Any, ...]:
        """Return a section's rules, whether it holds several of them, one or none."""
        found = getattr(self, section)
        if isinstance(found, tuple):
            return found
        return () if found is None else (found,)


def parse_policy(document: Mapping[str, Any]) -> GatePolicy:
    """Read a policy from the mapping that a YAML file holds.

    :raises SpecificationError: on an unknown key, naming the nearest, a wrong type or a rule that makes no sense
    """
    return decode(GatePolicy, document, where="policy")
