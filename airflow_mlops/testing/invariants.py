"""Which promises of a rollout a recorded trace breaks.

Eleven invariants hold through every crash: 1 a canary that nobody judges keeps its traffic for a bounded time; 2 one
writer at a time, tokens only grow; 3 weights follow from the stored state, never from the weights before; 4 what is
done was stored before; 5 a target is ready before it gets traffic and has none when it goes; 6 nothing goes forward
without evidence; 7 an abort is for good; 8 a rollback comes into effect, with or without measurements; 9 promoting
leaves the candidate's server as it is; 10 at the end one target has everything and the lease is free; 11 a change by
another hand is not fought. Number 0 stands for requests that failed without any server being at fault.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise

from airflow_mlops.rollout.state import HistoryEntry, RolloutState, intended_weights
from airflow_mlops.testing.traffic_trace import CONTROL, GATEWAY, Sample, Trace

__all__ = ["Bounds", "Violation", "violations"]


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long things may take.

    :param lease_seconds: how long a lease lives after a verdict
    :param watchdog_seconds: time between two looks of the watchdog
    :param propagation_seconds: from a write until every request follows it
    """

    lease_seconds: float
    watchdog_seconds: float
    propagation_seconds: float = 2.0

    @property
    def max_unjudged_seconds(self) -> float:
        """The longest time that a canary nobody judges may have traffic."""
        return self.lease_seconds + self.watchdog_seconds + self.propagation_seconds


@dataclass(frozen=True, kw_only=True)
class Violation:
    """A broken promise.

    :param invariant: its number, see the module
    :param at: seconds since the epoch
    :param what: one sentence
    """

    invariant: int
    at: float
    what: str


Found = Iterator[tuple[float, str]]


def violations(trace: Trace, bounds: Bounds, *, ended: bool = True) -> list[Violation]:
    """Return what a trace breaks, by invariant and time; the same thing is said once.

    :param ended: whether the trace shows a rollout to its end; one that does not cannot break what holds at the end
    """
    found: dict[tuple[int, str], Violation] = {}
    for number, check in _CHECKS.items():
        for at, what in check(trace, bounds):
            found.setdefault((number, what), Violation(invariant=number, at=at, what=what))
    if ended:
        for at, what in _terminal(trace):
            found.setdefault((10, what), Violation(invariant=10, at=at, what=what))
    return sorted(found.values(), key=lambda violation: (violation.invariant, violation.at))


def _identity(state: RolloutState | None) -> tuple[str, float] | None:
    return None if state is None else (state.candidate, state.started_at)


def _is_judged(before: Sample | None, sample: Sample) -> bool:
    """Whether a verdict was recorded since the sample before; a lease that was merely taken up again is none."""
    state = sample.state
    if state is None or state.unknown_since is not None:
        return False
    if before is None or before.state is None or _identity(before.state) != _identity(state):
        return True
    return state.sequence > before.state.sequence


def _intervals(trace: Trace) -> Iterator[tuple[Sample, float, float]]:
    """Yield each sample with its end and when something was known about its canary for the last time."""
    before: Sample | None = None
    judged_at = 0.0
    for number, sample in enumerate(trace.samples):
        if _is_judged(before, sample):
            judged_at = sample.at
        elif sample.state is not None:
            # The beginning of a rollout counts as a verdict; it may have passed between two samples.
            judged_at = max(judged_at, sample.state.started_at)
        end = trace.samples[number + 1].at if number + 1 < len(trace.samples) else trace.until
        yield sample, end, judged_at
        before = sample


def _exposure(trace: Trace, bounds: Bounds) -> Found:
    longest: dict[tuple[str, float] | None, tuple[float, float]] = {}
    for sample, end, judged_at in _intervals(trace):
        state = sample.state
        if state is None or state.phase == "promoted":
            continue
        answered = (a.at for a in trace.answers if a.target == state.candidate and sample.at <= a.at < end)
        seen = end if sample.weight(state.candidate) > 0 else max(answered, default=judged_at)
        unjudged = seen - judged_at - trace.broken(CONTROL, judged_at, seen)
        longest[_identity(state)] = max(longest.get(_identity(state), (0.0, 0.0)), (unjudged, seen))
    for identity, (unjudged, seen) in longest.items():
        if unjudged > bounds.max_unjudged_seconds and identity is not None:
            what = f"{identity[0]} had traffic {unjudged:.1f} s after the last verdict"
            yield seen, f"{what}, {bounds.max_unjudged_seconds:g} s are allowed"


