"""Whether the probabilities are right: of the rows with a probability of 30 %, 30 % should come true.

The answer has three parts, each with what chance alone would do: the expected calibration error with the p-value of a
perfectly calibrated model, the slope and intercept of the logistic line, and the bins for people to look at. Whether
probabilities are good enough to be used is told by ``brier`` and ``log_loss`` among the metrics, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_mlops.evaluation.estimate import Estimate
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.calibration_error import (
    calibration_error,
    consistency_errors,
    equal_mass_bins,
    grouped_errors,
    p_value_of_error,
)
from airflow_mlops.stats.calibration_line import calibration_line
from airflow_mlops.stats.wilson import wilson_interval

if TYPE_CHECKING:
    from airflow_mlops.evaluation.diagnostics import Subject

__all__ = ["CalibrationBin", "CalibrationReport", "CalibrationSpec", "ModelCalibration", "measure_calibration"]


@dataclass(frozen=True, kw_only=True)
class CalibrationSpec:
    """How calibration is measured.

    :param bins: into how many bins of equal mass the rows are put; equal probabilities stay in one bin
    :param simulations: how many samples of a perfectly calibrated model the error is compared with
    :param seed: of the simulations
    """

    bins: int = 10
    simulations: int = 1000
    seed: int = 2013

    def __post_init__(self) -> None:
        """Refuse what shows nothing."""
        if self.bins < 2:
            raise SpecificationError("calibration.bins", self.bins, "at least 2")
        if self.simulations < 200:
            raise SpecificationError("calibration.simulations", self.simulations, "at least 200")
        if self.seed < 0:
            raise SpecificationError("calibration.seed", self.seed, "0 or a number above 0")


@dataclass(frozen=True, kw_only=True)
class CalibrationBin:
    """Rows with about the same probability.

    :param rows: how many rows
    :param mean_prediction: their mean probability
    :param rate: share of positives among them, with its interval
    """

    rows: int
    mean_prediction: float
    rate: Estimate


@dataclass(frozen=True, kw_only=True)
class ModelCalibration:
    """What was found about one model.

    :param error: expected calibration error; the interval reaches as far to each side as chance alone would bring it
    :param chance: the error that a perfectly calibrated model would exceed with a probability of one minus confidence
    :param p_value: how likely so large an error is for a perfectly calibrated model and independent rows
    :param grouped_p_value: the same for rows that depend on each other within groups; None where each is its own group
    :param bins: in order of probability
    :param slope: of the logistic line; 1 is perfect, below are probabilities too extreme
    :param intercept: of the logistic line with slope 1, in log-odds; 0 is perfect, above are probabilities too low
    :param unmeasured: ``slope`` and ``intercept`` to the reason why they are not there
    """

    error: Estimate
    chance: float
    p_value: float
    grouped_p_value: float | None
    bins: tuple[CalibrationBin, ...]
    slope: Estimate | None = None
    intercept: Estimate | None = None
    unmeasured: Mapping[str, str] = field(default_factory=dict)

    @property
    def worst_p_value(self) -> float:
        """The larger of the p-values: what both ways of looking at the rows allow to be said."""
        return max(self.p_value, self.grouped_p_value or 0.0)


@dataclass(frozen=True, kw_only=True)
class CalibrationReport:
    """What was found.

    :param rows: how many rows
    :param confidence: two-sided coverage of all intervals
    :param candidate: the candidate; None if there was nothing to measure
    :param champion: the champion on the same rows
    :param unmeasured: why there is nothing, if so
    """

    rows: int
    confidence: float
    candidate: ModelCalibration | None = None
    champion: ModelCalibration | None = None
    unmeasured: str | None = None


def measure_calibration(spec: CalibrationSpec, subject: Subject) -> CalibrationReport:
    """Measure candidate and champion."""
    import numpy as np

    labels = np.asarray(subject.labels)
    if not np.isin(labels, (0, 1)).all():
        why = "calibration is about probabilities of a label that is 0 or 1"
        return CalibrationReport(rows=len(labels), confidence=subject.confidence, unmeasured=why)
    _, groups = np.unique(np.asarray(subject.days), return_inverse=True)
    champion = subject.champion
    return CalibrationReport(
        rows=len(labels),
        confidence=subject.confidence,
        candidate=_model(spec, labels, subject.candidate.scores, groups, subject.confidence),
        champion=None if champion is None else _model(spec, labels, champion.scores, groups, subject.confidence),
    )


def _model(spec: CalibrationSpec, labels: Any, scores: Any, groups: Any, confidence: float) -> ModelCalibration:
    import numpy as np

    scores = np.asarray(scores, dtype="float64")
    codes, count = equal_mass_bins(scores, spec.bins)
    found = calibration_error(labels, scores, codes)
    generator = np.random.default_rng(spec.seed)
    by_chance = consistency_errors(scores, codes, simulations=spec.simulations, generator=generator)
    chance, grouped_p_value = float(np.quantile(by_chance, confidence)), None
    if 1 < groups.max() + 1 < len(groups):
        grouped = grouped_errors(labels, scores, codes, groups, simulations=spec.simulations, generator=generator)
        chance = max(chance, float(np.quantile(grouped, confidence)))
        grouped_p_value = p_value_of_error(found, grouped)
    line, unmeasured = _line(labels, scores, groups, confidence)
    method = f"{count} bins of equal mass; as far as chance reaches, {spec.simulations} simulations"
    return ModelCalibration(
        error=Estimate(value=found, low=max(0.0, found - chance), high=found + chance, method=method),
        chance=chance,
        p_value=p_value_of_error(found, by_chance),
        grouped_p_value=grouped_p_value,
        bins=_bins(labels, scores, codes, count, confidence),
        unmeasured=unmeasured,
        **line,
    )


def _line(labels: Any, scores: Any, groups: Any, confidence: float) -> tuple[dict[str, Estimate], dict[str, str]]:
    grouped = 1 < groups.max() + 1 < len(groups)
    method = "logistic line, robust to dependence within days" if grouped else "logistic line"
    try:
        found = calibration_line(labels, scores, clusters=groups if grouped else None, confidence=confidence)
    except SpecificationError as error:
        return {}, dict.fromkeys(("slope", "intercept"), str(error))
    return {
        name: Estimate(value=one.value, low=one.low, high=one.high, method=method)
        for name, one in zip(("slope", "intercept"), found, strict=True)
    }, {}


def _bins(labels: Any, scores: Any, codes: Any, count: int, confidence: float) -> tuple[CalibrationBin, ...]:
    import numpy as np

    rows = np.bincount(codes, minlength=count)
    positives = np.bincount(codes, weights=labels, minlength=count)
    means = np.bincount(codes, weights=scores, minlength=count) / rows
    found = []
    for size, hits, mean in zip(rows.tolist(), positives.tolist(), means.tolist(), strict=True):
        low, high = wilson_interval(round(hits), size, confidence)
        rate = Estimate(value=hits / size, low=low, high=high, method="Wilson")
        found.append(CalibrationBin(rows=size, mean_prediction=mean, rate=rate))
    return tuple(found)
