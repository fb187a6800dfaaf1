"""The one transition of a rollout: state, observation and time in, state and plan out.

Worker, trigger and simulation drive the same function. It is level-triggered: what the route should say follows from
the state alone, so repeating a look, or losing the answer to a write, changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.rollout.fixed_horizon import add_points, is_complete
from airflow_mlops.rollout.group import close_step, look_at_group
from airflow_mlops.rollout.harm import accumulate_harm, judge_harm
from airflow_mlops.rollout.observation import ArmCounters, Counts, Observation, began_again, since
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.proof import expect_proof, judge_proof, proof_is_due
from airflow_mlops.rollout.share import judge_share
from airflow_mlops.rollout.spec import CanaryStep
from airflow_mlops.rollout.state import RolloutState, intended_weights, record
from airflow_mlops.verdict import Verdict

__all__ = ["abort", "step"]


def step(state: RolloutState, observation: Observation, now: float) -> tuple[RolloutState, Plan]:
    """Advance a rollout by one look.

    :param observation: the world at ``now``
    :param now: seconds since the epoch
    :return: the state to store *before* the plan is carried out, and the plan
    """
    if state.finished:
        return state, _conclude(state, observation)
    obstacle = _obstacle(state, observation)
    if obstacle is not None:
        return _unknown(state, observation, now, *obstacle)
    if state.step_since is None:
        return _start_counting(state, observation, now)
    return _judge(state, observation, now)


def _conclude(state: RolloutState, observation: Observation) -> Plan:
    weights = intended_weights(state)
    route = observation.route
    verdict = state.history[-1].verdict if state.history else Verdict.ERROR
    if route is not None and _in_effect(state, observation) and not route.foreign_edits:
        return Plan(action="finish", weights=weights, verdict=verdict, reason=state.reason)
    if state.phase == "rolled_back":
        # Whatever else was done to the route: traffic goes back.
        return Plan(action="roll_back", weights=weights, verdict=verdict, reason=state.reason)
    generation = None if route is None else route.generation
    return Plan(action="promote", weights=weights, verdict=verdict, reason=state.reason, expected_generation=generation)


def _in_effect(state: RolloutState, observation: Observation) -> bool:
    route = observation.route
    return route is not None and route.applied and dict(route.weights) == intended_weights(state)


def _obstacle(state: RolloutState, observation: Observation) -> tuple[Verdict, str] | None:
    """Say why nothing can be judged now, if so."""
    route = observation.route
    if route is None:
        return Verdict.ERROR, f"the route cannot be read: {observation.problem}"
    if route.foreign_edits:
        return Verdict.ERROR, f"somebody else changed the route: {'; '.join(route.foreign_edits)}"
    if not _in_effect(state, observation):
        return Verdict.INCONCLUSIVE, "the weights of this step are not in effect yet"
    if observation.counters is None:
        return Verdict.ERROR, f"no measurements: {observation.problem}"
    missing = [name for name in (state.candidate, state.stable) if name not in observation.counters]
    if missing:
        return Verdict.ERROR, f"no measurements of {' and '.join(map(str, missing))}"
    return None


def _unknown(
    state: RolloutState, observation: Observation, now: float, verdict: Verdict, reason: str
) -> tuple[RolloutState, Plan]:
    """Hold, or give up when nothing was known for too long."""
    begun = now if state.unknown_since is None else state.unknown_since
    if now - begun >= state.spec.max_unknown_seconds:
        text = f"nothing was known about {state.candidate} for {now - begun:.0f} s; at last: {reason}"
        return _roll_back(state, now, verdict, text)
    if _is_late(state, now):
        return _give_up(state, now)
    if state.unknown_since is None:
        state = replace(state, unknown_since=begun, sequence=state.sequence + 1)
    route = observation.route
    if route is None or route.foreign_edits or _in_effect(state, observation):
        return state, _hold(state, verdict, reason)
    # Ours to finish: the state was stored, but the write after it was not made or did not come through.
    plan = Plan(
        action="set_weights",
        weights=intended_weights(state),
        verdict=verdict,
        reason=reason,
        expected_generation=route.generation,
    )
    return state, plan


def _start_counting(state: RolloutState, observation: Observation, now: float) -> tuple[RolloutState, Plan]:
    last = _counters(state, observation)
    state = replace(state, step_since=now, last=last, unknown_since=None, sequence=state.sequence + 1)
    return state, _hold(state, Verdict.INCONCLUSIVE, "the weights are in effect; counting begins")


def _counters(state: RolloutState, observation: Observation) -> dict[str, ArmCounters]:
    counters = observation.counters or {}
    return {name: counters[name] for name in (state.candidate, state.stable) if name is not None}


def _hold(state: RolloutState, verdict: Verdict, reason: str) -> Plan:
    return Plan(action="hold", weights=intended_weights(state), verdict=verdict, reason=reason)


def _judge(state: RolloutState, observation: Observation, now: float) -> tuple[RolloutState, Plan]:
    last = _counters(state, observation)
    restarted = [name for name, counters in last.items() if began_again(state.last[name], counters)]
    if len(restarted) == 1:
        # What one arm did before its counters began again is lost, so the other's count has nothing to stand beside.
        state = replace(state, last=last, sequence=state.sequence + 1)
        reason = f"the counters of {restarted[0]} began again; what came since the last look is not counted"
        return _unknown(state, observation, now, Verdict.INCONCLUSIVE, reason)
    canary = since(state.last[state.candidate], last[state.candidate])
    baseline = since(state.last[str(state.stable)], last[str(state.stable)])
    state = _counted(replace(state, last=last, sequence=state.sequence + 1), canary, baseline)
    rules = state.spec.steps[state.step_index]
    harm, share = judge_harm(state), judge_share(state, rules)
    state = replace(state, checks=(*harm, share, *expect_proof(state, rules)))
    for check in harm:
        if check.verdict is Verdict.FAIL:
            return _roll_back(state, now, Verdict.FAIL, check.reason)
    if share.verdict is not Verdict.PASS:
        return _unknown(state, observation, now, share.verdict, share.reason)
    silent = [
        str(name) for name, counts in ((state.candidate, canary), (state.stable, baseline)) if counts.requests == 0
    ]
    if silent:
        reason = f"no new requests at {' and '.join(silent)}"
        return _unknown(state, observation, now, Verdict.INCONCLUSIVE, reason)
    return _prove(replace(state, unknown_since=None), rules, now)


def _counted(state: RolloutState, canary: Counts, baseline: Counts) -> RolloutState:
    """Add what happened since the last look to the counts and to the evidence of harm."""
    total, base_total = state.canary + canary, state.baseline + baseline
    return replace(
        state,
        canary=total,
        baseline=base_total,
        harm=accumulate_harm(state, canary, baseline),
        group=look_at_group(state.spec, state.group, total, base_total),
        points=add_points(state.spec, state.points, canary, baseline),
    )


def _prove(state: RolloutState, rules: CanaryStep, now: float) -> tuple[RolloutState, Plan]:
    """Go on when enough is shown, give up when it took too long, else hold."""
    elapsed = 0.0 if state.step_since is None else now - state.step_since
    exhausted = _is_exhausted(state)
    seen = elapsed >= rules.min_seconds and is_complete(state.spec, state.points)
    if seen and (exhausted or proof_is_due(state, rules)):
        proof = judge_proof(state, rules)
        others = [check for check in state.checks if not check.name.endswith(".proof")]
        state = replace(state, checks=(*others, *proof))
        missing = [check.reason for check in proof if check.verdict is not Verdict.PASS]
        if not missing:
            return _advance(state, now, "; ".join(check.reason for check in proof))
        state = replace(state, proof_looks=state.proof_looks + 1)
        reason = "; ".join(missing)
    else:
        reason = _progress(state, rules, elapsed)
    if exhausted or _is_late(state, now):
        return _give_up(state, now)
    return state, _hold(state, Verdict.INCONCLUSIVE, reason)


def _progress(state: RolloutState, rules: CanaryStep, elapsed: float) -> str:
    missing = [check.details["requests_missing"] for check in state.checks if check.name.endswith(".proof")]
    ahead = (
        "more requests at these rates would not prove anything"
        if None in missing
        else f"about {max(missing, default=0)} more requests at {state.candidate} would decide"
    )
    return (
        f"{elapsed:.0f} of {rules.min_seconds:g} s, {state.canary.requests} requests at {state.candidate} and "
        f"{state.baseline.requests} at {state.stable} of {rules.min_requests}; {ahead}"
    )


def _is_exhausted(state: RolloutState) -> bool:
    """Whether the candidate has answered as many requests as the rollout may see."""
    largest = state.spec.max_samples
    return largest is not None and state.group.requests + state.canary.requests >= largest


def _is_late(state: RolloutState, now: float) -> bool:
    return state.step_since is not None and now - state.step_since >= state.spec.step_timeout_seconds


def _give_up(state: RolloutState, now: float) -> tuple[RolloutState, Plan]:
    rules = state.spec.steps[state.step_index]
    missing = [check.reason for check in judge_proof(state, rules) if check.verdict is not Verdict.PASS]
    shown = "; ".join(missing) or "what was seen at last came too late to be judged"
    within = (
        f"with {state.spec.max_samples} requests"
        if _is_exhausted(state)
        else f"in {state.spec.step_timeout_seconds:g} s"
    )
    text = f"not proven {within} at {rules.weight_percent} %: {shown}"
    return _roll_back(state, now, Verdict.INCONCLUSIVE, text)


def _advance(state: RolloutState, now: float, shown: str) -> tuple[RolloutState, Plan]:
    share = state.spec.steps[state.step_index].weight_percent
    # Counts and proofs belong to a step; evidence of harm belongs to the whole rollout and stays.
    state = replace(
        state,
        step_since=None,
        last={},
        group=close_step(state.spec, state.group, state.canary, state.baseline),
        points={},
        canary=Counts(),
        baseline=Counts(),
        proof_looks=0,
        unknown_since=None,
    )
    if state.step_index + 1 == len(state.spec.steps):
        state = replace(state, phase="promoted")
        reason = f"{state.candidate} takes all traffic, proven at {share} %: {shown}"
    else:
        state = replace(state, step_index=state.step_index + 1)
        reason = f"proven at {share} %: {shown}"
    state = record(state, now=now, verdict=Verdict.PASS, reason=reason)
    plan = Plan(
        action="promote" if state.finished else "set_weights",
        weights=intended_weights(state),
        verdict=Verdict.PASS,
        reason=reason,
    )
    return state, plan


def _roll_back(state: RolloutState, now: float, verdict: Verdict, reason: str) -> tuple[RolloutState, Plan]:
    state = replace(state, phase="rolled_back", step_since=None, unknown_since=None, sequence=state.sequence + 1)
    state = record(state, now=now, verdict=verdict, reason=reason)
    plan = Plan(action="roll_back", weights=intended_weights(state), verdict=verdict, reason=reason)
    return state, plan


def abort(state: RolloutState, now: float, reason: str) -> RolloutState:
    """Return the state with all traffic back at the stable model, for good; a finished rollout stays as it is."""
    return state if state.finished else _roll_back(state, now, Verdict.ERROR, reason)[0]