def _one_writer(trace: Trace, bounds: Bounds) -> Found:
    for before, after in pairwise(trace.samples):
        if before.lease is not None and after.lease is not None:
            if after.lease.token < before.lease.token:
                yield after.at, f"the lease's token fell from {before.lease.token} to {after.lease.token}"
            same_token = after.lease.token == before.lease.token
            if same_token and after.lease.holder not in {"", before.lease.holder}:
                yield after.at, f"{before.lease.holder!r} and {after.lease.holder!r} held token {after.lease.token}"
        if before.token is None or after.token is None:
            continue
        if after.token < before.token:
            yield after.at, f"a write with token {after.token} came after one with {before.token}"
        known = trace.at(after.at - bounds.propagation_seconds)
        stale = known is not None and known.lease is not None and after.token < known.lease.token
        if stale and after.view.weights != before.view.weights:
            yield after.at, f"weights were written with token {after.token} after the lease had passed on"


def _level_triggered(trace: Trace, _: Bounds) -> Found:
    for before, sample in pairwise(trace.samples):
        state = sample.state
        if state is None or sample.view.weights == before.view.weights or sample.view.foreign_edits:
            continue
        shares = [step.weight_percent for step in state.spec.steps]
        named = [{state.candidate: 100}, {state.stable: 100}]
        named += [{state.candidate: share, state.stable: 100 - share} for share in shares]
        named += [{name: weight for name, weight in entry.weights.items() if weight} for entry in state.history]
        if dict(sample.view.weights) not in named:
            yield sample.at, f"the weights {dict(sample.view.weights)} are those of no step"


def _intent_first(trace: Trace, _: Bounds) -> Found:
    for before, sample in pairwise(trace.samples):
        state = sample.state
        if state is None or sample.weight(state.candidate) <= before.weight(state.candidate):
            continue
        decided = [entry.weights.get(state.candidate, 0) for entry in state.history]
        weight = sample.weight(state.candidate)
        if weight > max(decided, default=0) and not sample.view.foreign_edits:
            yield sample.at, f"{state.candidate} got {weight} % before that was stored"


def _capacity(trace: Trace, _: Bounds) -> Found:
    for before, sample in pairwise(trace.samples):
        for target, weight in sample.view.weights.items():
            if weight > 0 and before.weight(target) == 0:
                lacking = sample.servers is not None and target not in sample.servers
                if lacking or target not in sample.view.targets:
                    yield sample.at, f"{target} got traffic before it was ready"
        gone = before.view.targets.keys() - sample.view.targets.keys()
        if before.servers is not None and sample.servers is not None:
            gone |= before.servers.keys() - sample.servers.keys()
        for target in sorted(gone):
            broken = trace.broken(target, before.at - 1.0, sample.at + 1.0) > 0
            if before.weight(target) > 0 and not broken:
                yield sample.at, f"{target} was taken away while it had {before.weight(target)} %"


def _evidence(trace: Trace, bounds: Bounds) -> Found:
    seen: set[tuple[tuple[str, float] | None, int]] = set()
    for sample in trace.samples:
        state = sample.state
        if state is None:
            continue
        for number, (before, entry) in enumerate(pairwise(state.history)):
            if (_identity(state), number) in seen:
                continue
            seen.add((_identity(state), number))
            if entry.weights.get(state.candidate, 0) > before.weights.get(state.candidate, 0):
                yield from _cited(trace, bounds, state, before, entry, is_last=number + 2 == len(state.history))


def _cited(
    trace: Trace, bounds: Bounds, state: RolloutState, before: HistoryEntry, entry: HistoryEntry, *, is_last: bool
) -> Found:
    """Check one way up: a pass, with enough requests both by its own account and by that of those who asked."""
    if not entry.verdict.promotes:
        yield entry.at, f"{state.candidate} went forward on the verdict {entry.verdict.value!r}"
        return
    floor = state.spec.steps[before.step_index].min_requests
    if is_last and state.step_since is None:
        sizes = [check.sample_size or 0 for check in state.checks if check.name.endswith(".proof")]
        if min(sizes, default=0) < floor:
            yield entry.at, f"{state.candidate} went forward on {min(sizes, default=0)} requests of {floor}"
    if trace.answers and state.spec.steps[before.step_index].weight_percent:
        since = min(e.at for e in state.history if e.step_index == before.step_index)
        until = entry.at + bounds.propagation_seconds
        asked = sum(a.target == state.candidate and since <= a.at <= until for a in trace.answers)
        if asked < floor:
            yield entry.at, f"{state.candidate} went forward, but only {asked} of {floor} requests had reached it"


