"""Harm by a group-sequential test, for rollouts that say how many requests they will see at most.

The test looks when the candidate's requests pass certain shares of that number, not at every look, so that what has to
be remembered does not grow with the age of a rollout.
"""

from __future__ import annotations

import functools
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import RolloutSpec
from airflow_mlops.stats.group_sequential import NOBODY_YET, Bound, Survivors, chances, follow, spent

__all__ = [
    "FRACTIONS",
    "GroupProgress",
    "GroupTest",
    "GroupWindow",
    "close_step",
    "is_due",
    "look_at_group",
    "tested_of",
]

FRACTIONS = (0.01, 0.025, *(part / 20 for part in range(1, 21)))
"""Shares of the largest sample at which harm is tested."""


@dataclass(frozen=True, kw_only=True)
class GroupWindow:
    """What happened between two tests.

    :param canary_failures: failures of the candidate
    :param failures: failures of both arms
    :param canary_trials: requests of the candidate that could fail
    :param baseline_trials: those of the stable model
    :param fraction: share of the largest sample at the test that ends the window; None if a step ended without one
    """

    canary_failures: int
    failures: int
    canary_trials: int
    baseline_trials: int
    fraction: float | None


@dataclass(frozen=True, kw_only=True)
class GroupTest:
    """The test of one metric.

    :param windows: disjoint, oldest first
    :param bound: of the last test, None before the first
    :param reached: whether any test so far rejected
    """

    windows: tuple[GroupWindow, ...] = ()
    bound: Bound | None = None
    reached: bool = False

    @property
    def canary_failures(self) -> int:
        """The candidate's failures since the beginning."""
        return sum(window.canary_failures for window in self.windows)


@dataclass(frozen=True, kw_only=True)
class GroupProgress:
    """How far the tests of a rollout have come.

    :param requests: requests that the candidate answered in steps before this one
    :param fraction: share of the largest sample at the last test
    :param canary: what of this step's counts is in a window already
    :param baseline: the same of the stable model
    :param tests: metric to its test
    """

    requests: int = 0
    fraction: float = 0.0
    canary: Counts = field(default_factory=Counts)
    baseline: Counts = field(default_factory=Counts)
    tests: Mapping[str, GroupTest] = field(default_factory=dict)


def tested_of(spec: RolloutSpec) -> tuple[Metric, ...]:
    """Return what is tested for harm here: what comes with the requests. Tallies come later and keep e-values."""
    return tuple(metric for metric in metrics_of(spec) if not metric.tally)


def is_due(before: float, now: float) -> bool:
    """Whether the sample passed a share at which harm is tested."""
    return bisect_right(FRACTIONS, now) > bisect_right(FRACTIONS, before)


def look_at_group(spec: RolloutSpec, progress: GroupProgress, canary: Counts, baseline: Counts) -> GroupProgress:
    """Test for harm if it is time.

    :param canary: what the candidate did in this step
    :param baseline: what the stable model did in this step
    """
    if spec.max_samples is None:
        return progress
    fraction = min(1.0, (progress.requests + canary.requests) / spec.max_samples)
    if not is_due(progress.fraction, fraction):
        return progress
    tests = {
        metric.name: _tested(
            _with_window(metric, progress, canary, baseline, fraction),
            metric.harm_ratio,
            spec.alpha * metric.alpha_share,
        )
        for metric in tested_of(spec)
    }
    return replace(progress, fraction=fraction, canary=canary, baseline=baseline, tests=tests)


def close_step(spec: RolloutSpec, progress: GroupProgress, canary: Counts, baseline: Counts) -> GroupProgress:
    """End the window with the step: what comes next has another share of traffic."""
    if spec.max_samples is None:
        return progress
    tests = {
        metric.name: _with_window(metric, progress, canary, baseline, None) if canary != progress.canary else test
        for metric in tested_of(spec)
        for test in (progress.tests.get(metric.name, GroupTest()),)
    }
    return GroupProgress(requests=progress.requests + canary.requests, fraction=progress.fraction, tests=tests)


def _with_window(
    metric: Metric, progress: GroupProgress, canary: Counts, baseline: Counts, fraction: float | None
) -> GroupTest:
    failures, trials = (now - before for now, before in zip(metric.of(canary), metric.of(progress.canary), strict=True))
    base_failures, base_trials = (
        now - before for now, before in zip(metric.of(baseline), metric.of(progress.baseline), strict=True)
    )
    window = GroupWindow(
        canary_failures=failures,
        failures=failures + base_failures,
        canary_trials=max(trials, failures),
        baseline_trials=max(base_trials, base_failures),
        fraction=fraction,
    )
    test = progress.tests.get(metric.name, GroupTest())
    return replace(test, windows=(*test.windows, window))


def _tested(test: GroupTest, harm_ratio: float, level: float) -> GroupTest:
    _, bound = _after(test.windows, harm_ratio, level)
    reached = bound is not None and bound.reached(test.canary_failures, test.windows[-1].canary_failures)
    return replace(test, bound=bound, reached=test.reached or reached)


@functools.lru_cache(maxsize=64)
def _after(windows: tuple[GroupWindow, ...], harm_ratio: float, level: float) -> tuple[Survivors, Bound | None]:
    """Follow the paths from the beginning; a process that stays remembers those up to the window before."""
    if not windows:
        return NOBODY_YET, None
    before, _ = _after(windows[:-1], harm_ratio, level)
    last = windows[-1]
    span = chances(last.failures, last.canary_trials, last.baseline_trials, harm_ratio)
    allowed = None if last.fraction is None else spent(level, last.fraction)
    return follow(before, span=span, allowed=allowed)
