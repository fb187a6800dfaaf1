"""What the counts of a step say about harm, about proof and about the split.

Three judgements per look. *Harm* is tested with an e-value that may be looked at any number of times. *Proof* is an
upper bound of the increase; because looking often would make a lucky bound likely, it is tried only when the sample
has grown by half since the last try, each time with half the remaining error. The *share* of requests that arrive at
the candidate has to agree with its weight, or else the counts are not what they seem.
"""

from __future__ import annotations

import math

from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.observation import Counts
from airflow_mlops.rollout.spec import CanaryStep
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.stats.e_value import add, e_value, log_likelihood_ratios
from airflow_mlops.stats.newcombe import newcombe_interval
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = [
    "PROOF_GROWTH",
    "SHARE_TAIL",
    "accumulate_harm",
    "judge_harm",
    "judge_proof",
    "judge_share",
    "proof_error",
    "proof_is_due",
]

PROOF_GROWTH = 1.5
SHARE_TAIL = 1e-6
_SMALLEST_ERROR = 1e-12  # below this the interval's confidence can no longer be told from 1


def accumulate_harm(state: RolloutState, canary: Counts, baseline: Counts) -> dict[str, tuple[float, ...]]:
    """Return the evidence of harm with what happened since the last look."""
    evidence = {}
    for metric in metrics_of(state.spec):
        canary_failures, canary_trials = metric.of(canary)
        baseline_failures, baseline_trials = metric.of(baseline)
        now = log_likelihood_ratios(
            canary_failures=canary_failures,
            canary_trials=canary_trials,
            baseline_failures=baseline_failures,
            baseline_trials=baseline_trials,
            harm_ratio=metric.harm_ratio,
        )
        before = state.harm.get(metric.name)
        evidence[metric.name] = now if before is None else add((before, now))
    return evidence


def judge_harm(state: RolloutState) -> tuple[CheckResult, ...]:
    """Judge whether the candidate is worse than it may be: ``FAIL`` when that is shown, else ``PASS``.

    Shown means: worse beyond chance, and by more than the tolerated increase.
    """
    metrics = metrics_of(state.spec)
    needed = len(metrics) / state.spec.alpha
    results = []
    for metric in metrics:
        failures, trials = metric.of(state.canary)
        base_failures, base_trials = metric.of(state.baseline)
        ratios = state.harm.get(metric.name)
        value = 1.0 if ratios is None else e_value(ratios)
        increase = failures / trials - base_failures / base_trials if trials and base_trials else 0.0
        harmful = value >= needed and increase > metric.max_increase
        numbers = (
            f"{failures} of {trials} requests {metric.noun} at {state.candidate}, "
            f"{base_failures} of {base_trials} at {state.stable}"
        )
        reason = f"{numbers}; evidence of harm is {value:.3g}, {needed:.3g} would prove it"
        if harmful:
            reason = f"{numbers}: {state.candidate} is worse beyond chance ({_e(value)} ≥ {needed:.3g})"
        results.append(
            CheckResult(
                name=f"{metric.name}.harm",
                verdict=Verdict.FAIL if harmful else Verdict.PASS,
                reason=reason,
                value=min(value, 1e300),
                threshold=needed,
                sample_size=trials,
                details={"increase": increase, "baseline_sample_size": base_trials},
            )
        )
    return tuple(results)


def _e(value: float) -> str:
    return "e-value above 10^300" if value >= 1e300 else f"e-value {value:.3g}"


def proof_is_due(state: RolloutState, step: CanaryStep) -> bool:
    """Whether both arms have seen enough for the next try."""
    needed = step.min_requests * PROOF_GROWTH**state.proof_looks
    return min(state.canary.requests, state.baseline.requests) >= needed