def _sticky_abort(trace: Trace, _: Bounds) -> Found:
    aborted: set[tuple[str, float] | None] = set()
    by_holder: set[tuple[str, str]] = set()
    for before, sample in pairwise((trace.samples[0], *trace.samples) if trace.samples else ()):
        state = sample.state
        if state is None:
            continue
        identity, holder = _identity(state), sample.lease.holder if sample.lease else ""
        if state.phase == "rolled_back":
            aborted.add(identity)
            if holder:
                by_holder.add((holder, state.candidate))
        elif identity in aborted:
            yield sample.at, f"the aborted rollout of {state.candidate} is {state.phase} again"
        elif state.phase == "progressing" and (holder, state.candidate) in by_holder:
            yield sample.at, f"{holder} began again with {state.candidate}, which it had rolled back"
        rose = sample.weight(state.candidate) > before.weight(state.candidate)
        was_aborted = before.state is not None and before.state.phase == "rolled_back"
        if rose and was_aborted and _identity(before.state) == identity:
            yield sample.at, f"{state.candidate} got {sample.weight(state.candidate)} % after its rollback"


def _rollback_done(trace: Trace, bounds: Bounds) -> Found:
    since: dict[tuple[str, float] | None, float] = {}
    for sample, end, _ in _intervals(trace):
        state = sample.state
        if state is None or state.phase != "rolled_back":
            continue
        decided = since.setdefault(_identity(state), sample.at)
        waited = end - decided - trace.broken(CONTROL, decided, end)
        back = dict(sample.view.weights) == intended_weights(state)
        if not back and waited > bounds.max_unjudged_seconds:
            yield end, f"the rollback of {state.candidate} was recorded, but not done in time"


def _promotion_keeps_servers(trace: Trace, _: Bounds) -> Found:
    before: dict[str, str] = {}
    for sample in trace.samples:
        state = sample.state
        if state is None or sample.servers is None:
            continue
        identity = sample.servers.get(state.candidate)
        if identity is None:
            continue
        anew = before.get(state.candidate, identity) != identity
        if anew and state.phase == "promoted" and not trace.broken(state.candidate, 0.0, sample.at):
            yield sample.at, f"the server of {state.candidate} was started anew by its promotion"
        before[state.candidate] = identity


def _foreign_edit(trace: Trace, bounds: Bounds) -> Found:
    since: float | None = None
    for before, sample in pairwise(trace.samples):
        if before.view.foreign_edits and since is None:
            since = before.at
        state = sample.state
        if since is None or state is None:
            continue
        forward = any(e.at > since + bounds.propagation_seconds and e.verdict.promotes for e in state.history)
        if before.view.foreign_edits and forward:
            yield sample.at, f"{state.candidate} went forward while another hand's change stood"
        written = sample.view.generation > before.view.generation and not sample.view.foreign_edits
        if before.view.foreign_edits and written and state.phase == "progressing":
            yield sample.at, "another hand's change was overwritten, and the rollout went on"
        if not sample.view.foreign_edits:
            since = None


def _terminal(trace: Trace) -> Found:
    last = trace.samples[-1] if trace.samples else None
    state = None if last is None else last.state
    if last is None or state is None:
        return
    if not state.finished:
        yield last.at, f"the rollout of {state.candidate} is {state.phase} at the end"
    elif dict(last.view.weights) != intended_weights(state) and not last.view.foreign_edits:
        yield last.at, f"the rollout is {state.phase}, but the weights are {dict(last.view.weights)}"
    if len([weight for weight in last.view.weights.values() if weight > 0]) != 1:
        yield last.at, f"no single target has all traffic: {dict(last.view.weights)}"
    if last.lease is not None and last.lease.holder:
        yield last.at, f"{last.lease.holder!r} still holds the lease"
    for name in ("mirror", "match", "sticky"):
        if getattr(last.view, name, None):
            yield last.at, f"the route still has a rule of kind {name!r}"


def _served(trace: Trace, bounds: Bounds) -> Found:
    for answer in trace.answers:
        if answer.status == 200 or (answer.target and 200 < answer.status <= 500):
            continue
        arms = {GATEWAY, answer.target} if answer.target else {fault.what for fault in trace.faults} - {CONTROL}
        until = answer.at + bounds.propagation_seconds
        if not any(trace.broken(arm, answer.at - bounds.propagation_seconds, until) for arm in arms):
            yield answer.at, f"a request got status {answer.status} of {answer.target or 'the router'}"


_CHECKS: dict[int, Callable[[Trace, Bounds], Found]] = {
    0: _served,
    1: _exposure,
    2: _one_writer,
    3: _level_triggered,
    4: _intent_first,
    5: _capacity,
    6: _evidence,
    7: _sticky_abort,
    8: _rollback_done,
    9: _promotion_keeps_servers,
    11: _foreign_edit,
}
