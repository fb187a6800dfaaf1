"""The one transition of a rollout: state, observation and time in, state and plan out.

Worker, trigger and simulation drive the same function. It is level-triggered: what the route should say follows from
the state alone, so repeating a look, or losing the answer to a write, changes nothing.
"""

from __future__ import annotations

from dataclasses import replace

from airflow_mlops.rollout.counting import arms, count, restarted, skip, start_counting
from airflow_mlops.rollout.fixed_horizon import is_complete
from airflow_mlops.rollout.group import close_step
from airflow_mlops.rollout.harm import judge_harm
from airflow_mlops.rollout.observation import Counts, Observation
from airflow_mlops.rollout.plan import Plan
from airflow_mlops.rollout.progress import progress, proofs_of, waiting
from airflow_mlops.rollout.proof import expect_proof, judge_proof, proof_is_due
from airflow_mlops.rollout.share import judge_share
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
        state = start_counting(state, observation, now)
        return state, _hold(state, Verdict.INCONCLUSIVE, "the weights are in effect; counting begins")
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
    missing = [name for name in arms(state) if name not in observation.counters]
    if missing:
        return Verdict.ERROR, f"no measurements of {' and '.join(missing)}"
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


def _hold(state: RolloutState, verdict: Verdict, reason: str) -> Plan:
    return Plan(action="hold", weights=intended_weights(state), verdict=verdict, reason=reason)


def _judge(state: RolloutState, observation: Observation, now: float) -> tuple[RolloutState, Plan]:
    gone = restarted(state, observation)
    if gone is not None:
        reason = f"the counters of {gone} began again; what came since the last look is not counted"
        return _unknown(skip(state, observation), observation, now, Verdict.INCONCLUSIVE, reason)
    state, canary, baseline = count(state, observation, now)
    harm, share = judge_harm(state), judge_share(state, state.rules)
    # What was proven stays as it was shown to whoever approves.
    proof = proofs_of(state) if state.proven else expect_proof(state, state.rules)
    state = replace(state, checks=(*harm, share, *proof))
    for check in harm:
        if check.verdict is Verdict.FAIL:
            return _roll_back(state, now, Verdict.FAIL, check.reason)
    if share.verdict is not Verdict.PASS:
        return _unknown(state, observation, now, share.verdict, share.reason)
    windows = {state.candidate: canary, state.stable: baseline}
    silent = [name for name in arms(state) if windows[name].requests == 0]
    if silent:
        reason = f"no new requests at {' and '.join(silent)}"
        return _unknown(state, observation, now, Verdict.INCONCLUSIVE, reason)
    return _prove(replace(state, unknown_since=None), now)


def _prove(state: RolloutState, now: float) -> tuple[RolloutState, Plan]:
    """Go on when enough is shown, and approved where that is asked for; give up when it took too long, else hold."""
    rules = state.rules
    if state.proven and state.approved_by:
        return _advance(state, now, f"{state.proven}; approved by {state.approved_by}")
    elapsed = 0.0 if state.step_since is None else now - state.step_since
    exhausted = _is_exhausted(state)
    seen = elapsed >= rules.min_seconds and is_complete(state.spec, state.points)
    if state.proven:
        reason = waiting(state)
    elif seen and (exhausted or proof_is_due(state, rules)):
        proof = judge_proof(state, rules)
        others = [check for check in state.checks if not check.name.endswith(".proof")]
        state = replace(state, checks=(*others, *proof))
        missing = [check.reason for check in proof if check.verdict is not Verdict.PASS]
        if not missing:
            shown = "; ".join(check.reason for check in proof)
            return _ask(state, now, shown) if rules.approval else _advance(state, now, shown)
        state = replace(state, proof_looks=state.proof_looks + 1)
        reason = "; ".join(missing)
    else:
        reason = progress(state, elapsed)
    if exhausted or _is_late(state, now):
        return _give_up(state, now)
    return state, _hold(state, Verdict.INCONCLUSIVE, reason)


def _ask(state: RolloutState, now: float, shown: str) -> tuple[RolloutState, Plan]:
    """Hold with what was proven, until somebody approves."""
    state = replace(state, proven=shown)
    reason = f"proven at {state.rules.weight_percent} %, waits for approval: {shown}"
    state = record(state, now=now, verdict=Verdict.PASS, reason=reason)
    return state, _hold(state, Verdict.INCONCLUSIVE, waiting(state))


def _is_exhausted(state: RolloutState) -> bool:
    """Whether the candidate has answered as many requests as the rollout may see."""
    largest = state.spec.max_samples
    return largest is not None and state.group.requests + state.canary.requests >= largest


def _is_late(state: RolloutState, now: float) -> bool:
    return state.step_since is not None and now - state.step_since >= state.spec.timeout_of(state.rules)


def _give_up(state: RolloutState, now: float) -> tuple[RolloutState, Plan]:
    rules = state.rules
    missing = [check.reason for check in judge_proof(state, rules) if check.verdict is not Verdict.PASS]
    shown = "; ".join(missing) or "what was seen at last came too late to be judged"
    within = (
        f"with {state.spec.max_samples} requests" if _is_exhausted(state) else f"in {state.spec.timeout_of(rules):g} s"
    )
    if state.proven and not state.approved_by:
        text = f"nobody approved {rules.weight_percent} % {within}; proven: {state.proven}"
        return _roll_back(state, now, Verdict.INCONCLUSIVE, text)
    text = f"not proven {within} at {rules.weight_percent} %: {shown}"
    return _roll_back(state, now, Verdict.INCONCLUSIVE, text)


def _advance(state: RolloutState, now: float, shown: str) -> tuple[RolloutState, Plan]:
    share = state.rules.weight_percent
    # Counts and proofs belong to a step; evidence of harm belongs to the whole rollout and stays.
    state = replace(
        state,
        step_since=None,
        last={},
        group=close_step(state.spec, state.group, state.canary, state.baseline),
        points={},
        before=state.before if share else state.baseline,
        canary=Counts(),
        baseline=Counts(),
        labels_open=False,
        proof_looks=0,
        proven="",
        approved_by="",
        unknown_since=None,
    )
    if state.step_index + 1 == len(state.spec.steps):
        state = replace(state, phase="promoted")
        reason = f"{state.candidate} takes all traffic, proven at {share} %: {shown}"
    else:
        state = replace(state, step_index=state.step_index + 1)
        reason = f"proven at {share} %: {shown}"
    if not share:
        reason = f"{state.candidate} takes all traffic and is watched: {shown}"
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
