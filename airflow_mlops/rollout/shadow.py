"""A candidate in the shadow of the stable model: it answers copies of the requests, and its answers reach nobody.

Like a canary's step, one pure function takes state, observation and time and returns state and plan; worker and trigger
drive the same. What is counted of the pairs follows from the logs alone, so a process that takes over reads them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_mlops.rollout.observation import ArmCounters, Counts, RouteView, began_again, since
from airflow_mlops.rollout.pair_counts import PairCounts
from airflow_mlops.rollout.paired import checks_of, judge_pairs
from airflow_mlops.rollout.routing import Mirror
from airflow_mlops.rollout.shadow_spec import ShadowSpec
from airflow_mlops.stats.e_value import add, e_value, log_likelihood_ratios
from airflow_mlops.stats.share_e_value import share_sequence
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["ShadowObservation", "ShadowPhase", "ShadowPlan", "ShadowState", "end", "intended_mirror", "step"]

ShadowPhase = Literal["mirroring", "passed", "failed", "inconclusive"]
_PHASES: Mapping[Verdict, ShadowPhase] = {Verdict.PASS: "passed", Verdict.FAIL: "failed"}


@dataclass(frozen=True, kw_only=True)
class ShadowState:
    """Everything that the next look has to know.

    :param model_name: the route
    :param candidate: target that gets copies
    :param stable: target that has the traffic
    :param spec: the rules under which this shadow began; it ends under the same
    :param token: of the lease under which it began
    :param started_at: seconds since the epoch
    :param phase: all but ``mirroring`` are final
    :param last: target to counters at the last look; empty until counting begins
    :param canary: what the candidate did with its copies
    :param baseline: what the stable model did meanwhile
    :param harm: log-likelihood ratio of each alternative to "the candidate fails no more often"
    :param pairs: what the pairs of answers came to
    :param unknown_since: since when nothing new is known about the candidate, None when something is
    :param checks: the last judgement
    :param reason: why it stands as it does, one sentence
    """

    model_name: str
    candidate: str
    stable: str
    spec: ShadowSpec
    token: int
    started_at: float
    phase: ShadowPhase = "mirroring"
    last: Mapping[str, ArmCounters] = field(default_factory=dict)
    canary: Counts = field(default_factory=Counts)
    baseline: Counts = field(default_factory=Counts)
    harm: tuple[float, ...] = ()
    pairs: PairCounts = field(default_factory=PairCounts)
    unknown_since: float | None = None
    checks: tuple[CheckResult, ...] = ()
    reason: str = ""

    @property
    def finished(self) -> bool:
        """Whether the outcome is decided."""
        return self.phase != "mirroring"

    @property
    def verdict(self) -> Verdict:
        """The conclusion; ``INCONCLUSIVE`` while there is none."""
        found = {phase: verdict for verdict, phase in _PHASES.items()}
        return found.get(self.phase, Verdict.INCONCLUSIVE)


@dataclass(frozen=True, kw_only=True)
class ShadowObservation:
    """One look at the world.

    :param route: the route, None when it could not be read
    :param counters: counters of both arms, None when they could not be read
    :param pairs: counts of all pairs since the shadow began, None when the logs could not be read
    :param problem: why something could not be read, one sentence; empty when all could
    """

    route: RouteView | None = None
    counters: Mapping[str, ArmCounters] | None = None
    pairs: PairCounts | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class ShadowPlan:
    """What follows from a look.

    :param action: ``hold`` asks for nothing, ``set_mirror`` to make the route copy, ``finish`` to end
    :param verdict: of this look
    :param reason: one sentence for a person
    """

    action: Literal["hold", "set_mirror", "finish"]
    verdict: Verdict
    reason: str


def intended_mirror(state: ShadowState) -> Mirror | None:
    """Return what the route should copy: a function of the state alone."""
    return None if state.finished else Mirror(target=state.candidate, percent=state.spec.percent)


def step(state: ShadowState, seen: ShadowObservation, now: float) -> tuple[ShadowState, ShadowPlan]:
    """Advance a shadow by one look.

    :param seen: the world at ``now``
    :param now: seconds since the epoch
    """
    if state.finished:
        return state, ShadowPlan(action="finish", verdict=state.verdict, reason=state.reason)
    route, counters, pairs = seen.route, seen.counters, seen.pairs
    if route is None or counters is None or pairs is None:
        return _unknown(state, now, f"it cannot be observed: {seen.problem}")
    if route.weights.get(state.candidate):
        share = route.weights[state.candidate]
        return _finish(state, Verdict.INCONCLUSIVE, f"{state.candidate} got {share} % of the requests from elsewhere")
    if not route.foreign_edits and (route.mirror != intended_mirror(state) or not route.applied):
        return _unknown(state, now, "the route does not copy the requests yet", action="set_mirror")
    missing = [name for name in (state.candidate, state.stable) if name not in counters]
    obstacle = f"no measurements of {' and '.join(missing)}" if missing else ""
    if route.foreign_edits:
        obstacle = f"somebody else changed the route: {'; '.join(route.foreign_edits)}"
    return _unknown(state, now, obstacle) if obstacle else _judge(state, counters, pairs, now)


def end(state: ShadowState, reason: str) -> ShadowState:
    """Return the state with the shadow ended without a result; a finished one stays as it is."""
    return state if state.finished else _finish(state, Verdict.INCONCLUSIVE, reason)[0]


def _judge(
    state: ShadowState, counters: Mapping[str, ArmCounters], pairs: PairCounts, now: float
) -> tuple[ShadowState, ShadowPlan]:
    last = {name: counters[name] for name in (state.candidate, state.stable)}
    if not state.last:
        return _unknown(replace(state, last=last), now, "the requests are copied; counting begins")
    again = [name for name, count in last.items() if began_again(state.last[name], count)]
    if len(again) != 1:  # what one arm did alone before its counters began again has nothing to stand beside
        state = _counted(state, last)
    more = pairs.pairs > state.pairs.pairs
    state = replace(state, last=last, pairs=pairs)
    state = replace(state, checks=(_judge_errors(state), *judge_pairs(pairs, state.spec)))
    failed = [check.reason for check in state.checks if check.verdict is Verdict.FAIL]
    if failed:
        return _finish(state, Verdict.FAIL, "; ".join(failed))
    if not more:
        return _unknown(state, now, f"no new pairs of answers; {pairs.pairs} so far")
    state, elapsed = replace(state, unknown_since=None), now - state.started_at
    undecided = [check.reason for check in state.checks if check.verdict is not Verdict.PASS]
    enough = pairs.pairs >= state.spec.min_pairs and elapsed >= state.spec.min_seconds
    if enough and not undecided:
        return _finish(state, Verdict.PASS, "; ".join(check.reason for check in state.checks))
    progress = f"{elapsed:.0f} of {state.spec.min_seconds:g} s, {pairs.pairs} of {state.spec.min_pairs} pairs"
    reason = "; ".join((progress, *undecided))
    if _is_late(state, now):
        return _finish(state, Verdict.INCONCLUSIVE, f"not decided in {state.spec.timeout_seconds:g} s: {reason}")
    return _hold(state, reason)


def _counted(state: ShadowState, last: Mapping[str, ArmCounters]) -> ShadowState:
    canary = since(state.last[state.candidate], last[state.candidate])
    baseline = since(state.last[state.stable], last[state.stable])
    ratios = log_likelihood_ratios(
        canary_failures=canary.errors,
        canary_trials=canary.requests,
        baseline_failures=baseline.errors,
        baseline_trials=baseline.requests,
    )
    harm = add((state.harm, ratios)) if state.harm else ratios
    return replace(state, canary=state.canary + canary, baseline=state.baseline + baseline, harm=harm)


def _judge_errors(state: ShadowState) -> CheckResult:
    """Judge whether copies fail more often than the requests themselves do.

    A request that failed is in no log, so these are not pairs but the proxy's counts of both arms.
    """
    canary, baseline, most = state.canary, state.baseline, state.spec.errors.max_increase
    each = 1 - (1 - state.spec.confidence) / 2  # one half of the error for each of the two shares
    ours = share_sequence(canary.errors, canary.requests, confidence=each)
    theirs = share_sequence(baseline.errors, baseline.requests, confidence=each)
    evidence = e_value(state.harm) if state.harm else 1.0
    needed = checks_of(state.spec) / state.spec.alpha
    increase = ours.value - theirs.value if canary.requests and baseline.requests else None
    verdict = Verdict.INCONCLUSIVE
    if increase is not None and increase > most and evidence >= needed:
        verdict = Verdict.FAIL
    elif increase is not None and ours.high - theirs.low <= most:
        verdict = Verdict.PASS
    return CheckResult(
        name="errors.harm",
        verdict=verdict,
        reason=f"{canary.errors} of {canary.requests} copies failed at {state.candidate}, {baseline.errors} of "
        f"{baseline.requests} requests at {state.stable}; an increase above {max(ours.high - theirs.low, 0):.2%} is "
        f"excluded, {most:.2%} is tolerated; evidence of harm is {min(evidence, 1e300):.3g}, {needed:.3g} prove it",
        value=increase,
        high=ours.high - theirs.low,
        threshold=most,
        sample_size=canary.requests,
        details={"e_value": min(evidence, 1e300), "e_value_needed": needed},
    )


def _unknown(
    state: ShadowState, now: float, reason: str, *, action: Literal["hold", "set_mirror"] = "hold"
) -> tuple[ShadowState, ShadowPlan]:
    """Hold, or give up when nothing new was known for too long."""
    begun = now if state.unknown_since is None else state.unknown_since
    if now - begun >= state.spec.max_unknown_seconds:
        text = f"nothing new was known about {state.candidate} for {now - begun:.0f} s; at last: {reason}"
        return _finish(state, Verdict.INCONCLUSIVE, text)
    if _is_late(state, now):
        text = f"not decided in {state.spec.timeout_seconds:g} s; at last: {reason}"
        return _finish(state, Verdict.INCONCLUSIVE, text)
    state = replace(state, unknown_since=begun, reason=reason)
    return state, ShadowPlan(action=action, verdict=Verdict.INCONCLUSIVE, reason=reason)


def _is_late(state: ShadowState, now: float) -> bool:
    return now - state.started_at >= state.spec.timeout_seconds


def _hold(state: ShadowState, reason: str) -> tuple[ShadowState, ShadowPlan]:
    return replace(state, reason=reason), ShadowPlan(action="hold", verdict=Verdict.INCONCLUSIVE, reason=reason)


def _finish(state: ShadowState, verdict: Verdict, reason: str) -> tuple[ShadowState, ShadowPlan]:
    state = replace(state, phase=_PHASES.get(verdict, "inconclusive"), unknown_since=None, reason=reason)
    return state, ShadowPlan(action="finish", verdict=verdict, reason=reason)
