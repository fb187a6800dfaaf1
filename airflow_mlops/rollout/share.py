"""Whether the candidate gets the share of requests that its weight says; if not, the counts are not what they seem."""

from __future__ import annotations

import math

from airflow_mlops.rollout.checks import USERS
from airflow_mlops.rollout.spec import CanaryStep
from airflow_mlops.rollout.state import RolloutState
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["SHARE_TAIL", "judge_share"]

SHARE_TAIL = 1e-6
_ALMOST_ALL = 0.99


def judge_share(state: RolloutState, step: CanaryStep) -> CheckResult:
    """Judge whether the candidate gets the share that its weight says: ``ERROR`` when it cannot be chance."""
    unit, weight = state.spec.unit, step.weight_percent / 100
    observed, beside = (
        counts.tally(USERS).total if unit == "users" else counts.requests for counts in (state.canary, state.baseline)
    )
    total = observed + beside
    share = observed / total if total else 0.0
    if step.weight_percent == 0:
        tail = 1.0  # it may be asked past the weights, by those who try it
    elif step.weight_percent == 100:
        # The stable model may end what it had begun.
        tail = 1.0 if share >= _ALMOST_ALL else _tail_bound(observed, total, _ALMOST_ALL)
    else:
        tail = _tail_bound(observed, total, weight)
    believable = tail >= SHARE_TAIL
    reason = f"{observed} of {total} {unit} ({share:.1%}) came to {state.candidate}; its weight is {weight:.0%}"
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
