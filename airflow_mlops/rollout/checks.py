"""What the candidate of a rollout has to show, check by check."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = [
    "LABELLED",
    "LABELS",
    "LATENCY_EDGES_MS",
    "USERS",
    "ErrorRateCheck",
    "LabelCheck",
    "LatencyCheck",
    "MannWhitneyCheck",
    "PredictionCheck",
    "require",
    "tally_above",
]

# The edges at which proxies count durations; between them nobody can say how many requests were slower.
LATENCY_EDGES_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000)

LABELS = "labels"
"""Name of the tally of labelled predictions, and of those that were wrong."""

LABELLED = "labelled"
"""Name of the tally of predictions that are old enough for a label, and of those of them that have one."""

USERS = "users"
"""Name of the tally of users, and of those that met an error.

A source counts a user once per model in every period of fixed length, and as a hit if any of his requests in it failed.
Periods have to be short beside the steps: a user counted before a step began is not counted again in that period.
"""


def tally_above(edge: float) -> str:
    """Return the name of the tally of predictions, and of those at or above an edge."""
    return f"predictions_above_{edge:.15g}"


def require(holds: bool, field_name: str, value: Any, accepted: str) -> None:
    """Refuse a value of a specification.

    :raises SpecificationError: unless it holds
    """
    if not holds:
        raise SpecificationError(field_name, value, accepted)


@dataclass(frozen=True, kw_only=True)
class ErrorRateCheck:
    """The candidate must not fail more often than the stable model.

    :param max_increase: tolerated increase of the share of failed requests, absolute: 0.02 is two percentage points
    :param harm_ratio: harm is shown against this multiple of the stable model's rate
    """

    max_increase: float = 0.02
    harm_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing."""
        _check_bounds("ErrorRateCheck", self.max_increase, self.harm_ratio)


@dataclass(frozen=True, kw_only=True)
class LatencyCheck:
    """The candidate must not be slow more often than the stable model.

    :param slow_ms: requests that take longer are slow; one of the edges that the gateway measures at
    :param max_increase: tolerated increase of the share of slow requests, absolute
    :param harm_ratio: harm is shown against this multiple of the stable model's share; two by default, because a new
        process is a little slower at first
    """

    slow_ms: int
    max_increase: float = 0.05
    harm_ratio: float = 2.0

    def __post_init__(self) -> None:
        """Refuse edges that nobody measures and bounds that mean nothing."""
        require(
            self.slow_ms in LATENCY_EDGES_MS,
            "LatencyCheck.slow_ms",
            self.slow_ms,
            "one of the edges that the gateway measures at: " + ", ".join(map(str, LATENCY_EDGES_MS)),
        )
        _check_bounds("LatencyCheck", self.max_increase, self.harm_ratio)


def _check_bounds(owner: str, max_increase: float, harm_ratio: float) -> None:
    require(0 < max_increase < 1, f"{owner}.max_increase", max_increase, "a number above 0 and below 1")
    require(harm_ratio >= 1, f"{owner}.harm_ratio", harm_ratio, "1 or more")


@dataclass(frozen=True, kw_only=True)
class LabelCheck:
    """The candidate must not be wrong more often than the stable model, by labels that arrive late.

    A label counts only if its prediction is at least ``age_seconds`` old and the label had arrived within that time, so
    that both models are compared at equal age. Harm is looked for whenever there are labels; a step with
    ``judge_labels`` ends only with proof by labels of its own predictions.

    :param age_seconds: age at which a prediction is judged; the source of the counts has to be set to the same
    :param max_increase: tolerated increase of the share of wrong predictions, absolute
    :param harm_ratio: harm is shown against this multiple of the stable model's share
    :param min_labels: labels that both models need in a step before anything can be proven by them
    :param max_coverage_difference: a step with ``judge_labels`` has to prove as well that the share of predictions with
        a label differs by no more than this between the models, absolute and in both directions: where labels come for
        one model more often, what they say of the models may be what they say of the requests. None does not look.
    """

    age_seconds: float
    max_increase: float = 0.02
    harm_ratio: float = 1.0
    min_labels: int = 100
    max_coverage_difference: float | None = None

    def __post_init__(self) -> None:
        """Refuse bounds that mean nothing."""
        require(self.age_seconds >= 0, "LabelCheck.age_seconds", self.age_seconds, "0 or more seconds")
        require(self.min_labels >= 1, "LabelCheck.min_labels", self.min_labels, "at least 1 label")
        tolerated = self.max_coverage_difference
        require(
            tolerated is None or 0 < tolerated < 1,
            "LabelCheck.max_coverage_difference",
            tolerated,
            "a number above 0 and below 1, or none",
        )
        _check_bounds("LabelCheck", self.max_increase, self.harm_ratio)


@dataclass(frozen=True, kw_only=True)
class PredictionCheck:
    """The candidate's predictions must lie as the stable model's do, in both directions, at every edge.

    :param edges: for each one the share of predictions at or above it is compared
    :param max_difference: tolerated difference of that share, absolute: 0.05 is five percentage points
    """

    edges: tuple[float, ...]
    max_difference: float = 0.05

    def __post_init__(self) -> None:
        """Refuse edges that compare nothing."""
        require(bool(self.edges), "PredictionCheck.edges", self.edges, "at least one number")
        require(
            all(map(math.isfinite, self.edges)) and len({tally_above(edge) for edge in self.edges}) == len(self.edges),
            "PredictionCheck.edges",
            self.edges,
            "finite numbers, each once",
        )
        require(
            0 < self.max_difference < 1,
            "PredictionCheck.max_difference",
            self.max_difference,
            "a number above 0 and below 1",
        )


@dataclass(frozen=True, kw_only=True)
class MannWhitneyCheck:
    """Harm by ranks, once per step, compatible with Kayenta.

    :param looks: looks with requests at both models that a step compares; Kayenta's documentation wants 50 or more
    :param confidence: coverage of the interval of the shift
    :param tolerance: share of the shift's estimate that the interval's lower end has to exceed
    :param critical_ratio: the candidate's mean rate has to be above this multiple of the stable model's
    """

    looks: int = 60
    confidence: float = 0.98
    tolerance: float = 0.25
    critical_ratio: float = 1.0

    def __post_init__(self) -> None:
        """Refuse horizons that show nothing, or cost more than they show."""
        require(10 <= self.looks <= 300, "MannWhitneyCheck.looks", self.looks, "10 to 300 looks")
        require(
            0.5 < self.confidence < 1, "MannWhitneyCheck.confidence", self.confidence, "a number above 0.5 and below 1"
        )
        require(0 <= self.tolerance < 1, "MannWhitneyCheck.tolerance", self.tolerance, "a number from 0 to below 1")
        require(self.critical_ratio >= 1, "MannWhitneyCheck.critical_ratio", self.critical_ratio, "1 or more")