def judge_proof(state: RolloutState, step: CanaryStep) -> tuple[CheckResult, ...]:
    """Judge whether the increase is shown to be tolerable: ``PASS`` or ``INCONCLUSIVE``."""
    results = []
    for metric in metrics_of(state.spec):
        _, trials = metric.of(state.canary)
        _, base_trials = metric.of(state.baseline)
        if trials < step.min_requests or base_trials < step.min_requests:
            reason = (
                f"{trials} requests at {state.candidate} and {base_trials} at {state.stable}; "
                f"{step.min_requests} are needed at both"
            )
            results.append(
                CheckResult(
                    name=f"{metric.name}.proof", verdict=Verdict.INCONCLUSIVE, reason=reason, sample_size=trials
                )
            )
            continue
        results.append(_bound(state, metric))
    return tuple(results)


def proof_error(confidence: float, tries: int) -> float:
    """Return the error of the next try: it is halved from try to try, so that all together keep the confidence."""
    return max((1.0 - confidence) / math.pow(2.0, tries + 1), _SMALLEST_ERROR)


def _bound(state: RolloutState, metric: Metric) -> CheckResult:
    failures, trials = metric.of(state.canary)
    base_failures, base_trials = metric.of(state.baseline)
    confidence = 1.0 - 2.0 * proof_error(state.spec.confidence, state.proof_looks)
    low, high = newcombe_interval(failures, trials, base_failures, base_trials, confidence)
    increase = failures / trials - base_failures / base_trials
    shown = high <= metric.max_increase
    reason = (
        f"share of requests that {metric.noun}: increase {increase:+.2%}, at most {high:+.2%}; "
        f"{metric.max_increase:.2%} is tolerated"
    )
    details: dict[str, float | int | None] = {"confidence": confidence, "baseline_sample_size": base_trials}
    if not shown:
        more = _requests_missing(metric, state, confidence)
        details["requests_missing"] = more
        reason += (
            f"; about {more} more requests at {state.candidate} would decide"
            if more is not None
            else "; more requests at these rates would not show that it is tolerable"
        )
    return CheckResult(
        name=f"{metric.name}.proof",
        verdict=Verdict.PASS if shown else Verdict.INCONCLUSIVE,
        reason=reason,
        value=increase,
        low=low,
        high=high,
        threshold=metric.max_increase,
        sample_size=trials,
        details=details,
    )


def _requests_missing(metric: Metric, state: RolloutState, confidence: float) -> int | None:
    """Return how many more candidate requests at the present rates would prove the case, None if none would."""
    failures, trials = metric.of(state.canary)
    base_failures, base_trials = metric.of(state.baseline)
    if failures / trials - base_failures / base_trials >= metric.max_increase:
        return None
    times = 1.0
    while times < 10_000:
        times *= 1.2
        first, second, third, fourth = (
            round(value * times) for value in (failures, trials, base_failures, base_trials)
        )
        if newcombe_interval(first, second, third, fourth, confidence)[1] <= metric.max_increase:
            return math.ceil(trials * (times - 1.0))
    return None


def judge_share(state: RolloutState, step: CanaryStep) -> CheckResult:
    """Judge whether the candidate gets the share that its weight says: ``ERROR`` when it cannot be chance."""
    observed = state.canary.requests
    total = observed + state.baseline.requests
    weight = step.weight_percent / 100
    tail = _tail_bound(observed, total, weight)
    share = observed / total if total else 0.0
    believable = tail >= SHARE_TAIL
    reason = f"{observed} of {total} requests ({share:.1%}) came to {state.candidate}; its weight is {weight:.0%}"
    if not believable:
        reason += ": the split does not work as the route says, so the counts prove nothing"
    return CheckResult(
        name="share",
        verdict=Verdict.PASS if believable else Verdict.ERROR,
        reason=reason,
        value=share,
        threshold=weight,
        sample_size=total,
        details={"tail_bound": tail},
    )


def _tail_bound(successes: int, trials: int, probability: float) -> float:
    """Bound the chance of a count at least this far from expectation, on its side (Chernoff, Hoeffding 1963)."""
    if trials == 0:
        return 1.0
    share = successes / trials
    divergence = 0.0
    for part, expected in ((share, probability), (1.0 - share, 1.0 - probability)):
        if part > 0.0:
            divergence += part * math.log(part / expected)
    return math.exp(-trials * divergence)
