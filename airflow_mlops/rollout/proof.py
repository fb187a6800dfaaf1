"""Whether it is shown that the candidate's increase of failures is tolerable.

Shown is an upper bound of the increase. Because looking often would make a lucky bound likely, it is tried only when
the sample has grown by half since the last try, each time with half the remaining error.
"""

from __future__ import annotations

import math

from airflow_mlops.rollout.metric import Metric, proven_by
from airflow_mlops.rollout.spec import CanaryStep
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.stats.newcombe import newcombe_interval
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["PROOF_GROWTH", "expect_proof", "judge_proof", "proof_error", "proof_is_due", "step_is_alone"]

PROOF_GROWTH = 1.5
_SMALLEST_ERROR = 1e-12  # below this the interval's confidence can no longer be told from 1
_FARTHEST = 2.0**14


def proof_error(confidence: float, tries: int) -> float:
    """Return the error of the next try: it is halved from try to try, so that all together keep the confidence."""
    return max((1.0 - confidence) / math.pow(2.0, tries + 1), _SMALLEST_ERROR)


def proof_is_due(state: RolloutState, step: CanaryStep) -> bool:
    """Whether both arms have seen enough for the next try: of requests, and of everything else that is counted."""
    growth = PROOF_GROWTH**state.proof_looks
    if _requests_seen(state) < step.min_requests * growth:
        return False
    return all(
        min(_trials(state, metric)) >= _least(metric, step) * growth
        for metric in proven_by(state.spec, step)
        if metric.tally
    )


def _trials(state: RolloutState, metric: Metric) -> tuple[int, int]:
    return metric.of(state.canary)[1], metric.of(state.reference)[1]


def _requests_seen(state: RolloutState) -> int:
    """Return the requests by which tries are spaced; those that were counted before the step do not grow."""
    if step_is_alone(state.rules):
        return (state.canary if state.rules.weight_percent else state.baseline).requests
    return min(state.canary.requests, state.baseline.requests)


def step_is_alone(step: CanaryStep) -> bool:
    """Whether only one of the models has traffic."""
    return step.weight_percent in (0, 100)


def _least(metric: Metric, step: CanaryStep) -> int:
    return step.min_requests if metric.min_trials is None else metric.min_trials


def judge_proof(state: RolloutState, step: CanaryStep) -> tuple[CheckResult, ...]:
    """Judge whether the increase is shown to be tolerable: ``PASS`` or ``INCONCLUSIVE``."""
    if step.weight_percent == 0:
        return (_measured(state, step),)
    return tuple(_try(state, step, metric) for metric in proven_by(state.spec, step))


def expect_proof(state: RolloutState, step: CanaryStep) -> tuple[CheckResult, ...]:
    """Say how it stands at a look that tries no proof, and about how many requests are missing: ``INCONCLUSIVE``."""
    if step.weight_percent == 0:
        return (_measured(state, step),)
    return tuple(_expected(state, step, metric) for metric in proven_by(state.spec, step))


def _measured(state: RolloutState, step: CanaryStep) -> CheckResult:
    """Judge whether the stable model alone has been seen for long enough to compare the candidate with it."""
    counted = {metric.unit: metric.of(state.baseline)[1] for metric in proven_by(state.spec, step)}
    counted["requests"] = state.baseline.requests
    missing = max(0, *(step.min_requests - count for count in counted.values()))
    seen = " and ".join(f"{count} {unit}" for unit, count in counted.items())
    return CheckResult(
        name="before.proof",
        verdict=Verdict.INCONCLUSIVE if missing else Verdict.PASS,
        reason=f"{seen} at {state.stable} before the switch, {step.min_requests} are needed",
        sample_size=state.baseline.requests,
        details={"requests_missing": missing, "unit": "requests"},
    )


def _expected(state: RolloutState, step: CanaryStep, metric: Metric) -> CheckResult:
    trials, base_trials = _trials(state, metric)
    seen, counted = (min(trials, base_trials), trials) if metric.tally else _of_requests(state)
    # In what the candidate counts: what the stable model counts comes along in the ratio seen so far.
    ratio = max(counted, 1) / max(seen, 1)
    due = _least(metric, step) * PROOF_GROWTH**state.proof_looks
    missing: int | None = max(0, math.ceil((due - seen) * ratio))
    value = low = high = None
    if trials and base_trials:
        found = _bound(state, metric)
        more = found.details.get("requests_missing", 0)
        missing = None if more is None or missing is None else max(missing, more)
        value, low, high = found.value, found.low, found.high
    ahead = (
        f"more {metric.unit} at these rates would not prove anything"
        if missing is None
        else f"about {missing} more {metric.unit} at {state.candidate} would decide"
    )
    return CheckResult(
        name=f"{metric.name}.proof",
        verdict=Verdict.INCONCLUSIVE,
        reason=f"not tried at this look: {ahead}",
        value=value,
        low=low,
        high=high,
        threshold=metric.max_increase,
        sample_size=trials,
        details={"baseline_sample_size": base_trials, "requests_missing": missing, "unit": metric.unit},
    )


def _of_requests(state: RolloutState) -> tuple[int, int]:
    return _requests_seen(state), state.canary.requests


def _try(state: RolloutState, step: CanaryStep, metric: Metric) -> CheckResult:
    trials, base_trials = _trials(state, metric)
    least = _least(metric, step)
    # What was measured before the switch was enough by the rules of that step.
    base_least = state.spec.steps[0].min_requests if step_is_alone(step) else least
    if trials >= least and base_trials >= base_least:
        return _bound(state, metric)
    reason = (
        f"{trials} {metric.unit} at {state.candidate} and {base_trials} at {state.stable}; {least} are needed at both"
    )
    missing = max(0, least - trials)
    return CheckResult(
        name=f"{metric.name}.proof",
        verdict=Verdict.INCONCLUSIVE,
        reason=reason,
        sample_size=trials,
        details={"baseline_sample_size": base_trials, "requests_missing": missing, "unit": metric.unit},
    )


def _bound(state: RolloutState, metric: Metric) -> CheckResult:
    failures, trials = metric.of(state.canary)
    base_failures, base_trials = metric.of(state.reference)
    confidence = 1.0 - 2.0 * proof_error(state.spec.confidence, state.proof_looks)
    low, high = newcombe_interval(failures, trials, base_failures, base_trials, confidence)
    increase = failures / trials - base_failures / base_trials
    shown = high <= metric.max_increase
    reason = (
        f"share of {metric.unit} that {metric.noun}: increase {increase:+.2%}, at most {high:+.2%}; "
        f"{metric.max_increase:.2%} is tolerated"
    )
    details: dict[str, float | int | str | None] = {
        "confidence": confidence,
        "baseline_sample_size": base_trials,
        "unit": metric.unit,
    }
    if not shown:
        more = _requests_missing(metric, state, confidence)
        details["requests_missing"] = more
        reason += (
            f"; about {more} more {metric.unit} at {state.candidate} would decide"
            if more is not None
            else f"; more {metric.unit} at these rates would not show that it is tolerable"
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
    counts = (*metric.of(state.canary), *metric.of(state.reference))
    if counts[0] / counts[1] - counts[2] / counts[3] >= metric.max_increase:
        return None

    alone = step_is_alone(state.rules)

    def decides(times: float) -> bool:
        first, second = (round(value * times) for value in counts[:2])
        # What was counted before all traffic moved at once does not grow.
        third, fourth = (round(value * (1.0 if alone else times)) for value in counts[2:])
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
