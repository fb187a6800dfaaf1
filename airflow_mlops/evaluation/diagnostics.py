"""Further questions about a candidate, each asked only where it is given: what metrics and slices do not tell.

One section per question. A section's own module holds what is wanted of it (``…Spec``), what was found (``…Report``)
and the measurement; this module only lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_mlops.evaluation.budgets import BudgetsReport, BudgetsSpec, measure_budgets
from airflow_mlops.evaluation.calibration import CalibrationReport, CalibrationSpec, measure_calibration
from airflow_mlops.evaluation.error_examples import ErrorExamplesReport, ErrorExamplesSpec, find_error_examples
from airflow_mlops.evaluation.explanations import ExplanationsReport, ExplanationsSpec, explain
from airflow_mlops.evaluation.fairness import FairnessSpec, measure_fairness
from airflow_mlops.evaluation.fairness_report import FairnessReport
from airflow_mlops.evaluation.freshness import FreshnessReport, FreshnessSpec, measure_freshness
from airflow_mlops.evaluation.leakage import LeakageReport, LeakageSpec, measure_leakage
from airflow_mlops.evaluation.methodology import MethodologyReport, MethodologySpec, check_methodology
from airflow_mlops.evaluation.robustness import RobustnessReport, RobustnessSpec, measure_robustness
from airflow_mlops.evaluation.scored import Task

__all__ = ["Diagnosed", "Diagnostics", "DiagnosticsReport", "Subject", "diagnose"]


@dataclass(frozen=True, kw_only=True)
class Diagnostics:
    """What else is wanted, section by section; None leaves a section out.

    :param fairness: whose treatment is compared
    :param calibration: whether probabilities mean what they say
    :param robustness: what becomes of the answers when rows are disturbed
    :param budgets: time, size and memory
    :param leakage: whether the candidate knows what it could not know
    :param freshness: how old the newest rows are
    :param explanations: what the candidate goes by
    :param methodology: skore's checks on how the candidate was made
    :param error_examples: which of the worst rows are shown; without it no row is
    """

    fairness: FairnessSpec | None = None
    calibration: CalibrationSpec | None = None
    robustness: RobustnessSpec | None = None
    budgets: BudgetsSpec | None = None
    leakage: LeakageSpec | None = None
    freshness: FreshnessSpec | None = None
    explanations: ExplanationsSpec | None = None
    methodology: MethodologySpec | None = None
    error_examples: ErrorExamplesSpec | None = None


@dataclass(frozen=True, kw_only=True)
class DiagnosticsReport:
    """What was found, section by section; None where it was not asked for."""

    fairness: FairnessReport | None = None
    calibration: CalibrationReport | None = None
    robustness: RobustnessReport | None = None
    budgets: BudgetsReport | None = None
    leakage: LeakageReport | None = None
    freshness: FreshnessReport | None = None
    explanations: ExplanationsReport | None = None
    methodology: MethodologyReport | None = None
    error_examples: ErrorExamplesReport | None = None


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """A model under examination.

    :param predict: frame to numpy array of answers, one per row: probabilities of class 1
    :param scores: its answers on the rows of the evaluation
    :param features: columns that it reads, in order, and their MLflow types
    :param path: its directory
    :param estimator: the loaded object
    """

    predict: Callable[[Any], Any]
    scores: Any
    features: dict[str, str]
    path: Path
    estimator: Any = None


@dataclass(frozen=True, kw_only=True)
class Subject:
    """All that a section may look at; arrays and frames have the rows of the evaluation in one order.

    :param rows: pandas DataFrame with every column of the data
    :param target: column with the labels
    :param labels: numpy array of labels
    :param days: numpy array that names each row's group
    :param candidate: the candidate
    :param champion: what serves now; None for a first release
    :param training_rows: the rows that the candidate was trained on; None if they were not given
    :param threshold: probability from which a row counts as predicted positive
    :param confidence: two-sided coverage of every interval
    :param minimum_rows: smaller parts of the data are not measured
    :param task: what the models do
    """

    rows: Any
    target: str
    labels: Any
    days: Any
    candidate: Diagnosed
    champion: Diagnosed | None = None
    training_rows: Any = None
    threshold: float = 0.5
    confidence: float = 0.95
    minimum_rows: int = 200
    task: Task = "classification"


def diagnose(wanted: Diagnostics, subject: Subject) -> DiagnosticsReport:
    """Ask every question that is wanted.

    :raises ContractError: if a section needs columns or rows that are not there
    """
    return DiagnosticsReport(
        fairness=None if wanted.fairness is None else measure_fairness(wanted.fairness, subject),
        calibration=None if wanted.calibration is None else measure_calibration(wanted.calibration, subject),
        robustness=None if wanted.robustness is None else measure_robustness(wanted.robustness, subject),
        budgets=None if wanted.budgets is None else measure_budgets(wanted.budgets, subject),
        leakage=None if wanted.leakage is None else measure_leakage(wanted.leakage, subject),
        freshness=None if wanted.freshness is None else measure_freshness(wanted.freshness, subject),
        explanations=None if wanted.explanations is None else explain(wanted.explanations, subject),
        methodology=None if wanted.methodology is None else check_methodology(wanted.methodology, subject),
        error_examples=None if wanted.error_examples is None else find_error_examples(wanted.error_examples, subject),
    )
