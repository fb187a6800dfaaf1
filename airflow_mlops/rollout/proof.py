"""Whether it is shown that the candidate's increase of failures is tolerable.

Shown is an upper bound of the increase. Because looking often would make a lucky bound likely, it is tried only when
the sample has grown by half since the last try, each time with half the remaining error.
"""

from __future__ import annotations

import math

from airflow_mlops.rollout.metric import Metric, metrics_of
from airflow_mlops.rollout.spec import CanaryStep
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.stats.newcombe import newcombe_interval
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["PROOF_GROWTH", "expect_proof", "judge_proof", "proof_error", "proof_is_due"]

PROOF_GROWTH = 1.5
_SMALLEST_ERROR = 1e-12  # below this the interval's confidence can no longer be told from 1
_FARTHEST = 2.0**14


def proof_error(confidence: float, tries: int) -> float:
    """Return the error of the next try: it is halved from try to try, so that all together keep the confidence."""
    return max((1.0 - confidence) / math.pow(2.0, tries + 1), _SMALLEST_ERROR)


def proof_is_due(state: RolloutState, step: CanaryStep) -> bool:
    """Whether both arms have seen enough for the next try."""
    return min(state.canary.requests, state.baseline.requests) >= _due_at(state, step)


def _due_at(state: RolloutState, step: CanaryStep) -> float:
    return step.min_requests * PROOF_GROWTH**state.proof_looks


def judge_proof(state: RolloutState, step: CanaryStep) -> tuple[CheckResult, ...]:
    """Judge whether the increase is shown to be tolerable: ``PASS`` or ``INCONCLUSIVE``."""
    return tuple(_try(state, step, metric) for metric in metrics_of(state.spec))


def expect_proof(state: RolloutState, step: CanaryStep) -> tuple[CheckResult, ...]:
    """Say how it stands at a look that tries no proof, and about how many requests are missing: ``INCONCLUSIVE``."""
    results = []
    for metric in metrics_of(state.spec):
        _, trials = metric.of(state.canary)
        _, base_trials = metric.of(state.baseline)
        seen = min(state.canary.requests, state.baseline.requests)
        # In requests of the candidate: those of the stable model come along in the ratio seen so far.
        ratio = max(state.canary.requests, 1) / max(seen, 1)
        missing: int | None = max(0, math.ceil((_due_at(state, step) - seen) * ratio))
        if trials and base_trials:
            found = _bound(state, metric)
            more = found.details.get("requests_missing", 0)
            missing = None if more is None or missing is None else max(missing, more)
            value, low, high = found.value, found.low, found.high
        else:
            value = low = high = None
        ahead = (
            "more requests at these rates would not prove anything"
            if missing is None
            else f"about {missing} more requests at {state.candidate} would decide"
        )
        results.append(
            CheckResult(
                name=f"{metric.name}.proof",
                verdict=Verdict.INCONCLUSIVE,
                reason=f"not tried at this look: {ahead}",
                value=value,
                low=low,
                high=high,
                threshold=metric.max_increase,
                sample_size=trials,
                details={"baseline_sample_size": base_trials, "requests_missing": missing},
            )
        )
    return tuple(results)


def _try(state: RolloutState, step: CanaryStep, metric: Metric) -> CheckResult:
    _, trials = metric.of(state.canary)
    _, base_trials = metric.of(state.baseline)
    if trials >= step.min_requests and base_trials >= step.min_requests:
        return _bound(state, metric)
    reason = (
        f"{trials} requests at {state.candidate} and {base_trials} at {state.stable}; "
        f"{step.min_requests} are needed at both"
    )
    missing = max(0, step.min_requests - trials)
    return CheckResult(
        name=f"{metric.name}.proof",
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        sample_size=trials,
        details={"baseline_sample_size": base_trials, "requests_missing": missing},
    )


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
    counts = (*metric.of(state.canary), *metric.of(state.baseline))
    if counts[0] / counts[1] - counts[2] / counts[3] >= metric.max_increase:
        return None

    def decides(times: float) -> bool:
        first, second, third, fourth = (round(value * times) for value in counts)
        return newcombe_interval(first, second, third, fourth, confidence)[1] <= metric.max_increase

    times = 1.0
    while not decides(times):
        times *= 2.0
        if times > _FARTHEST:
            return None
    low, high = times / 2.0, times
    for _ in range(4):
        middle = (low + high) / 2.0
        low, high = (low, middle) if decides(middle) else (middle, high)
    return max(0, math.ceil(counts[1] * (high - 1.0)))
