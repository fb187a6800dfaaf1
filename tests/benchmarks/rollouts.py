"""Who rolls back wrongly and who misses what: the rollout's judgement beside the rules of other tools, by simulation.

All rules see the same draws: two arms with the same number of requests at every look. Argo's, Flagger's and Kayenta's
rules are written here after their documentation, with their defaults where they have any:

- Argo Rollouts: a measurement fails when the canary's error rate since the look before is above a threshold; the
  analysis fails when more than ``failureLimit`` measurements failed (its default is 0).
- Flagger: the same per check; the canary goes back when ``threshold`` checks failed.
- Kayenta (NetflixACA): once at the end, Mann-Whitney over the error rates of the looks; "High" when the lower end of
  the 98 % interval of the shift is above a quarter of the shift's estimate.
- A test at every look, and a group-sequential test by the normal approximation, as textbooks have them.

A rule that rolls back equal candidates often finds regressions, too: read the columns together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import Any

from airflow_mlops.rollout.cohort import CAUSES, Cohort
from airflow_mlops.rollout.spec import CanaryStep, ErrorRateCheck, RolloutSpec
from airflow_mlops.rollout.traffic import Traffic, Waves

ALPHA = 0.05
STABLE = 0.01
THRESHOLD = 0.015  # half as much again as the stable model's rate: what a team would write down


@dataclass(frozen=True)
class Scenario:
    """Traffic and a candidate.

    :param requests: of the candidate, per look on average
    :param stable_times: how many times as many the stable model gets
    :param own_waves: each model's error rate has its own waves, which no rule here can tell from harm
    """

    name: str
    error_rate: float = STABLE
    looks: int = 20
    requests: int = 500
    stable_times: int = 1
    error_variation: float = 0.0
    burstiness: float = 0.0
    autocorrelation: float = 0.0
    own_waves: bool = False

    @property
    def equal(self) -> bool:
        return self.error_rate == STABLE


WAVES = {"error_variation": 0.5, "autocorrelation": 0.8}
BURSTS = {"burstiness": 1.0, "autocorrelation": 0.8}
SCENARIOS = (
    Scenario("A/A"),
    Scenario("A/A, 100 looks", looks=100),
    Scenario("A/A, 100 looks, 50", looks=100, requests=50),
    Scenario("A/A, 100 looks, 50 : 450", looks=100, requests=50, stable_times=9),
    Scenario("A/A, waves", **WAVES),
    Scenario("A/A, bursts", **BURSTS),
    Scenario("A/A, own waves", own_waves=True, error_variation=0.2, autocorrelation=0.8),
    Scenario("+30 %", error_rate=0.013),
    Scenario("+50 %", error_rate=0.015),
    Scenario("+50 %, waves", error_rate=0.015, **WAVES),
    Scenario("+50 %, bursts", error_rate=0.015, **BURSTS),
    Scenario("+100 %", error_rate=0.02),
    Scenario("+100 %, 50 : 450", error_rate=0.02, requests=50, stable_times=9),
)

Draws = tuple[Any, Any, Any, Any]
"""Requests and failures of the canary, then of the stable model: one row per run, one column per look."""


def draw(scenario: Scenario, runs: int, seed: int) -> Draws:
    """Make up the traffic of many rollouts; bursts move requests between looks, all rollouts see the same number."""
    import numpy as np

    random = np.random.default_rng([seed, scenario.looks, scenario.requests])
    traffic = Traffic(
        requests_per_second=1,
        burstiness=scenario.burstiness,
        error_variation=scenario.error_variation,
        autocorrelation=scenario.autocorrelation,
    )
    waves = Waves(traffic, runs, random)
    more, worse = (
        np.stack(parts, axis=1) for parts in zip(*(waves.advance() for _ in range(scenario.looks)), strict=True)
    )
    requests = np.full((runs, scenario.looks), scenario.requests)
    if scenario.burstiness:
        requests = random.multinomial(scenario.requests * scenario.looks, more / more.sum(axis=1, keepdims=True))
    other = worse
    if scenario.own_waves:
        again = Waves(traffic, runs, random)
        other = np.stack([again.advance()[1] for _ in range(scenario.looks)], axis=1)
    arms = []
    canary, stable = scenario.error_rate * worse, STABLE * other
    for many, rate in ((requests, canary), (requests * scenario.stable_times, stable)):
        arms += [many, random.binomial(many, np.minimum(1.0, rate))]
    return arms[0], arms[1], arms[2], arms[3]


def ours(scenario: Scenario, draws: Draws, *, declared: bool) -> Any:
    """Return the look at which a rollout went back for harm, 0 if it did not: the product's own transition."""
    import numpy as np

    requests, canary, base_requests, baseline = draws
    largest = int(scenario.looks * scenario.requests)
    spec = RolloutSpec(
        # Nothing can be proven, and every increase counts: harm alone decides.
        steps=(CanaryStep(weight_percent=100 // (1 + scenario.stable_times), min_seconds=0, min_requests=largest),),
        error_rate=ErrorRateCheck(max_increase=1e-9),
        alpha=ALPHA,
        look_seconds=1,
        step_timeout_seconds=scenario.looks + 2,
        max_samples=largest if declared else None,
    )
    cohort = Cohort(spec, len(requests))
    nothing = np.zeros((len(requests), 4), int)
    cohort.look({"canary": nothing, "baseline": nothing}, 0.0)
    found = np.zeros(len(requests), int)
    for look in range(scenario.looks):
        arms = {
            arm: np.stack([many[:, look], failures[:, look], many[:, look], 0 * many[:, look]], axis=1)
            for arm, many, failures in (("canary", requests, canary), ("baseline", base_requests, baseline))
        }
        cohort.look(arms, look + 1.0)
        found[(cohort.cause == CAUSES.index("harm")) & (found == 0)] = look + 1
    return found


def _first(hit: Any) -> Any:
    import numpy as np

    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1, 0)


def _z(draws: Draws) -> Any:
    import numpy as np

    many, worse, base_many, usual = (np.maximum(np.cumsum(counts, axis=1), 1e-9) for counts in draws)
    pooled = (worse + usual) / (many + base_many)
    error = np.sqrt(np.maximum(pooled * (1 - pooled) * (1 / many + 1 / base_many), 1e-12))
    return (worse / many - usual / base_many) / error


def significance(_: Scenario, draws: Draws) -> Any:
    """One-sided test at every look, as if it were the only one."""
    return _first(_z(draws) >= NormalDist().inv_cdf(1 - ALPHA))


def group_sequential(scenario: Scenario, draws: Draws) -> Any:
    """Normal boundaries at equally spaced looks, spending of O'Brien and Fleming's type."""
    return _first(_z(draws) >= _boundaries(scenario.looks))


@lru_cache
def _boundaries(looks: int) -> Any:
    import numpy as np
    from scipy.signal import fftconvolve

    grid = np.linspace(-6, 6, 4801)
    width = grid[1] - grid[0]
    steps = (np.arange(-4800, 4801) * width) ** 2 * looks / 2
    kernel = np.exp(-steps) / math.sqrt(2 * math.pi / looks)
    density, used, found = np.where(grid == 0, 1 / width, 0.0), 0.0, []
    density[2400] = 1 / width
    quantile = NormalDist().inv_cdf(1 - ALPHA / 2)
    for look in range(1, looks + 1):
        part = look / looks
        density = np.maximum(fftconvolve(density, kernel)[4800:9601] * width, 0.0)
        allowed = math.erfc(quantile / math.sqrt(2 * part))
        if allowed - used < 1e-9:  # too little to be told from rounding: not tested
            found.append(math.inf)
            continue
        tail = np.cumsum(density[::-1])[::-1] * width
        place = int(np.argmax(used + tail <= allowed))
        used += tail[place]
        density[place:] = 0.0
        found.append(grid[place] / math.sqrt(part))
    return np.array(found)


def threshold(failures_allowed: int) -> Callable[[Scenario, Draws], Any]:
    """Argo's and Flagger's: so many looks with a rate above the threshold are forgiven."""

    def rule(_: Scenario, draws: Draws) -> Any:
        import numpy as np

        requests, canary, *_ = draws
        return _first(np.cumsum(canary / np.maximum(requests, 1) > THRESHOLD, axis=1) > failures_allowed)

    return rule


def kayenta(_: Scenario, draws: Draws) -> Any:
    """Mann-Whitney over the looks, once at the end."""
    import numpy as np

    requests, canary, base_requests, baseline = draws
    looks = requests.shape[1]
    reach = NormalDist().inv_cdf(0.99) * math.sqrt(looks * looks * (2 * looks + 1) / 12)
    lowest = max(0, math.floor(looks * looks / 2 - reach))
    high = np.zeros(len(requests), int)
    for row in range(len(requests)):
        worse = canary[row] / np.maximum(requests[row], 1)
        usual = baseline[row] / np.maximum(base_requests[row], 1)
        shifts = np.sort((worse[:, None] - usual[None, :]).ravel())
        high[row] = looks if shifts[lowest] > 0.25 * abs(np.median(shifts)) and shifts[lowest] > 0 else 0
    return high


RULES: dict[str, Callable[[Scenario, Draws], Any]] = {
    "airflow-mlops, always valid": lambda scenario, draws: ours(scenario, draws, declared=False),
    "airflow-mlops, `max_samples`": lambda scenario, draws: ours(scenario, draws, declared=True),
    "group sequential, normal": group_sequential,
    "z-test at every look": significance,
    "Argo, failureLimit 0": threshold(0),
    "Argo, failureLimit 3": threshold(3),
    "Flagger, threshold 5": threshold(4),
    "Kayenta, once at the end": kayenta,
}


@dataclass(frozen=True)
class Found:
    """What a rule did in a scenario: share of rollouts sent back, and at which look half of all had gone."""

    back: float
    median_look: float


def judge(rule: str, scenario: Scenario, draws: Draws) -> Found:
    """Let a rule judge."""
    import numpy as np

    look = RULES[rule](scenario, draws)
    return Found(float((look > 0).mean()), float(np.median(np.where(look > 0, look, np.inf))))


def measure(runs: int = 4000, seed: int = 20130101) -> list[str]:
    """Return the table's rows, with its head."""
    begun = time.perf_counter()
    cells: dict[str, list[str]] = {rule: [] for rule in RULES}
    for scenario in SCENARIOS:
        draws = draw(scenario, runs, seed)
        for rule, row in cells.items():
            found = judge(rule, scenario, draws)
            wrong = found.back if scenario.equal else 1 - found.back
            when = "" if math.isinf(found.median_look) or scenario.equal else f" · {found.median_look:.0f}"
            row.append(f"{wrong:.1%}{when}")
    names = [f"{'false' if one.equal else 'missed'} {one.name}" for one in SCENARIOS]
    rows = ["| " + " | ".join(("Rule", *names)) + " |", "|---" * (len(names) + 1) + "|"]
    rows += ["| " + " | ".join((rule, *row)) + " |" for rule, row in cells.items()]
    took = time.perf_counter() - begun
    said = (
        f"{runs} rollouts per cell, seed {seed}, {took:.0f} s; stable model 1 % errors, 20 looks at 500 requests of "
        f"each arm unless said otherwise (50 : 450 are those of candidate and stable model), alpha {ALPHA:.0%}; after "
        "the dot the look at which half had gone back. Waves: both models' error rates vary by half, autocorrelation "
        "0.8; own waves: each model's by a fifth; bursts: the traffic varies by its mean, autocorrelation 0.8."
    )
    return [*rows, "", said]


if __name__ == "__main__":
    print("\n".join(measure()))
