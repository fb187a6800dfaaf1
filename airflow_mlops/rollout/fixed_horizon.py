"""Harm as Kayenta's judge sees it: once, after a fixed number of looks, by the ranks of the rates at each look.

For teams that come from Kayenta and want its verdicts. Each look with requests at both arms gives a pair of rates; when
there are enough pairs, harm is shown if the candidate's rates lie above the stable model's by more than a share of the
estimated shift, and the ratio of their means is above a bound. A step ends only after its looks are complete, and only
with proof, like any other: "not worse" is not shown by a test that found nothing.

Source: NetflixACAJudge and MannWhitneyClassifier of Kayenta. Its interval is found by a root search with a correction
for ties; this one counts differences.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence

from airflow_mlops.rollout.group import tested_of
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import MannWhitneyCheck, RolloutSpec
from airflow_mlops.stats.mann_whitney import Shift, shift_between

__all__ = ["Points", "add_points", "is_complete", "is_high", "shift_of"]

Points = tuple[tuple[float, ...], ...]
"""The rates of candidate and stable model, look by look."""


def add_points(
    spec: RolloutSpec, points: Mapping[str, Points], canary: Counts, baseline: Counts
) -> Mapping[str, Points]:
    """Return the pairs of rates with those since the last look, until there are enough.

    :param canary: what the candidate did since the last look
    :param baseline: what the stable model did
    """
    if spec.fixed_horizon is None:
        return points
    added = dict(points)
    for metric in tested_of(spec):
        failures, trials = metric.of(canary)
        base_failures, base_trials = metric.of(baseline)
        so_far = points.get(metric.name, ())
        if trials and base_trials and len(so_far) < spec.fixed_horizon.looks:
            added[metric.name] = (*so_far, (failures / trials, base_failures / base_trials))
    return added


def is_complete(spec: RolloutSpec, points: Mapping[str, Points]) -> bool:
    """Whether every metric has been seen for as long as the horizon; always so without one."""
    horizon = spec.fixed_horizon
    return horizon is None or all(len(points.get(metric.name, ())) >= horizon.looks for metric in tested_of(spec))


@functools.lru_cache(maxsize=64)
def shift_of(points: Points, confidence: float) -> Shift:
    """Return by how much the candidate's rates lie above the stable model's."""
    return shift_between([new for new, _ in points], [old for _, old in points], confidence=confidence)


def is_high(check: MannWhitneyCheck, points: Points) -> bool:
    """Whether the candidate's rates count as worse."""
    if _mean([new for new, _ in points]) <= check.critical_ratio * _mean([old for _, old in points]):
        return False
    shift = shift_of(points, check.confidence)
    return shift.low > check.tolerance * abs(shift.estimate)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
