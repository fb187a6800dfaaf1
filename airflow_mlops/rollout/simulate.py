"""What a spec would do, before anyone starts it: false rollbacks, missed regressions, duration and exposure.

Thousands of rollouts are driven through the rules of the transition with made-up traffic, once with a candidate that
is equal to the stable model and once for every regression asked about.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.cohort import CAUSES, Cohort
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.rollout.traffic import Regression, Traffic, Waves, draw_window
from airflow_mlops.stats.wilson import wilson_interval

__all__ = ["EQUAL", "Rate", "Scenario", "Simulation", "simulate"]

EQUAL = "equal"
"""Name of the scenario in which the candidate is as the stable model."""

_POINTS = 60


@dataclass(frozen=True, kw_only=True)
class Rate:
    """A share of the simulated rollouts.

    :param value: the share
    :param low: lower end of its 95 % interval, because there were only so many runs
    :param high: upper end
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """How rollouts of one kind of candidate end.

    :param name: ``equal``, or how much worse the candidate is
    :param error_rate: the candidate's
    :param slow_share: the candidate's
    :param promoted: rollouts in which it takes over: right if it is equal, a missed regression if it is not
    :param harm: rollouts that go back because harm is proven: false if it is equal
    :param unproven: rollouts that go back because a step could not prove enough in time
    :param unknown: rollouts that go back because too little was known for too long
    :param mean_seconds: from the first weight to the end, on average
    :param p90_seconds: what nine in ten rollouts take at most
    :param mean_requests: requests that the candidate answers before the end, on average
    :param p90_requests: what nine in ten rollouts expose at most
    :param back_by: seconds, and the share of rollouts that went back by then
    :param promoted_by: the same for promotions
    """

    name: str
    error_rate: float
    slow_share: float
    promoted: Rate
    harm: Rate
    unproven: Rate
    unknown: Rate
    mean_seconds: float
    p90_seconds: float
    mean_requests: float
    p90_requests: float
    back_by: tuple[tuple[float, float], ...]
    promoted_by: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """What a spec would do.

    :param spec: the rules
    :param traffic: the traffic that was made up
    :param runs: rollouts per scenario
    :param seed: of the dice; the same one gives the same numbers
    :param scenarios: the equal candidate first
    """

    spec: RolloutSpec
    traffic: Traffic
    runs: int
    seed: int
    scenarios: tuple[Scenario, ...]

    @property
    def false_rollback(self) -> Rate:
        """Share of equal candidates that go back for harm."""
        return self.scenarios[0].harm


def simulate(
    spec: RolloutSpec, traffic: Traffic, regressions: Mapping[str, Regression], *, runs: int = 2000, seed: int = 0
) -> Simulation:
    """Drive rollouts from their first weight to their end.

    :param regressions: name to how much worse the candidate is
    :param runs: rollouts per scenario, 1 to 100000
    :param seed: of the dice
    :raises SpecificationError: if a regression is none, or there are too many runs or none
    """
    if not 1 <= runs <= 100_000:
        raise SpecificationError("runs", runs, "1 to 100000 rollouts")
    candidates = {EQUAL: Regression(), **regressions}
    scenarios = [
        _scenario(name, spec, traffic, how.of(traffic), runs=runs, seed=seed) for name, how in candidates.items()
    ]
    return Simulation(spec=spec, traffic=traffic, runs=runs, seed=seed, scenarios=tuple(scenarios))


def _scenario(
    name: str, spec: RolloutSpec, traffic: Traffic, rates: tuple[float, float], *, runs: int, seed: int
) -> Scenario:
    import numpy as np

    cohort, seconds, exposed = _drive(spec, traffic, rates, runs=runs, seed=seed)
    ends = [cohort.cause == cause for cause in range(len(CAUSES))]
    back = ends[CAUSES.index("harm")] | ends[CAUSES.index("unproven")] | ends[CAUSES.index("unknown")]
    promoted = ends[CAUSES.index("promoted")]
    times = np.linspace(0.0, float(seconds.max()), _POINTS)
    return Scenario(
        name=name,
        error_rate=rates[0],
        slow_share=rates[1],
        **{cause: _rate(int(ends[CAUSES.index(cause)].sum()), runs) for cause in CAUSES[1:]},
        mean_seconds=float(seconds.mean()),
        p90_seconds=float(np.quantile(seconds, 0.9, method="inverted_cdf")),
        mean_requests=float(exposed.mean()),
        p90_requests=float(np.quantile(exposed, 0.9, method="inverted_cdf")),
        back_by=_by(times, seconds[back], runs),
        promoted_by=_by(times, seconds[promoted], runs),
    )


def _drive(
    spec: RolloutSpec, traffic: Traffic, rates: tuple[float, float], *, runs: int, seed: int
) -> tuple[Cohort, Any, Any]:
    """Return the ended rollouts, their seconds and the requests that their candidates answered."""
    import numpy as np

    random = np.random.default_rng(seed)
    cohort, waves = Cohort(spec, runs), Waves(traffic, runs, random)
    seconds, exposed = np.zeros(runs), np.zeros(runs, int)
    arms = {"canary": rates, "baseline": (traffic.error_rate, traffic.slow_share)}
    look = 0
    while True:
        rows = np.flatnonzero(cohort.cause == 0)
        if not len(rows):
            return cohort, seconds, exposed
        look += 1
        more, worse = waves.advance()
        expected = traffic.requests_per_second * spec.look_seconds * more[rows]
        drawn = draw_window(cohort.weight[rows], expected, worse[rows], arms, random)
        window = {arm: np.zeros((runs, counted.shape[1]), int) for arm, counted in drawn.items()}
        for arm, counted in drawn.items():
            window[arm][rows] = counted
        cohort.look(window, look * spec.look_seconds)
        seconds[rows] = look * spec.look_seconds
        exposed[rows] += drawn["canary"][:, 0]


def _rate(count: int, runs: int) -> Rate:
    low, high = wilson_interval(count, runs)
    return Rate(value=count / runs, low=low, high=high)


def _by(times: Any, ends: Any, runs: int) -> tuple[tuple[float, float], ...]:
    return tuple((float(time), float((ends <= time).sum()) / runs) for time in times)
