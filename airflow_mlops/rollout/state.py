"""Where a rollout stands; kept beside the route, so that any process can take it up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.rollout.group import GroupProgress
from airflow_mlops.rollout.observation import ArmCounters, Counts
from airflow_mlops.rollout.spec import CanaryStep, RolloutSpec
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = [
    "HistoryEntry",
    "Phase",
    "RolloutState",
    "approve",
    "awaits_approval",
    "begin",
    "intended_weights",
    "is_under_way",
    "record",
    "stable_target",
]

Phase = Literal["progressing", "promoted", "rolled_back"]


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    """One decision.

    :param at: seconds since the epoch
    :param weights: target to percent from then on
    :param verdict: what the decision rests on; the first entry has ``inconclusive``, nothing was seen yet
    :param reason: one sentence for a person
    :param step_index: the step that the weights belong to
    """

    at: float
    weights: Mapping[str, int]
    verdict: Verdict
    reason: str
    step_index: int


@dataclass(frozen=True, kw_only=True)
class RolloutState:
    """Everything that the next look has to know.

    :param model_name: the route
    :param candidate: target of the new version
    :param stable: target that has the traffic until now; None for a first release
    :param spec: the rules under which this rollout began; it ends under the same
    :param started_at: seconds since the epoch
    :param request: who asked for this rollout, and which time; empty if nobody said
    :param sequence: grows by one with every change; a store refuses to go back
    :param phase: ``promoted`` and ``rolled_back`` are final
    :param step_index: position in ``spec.steps``
    :param step_since: when counting began in this step; None until its weights were seen in effect
    :param last: target to counters at the last look
    :param canary: what the candidate did in this step
    :param baseline: what the stable model did in this step
    :param before: what the stable model did alone before all traffic moved at once, with ``blue_green``
    :param labels_open: whether the labels that count now are of predictions made in this step
    :param harm: per metric, the log-likelihood ratio of each alternative over all steps
    :param harm_tries: how many sizes of the sample have passed at which harm is tested, with ``blue_green``
    :param group: how far the group-sequential tests of harm have come, for a spec with ``max_samples``
    :param points: per metric, the rates of both arms at each look of this step, for a spec with ``fixed_horizon``
    :param proof_looks: how often a proof was tried in this step
    :param proven: what this step has proven, for one that waits for approval; empty before
    :param approved_by: who approved this step; empty before
    :param unknown_since: since when nothing is known about the candidate, None when something is
    :param checks: the last judgement
    :param history: all decisions, oldest first
    """

    model_name: str
    candidate: str
    stable: str | None
    spec: RolloutSpec
    started_at: float
    request: str = ""
    sequence: int = 0
    phase: Phase = "progressing"
    step_index: int = 0
    step_since: float | None = None
    last: Mapping[str, ArmCounters] = field(default_factory=dict)
    canary: Counts = field(default_factory=Counts)
    baseline: Counts = field(default_factory=Counts)
    before: Counts = field(default_factory=Counts)
    labels_open: bool = False
    harm: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    harm_tries: int = 0
    group: GroupProgress = field(default_factory=GroupProgress)
    points: Mapping[str, tuple[tuple[float, ...], ...]] = field(default_factory=dict)
    proof_looks: int = 0
    proven: str = ""
    approved_by: str = ""
    unknown_since: float | None = None
    checks: tuple[CheckResult, ...] = ()
    history: tuple[HistoryEntry, ...] = ()

    def __post_init__(self) -> None:
        """Refuse states that no rollout reaches."""
        if not 0 <= self.step_index < len(self.spec.steps):
            raise SpecificationError(
                "RolloutState.step_index", self.step_index, f"0 to {len(self.spec.steps) - 1}, a step of the spec"
            )
        if self.stable is None and self.phase != "promoted":
            raise SpecificationError("RolloutState.stable", None, "a target: only a first release has no stable model")

    @property
    def finished(self) -> bool:
        """Whether the outcome is decided."""
        return self.phase != "progressing"

    @property
    def rules(self) -> CanaryStep:
        """The present step."""
        return self.spec.steps[self.step_index]

    @property
    def reference(self) -> Counts:
        """What the candidate is compared with: the stable model beside it, or before all traffic moved at once."""
        return self.before if self.rules.weight_percent == 100 else self.baseline

    @property
    def reason(self) -> str:
        """Why the last decision was made, one sentence."""
        return self.history[-1].reason if self.history else ""


def intended_weights(state: RolloutState) -> dict[str, int]:
    """Return what the route should say: a function of the state alone, never of the weights before."""
    if state.phase == "promoted" or state.stable is None:
        return {state.candidate: 100}
    if state.phase == "rolled_back":
        return {state.stable: 100}
    share = state.rules.weight_percent
    weights = {state.candidate: share, state.stable: 100 - share}
    return {name: weight for name, weight in weights.items() if weight > 0}


def is_under_way(state: RolloutState | None) -> bool:
    """Whether there is a rollout that is not decided."""
    return state is not None and not state.finished


def awaits_approval(state: RolloutState) -> bool:
    """Whether the present step has proven what it has to and waits for somebody to approve it."""
    return not state.finished and bool(state.proven) and not state.approved_by


def approve(state: RolloutState, *, by: str, now: float) -> RolloutState:
    """Approve the present step; the next look goes on from it, if it still finds no harm.

    :param by: who approves, for the history
    :param now: seconds since the epoch
    :raises SpecificationError: when the rollout waits for no approval, or nobody says who approves
    """
    share = state.rules.weight_percent
    if not awaits_approval(state):
        stands = f"is {state.phase.replace('_', ' ')}" if state.finished else f"judges {share} %"
        if state.approved_by:
            stands = f"was approved at {share} % by {state.approved_by}"
        raise SpecificationError(
            "approve", state.candidate, f"a rollout that waits for approval; this one of {state.model_name} {stands}"
        )
    if not by.strip():
        raise SpecificationError("by", by, "the name of who approves")
    state = replace(state, approved_by=by, sequence=state.sequence + 1)
    return record(state, now=now, verdict=Verdict.PASS, reason=f"{by} approved {share} %")


def begin(*, spec: RolloutSpec, model_name: str, candidate: str, stable: str | None, now: float) -> RolloutState:
    """Return a new rollout; one without a model to compare with is promoted at once.

    :param stable: the target that has the traffic now, None when none has
    :param now: seconds since the epoch
    """
    if stable is None or stable == candidate:
        reason = (
            f"{candidate} takes all traffic: there was no stable model to compare with"
            if stable is None
            else f"{candidate} is the stable model already"
        )
        state = RolloutState(
            model_name=model_name, candidate=candidate, stable=stable, spec=spec, started_at=now, phase="promoted"
        )
        return record(state, now=now, verdict=Verdict.WARN, reason=reason)
    state = RolloutState(model_name=model_name, candidate=candidate, stable=stable, spec=spec, started_at=now)
    share = spec.steps[0].weight_percent
    reason = (
        f"{candidate} starts with {share} % beside {stable}"
        if share
        else f"{stable} is measured alone before {candidate} takes all traffic"
    )
    return record(state, now=now, verdict=Verdict.INCONCLUSIVE, reason=reason)


def record(state: RolloutState, *, now: float, verdict: Verdict, reason: str) -> RolloutState:
    """Return the state with its present weights written into the history."""
    entry = HistoryEntry(
        at=now, weights=intended_weights(state), verdict=verdict, reason=reason, step_index=state.step_index
    )
    return replace(state, history=(*state.history, entry))


def stable_target(weights: Mapping[str, int], previous: RolloutState | None, candidate: str) -> str | None:
    """Return the target that a new candidate is compared with.

    :param weights: the route as it is
    :param previous: the rollout before. If it died half-way, its stable model is still the one to go back to; if it
        died between its decision and the write, what it decided holds
    :param candidate: the new target
    :return: None when nothing serves yet, ``candidate`` when it is the stable model already
    """
    serving = {name: weight for name, weight in weights.items() if weight > 0}
    left = None if previous is None else _left_by(previous, serving)
    if left is not None:
        return left
    others = {name: weight for name, weight in serving.items() if name != candidate}
    if not others:
        return candidate if serving else None
    return max(sorted(others), key=lambda name: others[name])


def _left_by(previous: RolloutState, serving: Mapping[str, int]) -> str | None:
    """Return the stable model by the rollout before; None where it tells nothing about the route as it is."""
    if not previous.finished:
        # After a switch from blue to green its stable model serves nothing, and is kept for this.
        switched = previous.spec.strategy == "blue_green" and serving == intended_weights(previous)
        return previous.stable if previous.stable in serving or switched else None
    if serving == intended_weights(previous) or serving not in [dict(entry.weights) for entry in previous.history]:
        return None
    if previous.phase == "rolled_back":
        return previous.stable
    return previous.candidate if previous.candidate in serving else None
