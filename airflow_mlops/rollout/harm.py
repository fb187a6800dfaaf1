"""Whether harm is shown: the candidate fails, or is slow, more often than it may.

Without a largest sample the evidence is an e-value that may be looked at any number of times; with one it is a
group-sequential test. In both cases the chance that an equal candidate is called harmful is at most ``alpha`` over the
whole rollout, all metrics together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from airflow_mlops.rollout.checks import USERS
from airflow_mlops.rollout.fixed_horizon import is_high, shift_of
from airflow_mlops.rollout.group import FRACTIONS, GroupTest
from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import MannWhitneyCheck
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.stats.e_value import add, e_value, log_e_value, log_likelihood_ratios
from airflow_mlops.stats.newcombe import newcombe_interval
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["accumulate_harm", "compare_with_before", "judge_harm"]

_SHOWN_CONFIDENCE = 0.95  # of the interval beside the numbers; it decides nothing
_FARTHEST = 2.0**14
_REST = ".rest"
_FIRST_TRY = 20  # requests of the candidate at the first test against what was counted before
_TRY_GROWTH = 1.5


def accumulate_harm(state: RolloutState, canary: Counts, baseline: Counts) -> dict[str, tuple[float, ...]]:
    """Return the evidence of harm with what happened since the last look.

    :param state: with the counts of this look added
    :param canary: what the candidate did since the last look
    :param baseline: what the stable model did
    """
    evidence: dict[str, tuple[float, ...]] = {}
    for metric in metrics_of(state.spec):
        new, old = metric.ever_of(canary), metric.ever_of(baseline)
        if metric.tally == USERS:
            # A user counts once, and may fail later: all users of the step are at risk at every look.
            new, old = (new[0], metric.of(state.canary)[1]), (old[0], metric.of(state.baseline)[1])
        for key, now in _ratios(metric, new, old).items():
            before = state.harm.get(key)
            evidence[key] = now if before is None else add((before, now))
    return evidence


def _ratios(metric: Metric, new: tuple[int, int], old: tuple[int, int]) -> dict[str, tuple[float, ...]]:
    """Return the log-likelihood ratios of one span, by name.

    The test is one of rare failures. Where they are common, as predictions below an edge may be, an increase from 95
    to 100 of 100 is hardly one of their rate; so the rest is tested beside them: how much rarer it has become.

    :param new: failures and trials of the candidate
    :param old: failures and trials of the stable model
    """
    ratios = {metric.name: _span(new, old, metric.harm_ratio)}
    if metric.common:
        ratios[f"{metric.name}{_REST}"] = _span((old[1] - old[0], old[1]), (new[1] - new[0], new[1]), 1.0)
    return ratios


def _span(worse: tuple[int, int], usual: tuple[int, int], harm_ratio: float) -> tuple[float, ...]:
    return log_likelihood_ratios(
        canary_failures=worse[0],
        canary_trials=worse[1],
        baseline_failures=usual[0],
        baseline_trials=usual[1],
        harm_ratio=harm_ratio,
    )


def compare_with_before(state: RolloutState) -> RolloutState:
    """Return the state with the evidence of harm against what was counted before all traffic moved at once.

    The counts before do not grow with the candidate's, so the evidence of one look is no product over looks: it is
    tested at certain sizes of the sample only, each time with a part of ``alpha``; all parts together make it up.

    :param state: with the counts of this look added
    """
    tries = _tries(state.canary.requests)
    if tries == state.harm_tries:
        return state
    evidence: dict[str, tuple[float, ...]] = {}
    for metric in metrics_of(state.spec):
        evidence.update(_ratios(metric, metric.of(state.canary), metric.of(state.before)))
    return replace(state, harm=evidence, harm_tries=tries)


def _tries(requests: int) -> int:
    """Return how many of the sizes at which harm is tested a sample has passed."""
    if requests < _FIRST_TRY:
        return 0
    return 1 + math.floor(math.log(requests / _FIRST_TRY) / math.log(_TRY_GROWTH))


def _needed(state: RolloutState, metric: Metric) -> float:
    """Return the e-value that shows harm."""
    alpha = state.spec.alpha * metric.alpha_share
    if state.spec.strategy == "blue_green":
        # The sum of 1/k² over all tries is π²/6.
        alpha *= 6.0 / (math.pi * max(1, state.harm_tries)) ** 2
    return 1.0 / alpha


def judge_harm(state: RolloutState) -> tuple[CheckResult, ...]:
    """Judge whether the candidate is worse than it may be: ``FAIL`` when that is shown, else ``PASS``.

    Shown means: worse beyond chance, and by more than the tolerated increase.
    """
    return tuple(_judge(state, metric) for metric in metrics_of(state.spec))


def _judge(state: RolloutState, metric: Metric) -> CheckResult:
    failures, trials = metric.ever_of(state.canary)
    base_failures, base_trials = metric.ever_of(state.reference)
    low, high = -1.0, 1.0
    increase = 0.0
    if trials and base_trials:
        increase = failures / trials - base_failures / base_trials
        low, high = newcombe_interval(failures, trials, base_failures, base_trials, _SHOWN_CONFIDENCE)
    beyond_chance, value, needed, evidence, details = _evidence(state, metric)
    harmful = beyond_chance and increase > metric.max_increase
    numbers = (
        f"{failures} of {trials} {metric.unit} {metric.noun} at {state.candidate}, "
        f"{base_failures} of {base_trials} at {state.stable}"
    )
    reason = (
        f"{numbers}: {state.candidate} is worse beyond chance ({evidence[0]})"
        if harmful
        else f"{numbers}; {evidence[1]}"
    )
    return CheckResult(
        name=f"{metric.name}.harm",
        verdict=Verdict.FAIL if harmful else Verdict.PASS,
        reason=reason,
        value=value,
        threshold=needed,
        sample_size=trials,
        details={
            "failures": failures,
            "baseline_failures": base_failures,
            "increase": increase,
            "increase_low": low,
            "increase_high": high,
            "baseline_sample_size": base_trials,
            **details,
        },
    )


_Evidence = tuple[bool, float | None, float | None, tuple[str, str], dict[str, Any]]


def _evidence(state: RolloutState, metric: Metric) -> _Evidence:
    """Return whether it is beyond chance, the evidence and what is needed, in words for yes and no, and details."""
    if metric.tally:
        return _by_e_value(state, metric)
    if state.spec.fixed_horizon is not None:
        return _by_ranks(state, metric, state.spec.fixed_horizon)
    return _by_e_value(state, metric) if state.spec.max_samples is None else _by_group(state, metric)


def _by_e_value(state: RolloutState, metric: Metric) -> _Evidence:
    needed = _needed(state, metric)
    names = (metric.name, f"{metric.name}{_REST}") if metric.common else (metric.name,)
    ratios = [state.harm[name] for name in names if name in state.harm]
    value = sum(map(e_value, ratios)) / len(ratios) if ratios else 1.0
    _, trials = metric.ever_of(state.canary)
    ahead = ratios and value < needed and state.spec.strategy == "canary"
    missing = _requests_missing(ratios, trials, needed) if ahead else None
    words = f"evidence of harm is {value:.3g}, {needed:.3g} would prove it"
    if missing is not None:
        words += f", with {missing} more {metric.unit} at {state.candidate} at these rates"
    details = {"e_value": min(value, 1e300), "requests_missing": missing}
    return value >= needed, min(value, 1e300), needed, (f"{_e(value)} ≥ {needed:.3g}", words), details


def _e(value: float) -> str:
    return "e-value above 10^300" if value >= 1e300 else f"e-value {value:.3g}"


def _requests_missing(ratios: Sequence[Sequence[float]], trials: int, needed: float) -> int | None:
    """Return how many more candidate requests like those of the rollout would prove harm, None if none would."""
    if trials == 0:
        return None
    bound = math.log(needed * len(ratios))

    def enough(times: float) -> bool:
        return max(log_e_value([value * times for value in one]) for one in ratios) >= bound

    # The logarithm of a sum of exponentials is convex and begins at 0: it stays below what it does not reach at the
    # end.
    if not enough(_FARTHEST):
        return None
    times = 1.0
    while not enough(times):
        times *= 2.0
    low, high = times / 2.0, times
    for _ in range(6):
        middle = (low + high) / 2.0
        low, high = (low, middle) if enough(middle) else (middle, high)
    return math.ceil(trials * (high - 1.0))


def _by_group(state: RolloutState, metric: Metric) -> _Evidence:
    test = state.group.tests.get(metric.name, GroupTest())
    largest = state.spec.max_samples or 0
    done = state.group.requests + state.canary.requests
    ahead = [fraction for fraction in FRACTIONS if fraction > state.group.fraction]
    more = None if not ahead else max(1, math.ceil(ahead[0] * largest) - done)
    failed = test.canary_failures
    if test.bound is None:
        seen = "harm was not tested yet"
    else:
        seen = f"{failed} failures at the last test of harm, more than {test.bound.count} would have proven it"
    then = "there is none left" if more is None else f"the next comes in {more} requests at {state.candidate}"
    yes = f"a test of harm at {state.group.fraction:.1%} of {largest} requests"
    details = {
        "failures_tested": failed,
        "bound": None if test.bound is None else test.bound.count,
        "requests_to_next_test": more,
    }
    bound = None if test.bound is None else float(test.bound.count)
    return test.reached, float(failed), bound, (yes, f"{seen}; {then}"), details


def _by_ranks(state: RolloutState, metric: Metric, check: MannWhitneyCheck) -> _Evidence:
    points = state.points.get(metric.name, ())
    missing = check.looks - len(points)
    if missing > 0:
        words = f"{len(points)} of {check.looks} looks were seen; ranks are compared then"
        return False, None, None, ("", words), {"looks_missing": missing}
    shift = shift_of(points, check.confidence)
    bound = check.tolerance * abs(shift.estimate)
    words = f"over {check.looks} looks its rate lies {shift.estimate:+.3%} from the other's, at least {shift.low:+.3%}"
    details = {"looks_missing": 0, "shift": shift.estimate, "shift_high": shift.high}
    return is_high(check, points), shift.low, bound, (words, words), details
