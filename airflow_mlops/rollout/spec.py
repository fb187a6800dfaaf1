"""What the user wants of a rollout: the steps, and what the canary has to show."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["LATENCY_EDGES_MS", "CanaryStep", "ErrorRateCheck", "LatencyCheck", "MannWhitneyCheck", "RolloutSpec"]

# The edges at which proxies count durations; between them nobody can say how many requests were slower.
LATENCY_EDGES_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000)


def _require(holds: bool, field_name: str, value: Any, accepted: str) -> None:
    if not holds:
        raise SpecificationError(field_name, value, accepted)


@dataclass(frozen=True, kw_only=True)
class CanaryStep:
    """One share of traffic, and how much has to be seen at it.

    :param weight_percent: share of requests that the candidate gets, 1 to 99
    :param min_seconds: the step lasts at least this long
    :param min_requests: both models have answered at least this many before anything can be proven
    """

    weight_percent: int
    min_seconds: float = 60.0
    min_requests: int = 100

    def __post_init__(self) -> None:
        """Refuse steps that cannot be judged."""
        _require(
            1 <= self.weight_percent <= 99,
            "CanaryStep.weight_percent",
            self.weight_percent,
            "a whole number from 1 to 99; all traffic follows by itself after the last step",
        )
        _require(self.min_seconds >= 0, "CanaryStep.min_seconds", self.min_seconds, "0 or more seconds")
        _require(self.min_requests >= 1, "CanaryStep.min_requests", self.min_requests, "at least 1 request")


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
        _require(
            self.slow_ms in LATENCY_EDGES_MS,
            "LatencyCheck.slow_ms",
            self.slow_ms,
            "one of the edges that the gateway measures at: " + ", ".join(map(str, LATENCY_EDGES_MS)),
        )
        _check_bounds("LatencyCheck", self.max_increase, self.harm_ratio)


def _check_bounds(owner: str, max_increase: float, harm_ratio: float) -> None:
    _require(0 < max_increase < 1, f"{owner}.max_increase", max_increase, "a number above 0 and below 1")
    _require(harm_ratio >= 1, f"{owner}.harm_ratio", harm_ratio, "1 or more")


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
        _require(10 <= self.looks <= 300, "MannWhitneyCheck.looks", self.looks, "10 to 300 looks")
        _require(
            0.5 < self.confidence < 1, "MannWhitneyCheck.confidence", self.confidence, "a number above 0.5 and below 1"
        )
        _require(0 <= self.tolerance < 1, "MannWhitneyCheck.tolerance", self.tolerance, "a number from 0 to below 1")
        _require(self.critical_ratio >= 1, "MannWhitneyCheck.critical_ratio", self.critical_ratio, "1 or more")


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    """How a candidate takes over.

    :param steps: shares of traffic, growing; all traffic follows after the last one
    :param error_rate: what is tolerated in failed requests
    :param latency: what is tolerated in slow requests; None leaves latency unjudged
    :param alpha: chance that a candidate which is no worse is rolled back for harm, over the whole rollout
    :param confidence: one-sided confidence with which each step shows that the increase is tolerated
    :param look_seconds: time between two looks at the counters
    :param step_timeout_seconds: a step that has not shown enough by then is rolled back
    :param max_unknown_seconds: how long the candidate may keep its traffic while nothing is known about it
    :param max_samples: requests that the candidate answers over the whole rollout at most; a rollout that has not
        proven enough by then goes back. Knowing the end makes the test of harm find more; None tests without an end
    :param fixed_horizon: tests harm by ranks, once per step, as Kayenta does, in place of the tests that hold ``alpha``
    """

    steps: tuple[CanaryStep, ...]
    error_rate: ErrorRateCheck = field(default_factory=ErrorRateCheck)
    latency: LatencyCheck | None = None
    alpha: float = 0.05
    confidence: float = 0.95
    look_seconds: float = 2.0
    step_timeout_seconds: float = 300.0
    max_unknown_seconds: float = 60.0
    max_samples: int | None = None
    fixed_horizon: MannWhitneyCheck | None = None

    def __post_init__(self) -> None:
        """Refuse what would never decide or never be judged."""
        _require(bool(self.steps), "RolloutSpec.steps", self.steps, "at least one step")
        weights = [step.weight_percent for step in self.steps]
        for position in range(1, len(weights)):
            _require(
                weights[position] > weights[position - 1],
                f"RolloutSpec.steps[{position}].weight_percent",
                weights[position],
                f"more than the step before it, which has {weights[position - 1]}",
            )
        _require(0 < self.alpha < 0.5, "RolloutSpec.alpha", self.alpha, "a number above 0 and below 0.5")
        _require(0.5 < self.confidence < 1, "RolloutSpec.confidence", self.confidence, "a number above 0.5 and below 1")
        _require(self.look_seconds > 0, "RolloutSpec.look_seconds", self.look_seconds, "more than 0 seconds")
        longest = max(step.min_seconds for step in self.steps)
        _require(
            self.step_timeout_seconds > longest,
            "RolloutSpec.step_timeout_seconds",
            self.step_timeout_seconds,
            f"more than the longest min_seconds of the steps, which is {longest:g}",
        )
        _require(
            self.max_unknown_seconds > self.look_seconds,
            "RolloutSpec.max_unknown_seconds",
            self.max_unknown_seconds,
            f"more than look_seconds, which is {self.look_seconds:g}",
        )
        fewest = sum(step.min_requests for step in self.steps)
        _require(
            self.max_samples is None or self.max_samples >= fewest,
            "RolloutSpec.max_samples",
            self.max_samples,
            f"at least the min_requests of all steps together, which are {fewest}",
        )
        if self.fixed_horizon is None:
            return
        _require(
            self.max_samples is None, "RolloutSpec.fixed_horizon", self.fixed_horizon, "nothing beside max_samples"
        )
        needed = (self.fixed_horizon.looks + 1) * self.look_seconds
        _require(
            self.step_timeout_seconds > needed,
            "RolloutSpec.step_timeout_seconds",
            self.step_timeout_seconds,
            f"more than the looks of fixed_horizon take, which is {needed:g}",
        )
