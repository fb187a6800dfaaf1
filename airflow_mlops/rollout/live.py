"""A rollout under way as figures for a page that follows it: what whoever looks at it publishes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from airflow_mlops.rollout.describe import describe_step
from airflow_mlops.rollout.figures import Figures, figures_of
from airflow_mlops.rollout.metric import metrics_of
from airflow_mlops.rollout.progress import progress, waiting
from airflow_mlops.rollout.state import Phase, RolloutState, awaits_approval, intended_weights
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["LiveArm", "LiveChange", "LiveMetric", "LiveRollout", "LiveStep", "live_rollout"]


@dataclass(frozen=True, kw_only=True)
class LiveArm:
    """One of the two models.

    :param weight_percent: what the route says it gets
    :param requests: what it got in the present step, at the end in the last one
    :param share: that, of the requests of both, 0 to 1; None before there were any
    """

    name: str
    role: str
    weight_percent: int
    requests: int
    share: float | None = None


@dataclass(frozen=True, kw_only=True)
class LiveMetric:
    """One metric of the present step.

    :param what: what is counted as a failure
    :param failures: of the candidate
    :param trials: what of the candidate could fail
    :param increase: of the share of failures, candidate less stable; None before both were seen
    :param low: lower end of the increase's 95 % interval, which decides nothing
    :param high: upper end
    :param tolerated: largest increase that is tolerated
    :param harm_kind: ``e_value``, ``failures`` (group-sequential) or ``shift`` (ranks)
    :param harm_value: the sequential evidence of harm
    :param harm_threshold: from where on it shows harm
    :param harm_verdict: ``fail`` where harm is shown
    :param harm_missing: trials until harm would be shown at these rates; None if it never would, or is not foreseen
    :param proof_bound: upper bound of the increase that the last try reached
    :param proof_verdict: None where this step needs no proof
    :param proof_missing: trials until it would be proven; None if it never would
    :param figures: the same as text
    """

    name: str
    what: str
    failures: int
    trials: int
    stable_failures: int
    stable_trials: int
    increase: float | None
    low: float | None
    high: float | None
    tolerated: float
    harm_kind: str
    harm_value: float | None
    harm_threshold: float | None
    harm_verdict: Verdict
    harm_missing: int | None
    proof_bound: float | None
    proof_verdict: Verdict | None
    proof_missing: int | None
    figures: Figures


@dataclass(frozen=True, kw_only=True)
class LiveStep:
    """One step of the spec.

    :param place: ``done``, ``now``, ``waits`` for approval, or empty
    """

    text: str
    weight_percent: int
    place: str


@dataclass(frozen=True, kw_only=True)
class LiveChange:
    """One decision of this rollout; see :class:`~airflow_mlops.rollout.state.HistoryEntry`."""

    at: float
    weights: Mapping[str, int]
    verdict: Verdict
    reason: str


@dataclass(frozen=True, kw_only=True)
class LiveRollout:
    """Where a rollout stands.

    :param phase: ``promoted`` and ``rolled_back`` are final
    :param reason: why the last decision was made
    :param standing: how far the present step is and what would decide it, one sentence; empty at the end
    :param share_verdict: ``error`` if the split does not work as the weights say; None before the first look
    :param started_at: seconds since the epoch
    :param step_since: since when is counted in this step, None before its weights were seen in effect
    :param looked_at: when this was written
    :param look_seconds: time between two looks; a document much older than that has nobody who writes it
    :param unknown_since: since when nothing is known about the candidate, None if something is
    :param sequence: grows with every change
    """

    model_name: str
    candidate: str
    stable: str | None
    phase: Phase
    reason: str
    standing: str
    arms: tuple[LiveArm, ...]
    share_verdict: Verdict | None
    steps: tuple[LiveStep, ...]
    step_index: int
    metrics: tuple[LiveMetric, ...]
    history: tuple[LiveChange, ...]
    started_at: float
    step_since: float | None
    looked_at: float
    look_seconds: float
    min_seconds: float
    min_requests: int
    unknown_since: float | None = None
    sequence: int = 0
    weights: Mapping[str, int] = field(default_factory=dict)
    live_version: int = 1

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase != "progressing"

    def is_stale(self, now: float) -> bool:
        """Whether whoever looks should have written meanwhile.

        :param now: seconds since the epoch
        """
        return not self.ended and now - self.looked_at > max(60.0, 4 * self.look_seconds)


def live_rollout(state: RolloutState, *, now: float) -> LiveRollout:
    """Return where a rollout stands.

    :param now: seconds since the epoch
    """
    checks = {check.name: check for check in state.checks}
    share = checks.get("share")
    rules = state.rules
    return LiveRollout(
        model_name=state.model_name,
        candidate=state.candidate,
        stable=state.stable,
        phase=state.phase,
        reason=state.reason,
        standing=_standing(state, now),
        arms=_arms(state, share),
        share_verdict=share.verdict if share else None,
        steps=_steps(state),
        step_index=state.step_index,
        metrics=_metrics(state, checks),
        history=tuple(
            LiveChange(at=one.at, weights=dict(one.weights), verdict=one.verdict, reason=one.reason)
            for one in state.history
        ),
        started_at=state.started_at,
        step_since=state.step_since,
        looked_at=now,
        look_seconds=state.spec.look_seconds,
        min_seconds=rules.min_seconds,
        min_requests=rules.min_requests,
        unknown_since=state.unknown_since,
        sequence=state.sequence,
        weights=intended_weights(state),
    )


def _standing(state: RolloutState, now: float) -> str:
    if state.finished or state.stable is None:
        return ""
    if awaits_approval(state):
        return waiting(state)
    if state.step_since is None:
        return "waits until the route has the weights of this step"
    # A proof that is shown misses nothing, and says nothing of it.
    open_checks = tuple(check for check in state.checks if "requests_missing" in check.details)
    return progress(replace(state, checks=open_checks), max(0.0, now - state.step_since))


def _arms(state: RolloutState, share: CheckResult | None) -> tuple[LiveArm, ...]:
    weights = intended_weights(state)
    candidate, stable = state.canary.requests, state.baseline.requests
    if state.finished and share is not None and share.value is not None:
        # The counts begin anew with the end; those that decided are in the last judgement.
        candidate = round(share.value * (share.sample_size or 0))
        stable = (share.sample_size or 0) - candidate
    seen = {"candidate": (state.candidate, candidate)}
    if state.stable is not None and state.stable != state.candidate:
        seen["stable"] = (state.stable, stable)
    total = sum(requests for _, requests in seen.values())
    return tuple(
        LiveArm(
            name=name,
            role=role,
            weight_percent=weights.get(name, 0),
            requests=requests,
            share=requests / total if total else None,
        )
        for role, (name, requests) in seen.items()
    )


def _steps(state: RolloutState) -> tuple[LiveStep, ...]:
    now = len(state.spec.steps) if state.phase == "promoted" else state.step_index
    here = "" if state.finished else "waits" if awaits_approval(state) else "now"
    return tuple(
        LiveStep(
            text=describe_step(state.spec, step),
            weight_percent=step.weight_percent,
            place="done" if number < now else here if number == now else "",
        )
        for number, step in enumerate(state.spec.steps)
    )


def _metrics(state: RolloutState, checks: Mapping[str, CheckResult]) -> tuple[LiveMetric, ...]:
    tolerated = {metric.name: metric.max_increase for metric in metrics_of(state.spec)}
    return tuple(
        _metric(one, tolerated[one.name], checks[f"{one.name}.harm"], checks.get(f"{one.name}.proof"))
        for one in figures_of(state)
    )


def _metric(figures: Figures, tolerated: float, harm: CheckResult, proof: CheckResult | None) -> LiveMetric:
    found = harm.details
    stable_trials = int(found.get("baseline_sample_size") or 0)
    seen = bool(harm.sample_size and stable_trials)
    kind = "e_value" if "e_value" in found else "failures" if "bound" in found else "shift"
    return LiveMetric(
        name=figures.name,
        what=figures.what,
        failures=int(found.get("failures") or 0),
        trials=harm.sample_size or 0,
        stable_failures=int(found.get("baseline_failures") or 0),
        stable_trials=stable_trials,
        increase=found.get("increase") if seen else None,
        low=found.get("increase_low") if seen else None,
        high=found.get("increase_high") if seen else None,
        tolerated=tolerated,
        harm_kind=kind,
        harm_value=harm.value,
        harm_threshold=harm.threshold,
        harm_verdict=harm.verdict,
        harm_missing=found.get("requests_missing"),
        proof_bound=proof.high if proof else None,
        proof_verdict=proof.verdict if proof else None,
        proof_missing=proof.details.get("requests_missing") if proof else None,
        figures=figures,
    )
