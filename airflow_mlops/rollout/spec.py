"""What the user wants of a rollout: the steps, and what the canary has to show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from airflow_mlops.rollout.checks import (
    LABELLED,
    LABELS,
    LATENCY_EDGES_MS,
    USERS,
    ErrorRateCheck,
    LabelCheck,
    LatencyCheck,
    MannWhitneyCheck,
    PredictionCheck,
    require,
    tally_above,
)

__all__ = [
    "LATENCY_EDGES_MS",
    "CanaryStep",
    "ErrorRateCheck",
    "LabelCheck",
    "LatencyCheck",
    "MannWhitneyCheck",
    "PredictionCheck",
    "RolloutSpec",
]


@dataclass(frozen=True, kw_only=True)
class CanaryStep:
    """One share of traffic, and how much has to be seen at it.

    :param weight_percent: share of requests that the candidate gets, 1 to 99; 0 and 100 with ``blue_green`` only
    :param min_seconds: the step lasts at least this long
    :param min_requests: both models have answered at least this many before anything can be proven
    :param approval: after its proof the step waits until somebody approves it; harm is looked for meanwhile
    :param judge_labels: the step ends only with proof by labels, too. With most of the traffic at the candidate it is
        a holdback: a few percent stay at the stable model for days, until labels decide
    :param timeout_seconds: the step is rolled back when it is not over by then; None takes the rollout's
        ``step_timeout_seconds``
    """

    weight_percent: int
    min_seconds: float = 60.0
    min_requests: int = 100
    approval: bool = False
    judge_labels: bool = False
    timeout_seconds: float | None = None

    def __post_init__(self) -> None:
        """Refuse steps that cannot be judged."""
        require(0 <= self.weight_percent <= 100, "CanaryStep.weight_percent", self.weight_percent, _WEIGHTS)
        require(self.min_seconds >= 0, "CanaryStep.min_seconds", self.min_seconds, "0 or more seconds")
        require(self.min_requests >= 1, "CanaryStep.min_requests", self.min_requests, "at least 1 request")
        require(
            self.timeout_seconds is None or self.timeout_seconds > self.min_seconds,
            "CanaryStep.timeout_seconds",
            self.timeout_seconds,
            f"more than min_seconds, which is {self.min_seconds:g}",
        )

    @property
    def is_holdback(self) -> bool:
        """Whether the stable model keeps the smaller part only to be compared with by labels."""
        return self.judge_labels and self.weight_percent > 50


_WEIGHTS = "a whole number from 1 to 99; all traffic follows by itself after the last step"


@dataclass(frozen=True, kw_only=True)
class RolloutSpec:
    """How a candidate takes over.

    :param steps: shares of traffic, growing; all traffic follows after the last one
    :param error_rate: what is tolerated in failed requests
    :param latency: what is tolerated in slow requests; None leaves latency unjudged
    :param labels: what is tolerated in wrong predictions, by labels that arrive late; None leaves them unjudged
    :param predictions: by how much the distribution of predictions may differ; None leaves it unjudged
    :param alpha: chance that a candidate which is no worse is rolled back for harm, over the whole rollout
    :param confidence: one-sided confidence with which each step shows that the increase is tolerated
    :param look_seconds: time between two looks at the counters
    :param step_timeout_seconds: a step that has not shown enough by then is rolled back
    :param max_unknown_seconds: how long the candidate may keep its traffic while nothing is known about it
    :param max_samples: requests that the candidate answers over the whole rollout at most; a rollout that has not
        proven enough by then goes back. Knowing the end makes the test of harm find more; None tests without an end
    :param fixed_horizon: tests harm by ranks, once per step, as Kayenta does, in place of the tests that hold ``alpha``
    :param unit: what errors and the share of traffic are counted in. ``users`` is for traffic that sticks to a model
        by user, where requests of one user are no independent evidence; the other checks count as before
    :param strategy: ``blue_green`` measures the stable model alone, at a step of 0 %, then moves all traffic at once,
        at a step of 100 %, and judges the candidate against what was measured before; the stable model stays ready
    """

    steps: tuple[CanaryStep, ...]
    error_rate: ErrorRateCheck = field(default_factory=ErrorRateCheck)
    latency: LatencyCheck | None = None
    labels: LabelCheck | None = None
    predictions: PredictionCheck | None = None
    alpha: float = 0.05
    confidence: float = 0.95
    look_seconds: float = 2.0
    step_timeout_seconds: float = 300.0
    max_unknown_seconds: float = 60.0
    max_samples: int | None = None
    fixed_horizon: MannWhitneyCheck | None = None
    unit: Literal["requests", "users"] = "requests"
    strategy: Literal["canary", "blue_green"] = "canary"

    def __post_init__(self) -> None:
        """Refuse what would never decide or never be judged."""
        require(bool(self.steps), "RolloutSpec.steps", self.steps, "at least one step")
        if self.strategy == "canary":
            _check_weights([step.weight_percent for step in self.steps])
        else:
            self._check_blue_green()
        require(0 < self.alpha < 0.5, "RolloutSpec.alpha", self.alpha, "a number above 0 and below 0.5")
        require(0.5 < self.confidence < 1, "RolloutSpec.confidence", self.confidence, "a number above 0.5 and below 1")
        require(self.look_seconds > 0, "RolloutSpec.look_seconds", self.look_seconds, "more than 0 seconds")
        require(
            self.max_unknown_seconds > self.look_seconds,
            "RolloutSpec.max_unknown_seconds",
            self.max_unknown_seconds,
            f"more than look_seconds, which is {self.look_seconds:g}",
        )
        self._check_timeouts()
        fewest = sum(step.min_requests for step in self.steps)
        require(
            self.max_samples is None or self.max_samples >= fewest,
            "RolloutSpec.max_samples",
            self.max_samples,
            f"at least the min_requests of all steps together, which are {fewest}",
        )
        require(
            self.max_samples is None or self.fixed_horizon is None,
            "RolloutSpec.fixed_horizon",
            self.fixed_horizon,
            "nothing beside max_samples",
        )

    def timeout_of(self, step: CanaryStep) -> float:
        """Return after how many seconds a step is rolled back that is not over."""
        return self.step_timeout_seconds if step.timeout_seconds is None else step.timeout_seconds

    def wanted_tallies(self) -> tuple[str, ...]:
        """Return what has to be counted beside requests, errors and durations, by name."""
        names = [LABELS] if self.labels is not None else []
        if self.labels is not None and self.labels.max_coverage_difference is not None:
            names.append(LABELLED)
        if self.predictions is not None:
            names += [tally_above(edge) for edge in self.predictions.edges]
        return tuple([*names, USERS] if self.unit == "users" else names)

    def _check_timeouts(self) -> None:
        longest = max((step.min_seconds for step in self.steps if step.timeout_seconds is None), default=0.0)
        require(
            self.step_timeout_seconds > longest,
            "RolloutSpec.step_timeout_seconds",
            self.step_timeout_seconds,
            f"more than the longest min_seconds of the steps, which is {longest:g}",
        )
        for position, step in enumerate(self.steps):
            timeout = self.timeout_of(step)
            if step.judge_labels:
                require(
                    self.labels is not None,
                    f"RolloutSpec.steps[{position}].judge_labels",
                    True,
                    "false without labels: there is nothing to judge by",
                )
                age = 0.0 if self.labels is None else self.labels.age_seconds
                require(
                    timeout > age,
                    f"RolloutSpec.steps[{position}].timeout_seconds",
                    timeout,
                    f"more than labels.age_seconds, which is {age:g}: no label of the step counts before",
                )
            if self.fixed_horizon is not None:
                needed = (self.fixed_horizon.looks + 1) * self.look_seconds
                require(
                    timeout > needed,
                    "RolloutSpec.step_timeout_seconds",
                    timeout,
                    f"more than the looks of fixed_horizon take, which is {needed:g}",
                )

    def _check_blue_green(self) -> None:
        weights = [step.weight_percent for step in self.steps]
        require(
            weights == [0, 100],
            "RolloutSpec.steps",
            weights,
            "two steps with blue_green: 0 %, in which the stable model is measured, then 100 %",
        )
        for name, reason in (
            ("max_samples", "its tests compare models that answer at the same time"),
            ("fixed_horizon", "it compares models that answer at the same time"),
            ("labels", "labels of the time before the switch arrive after it; use a holdback"),
        ):
            value = getattr(self, name)
            require(value is None, f"RolloutSpec.{name}", value, f"nothing with blue_green: {reason}")


def _check_weights(weights: Sequence[int]) -> None:
    for position, weight in enumerate(weights):
        require(
            1 <= weight <= 99,
            f"RolloutSpec.steps[{position}].weight_percent",
            weight,
            f"{_WEIGHTS}; 0 and 100 belong to the strategy blue_green",
        )
        require(
            position == 0 or weight > weights[position - 1],
            f"RolloutSpec.steps[{position}].weight_percent",
            weight,
            f"more than the step before it, which has {weights[position - 1]}",
        )
