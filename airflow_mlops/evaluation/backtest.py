"""What a changed policy would have decided about candidates that were judged before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import GatePolicy
from airflow_mlops.evaluation.report import EvaluationReport
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.verdict import CheckResult, Verdict, combine

__all__ = ["PastGate", "Replay", "replay"]


@dataclass(frozen=True, kw_only=True)
class PastGate:
    """A decision of the gate, and the evaluation that it rested on.

    :param evidence: the decision
    :param report: the evaluation; None if it cannot be read any more
    :param unreadable: why it cannot
    :param uses: how many candidates its data had decided about by then, this one included; None if that is not known
    """

    evidence: Evidence
    report: EvaluationReport | None
    uses: int | None = None
    unreadable: str = ""


@dataclass(frozen=True, kw_only=True)
class Replay:
    """A past decision beside the one that the policy would take.

    :param model_name: the model
    :param decided_at: when it was decided, in seconds since the epoch
    :param origin: the task that decided
    :param was: what it decided
    :param would_be: what the policy would decide; None if that cannot be found out
    :param why: the judgements that make the difference; why it cannot be replayed, if it cannot
    """

    model_name: str
    decided_at: float
    origin: Origin
    was: Verdict
    would_be: Verdict | None
    why: tuple[str, ...] = ()

    @property
    def flips(self) -> bool:
        """Whether a candidate that went on would be stopped, or the other way round."""
        return self.would_be is not None and self.would_be.promotes != self.was.promotes

    @property
    def changes(self) -> bool:
        """Whether the verdict would be another one."""
        return self.would_be not in (None, self.was)


def replay(past: PastGate, policy: GatePolicy) -> Replay:
    """Judge once more, by another policy."""
    evidence = past.evidence
    checks = None if past.report is None else judge(past.report, policy, uses=past.uses)
    would_be = None if checks is None else combine(checks)
    if checks is None or would_be is None:
        why: tuple[str, ...] = (past.unreadable,)
    else:
        why = _why(evidence, checks, would_be)
    return Replay(
        model_name=evidence.subject,
        decided_at=evidence.decided_at,
        origin=evidence.origin,
        was=evidence.verdict,
        would_be=would_be,
        why=why,
    )


def _why(evidence: Evidence, checks: Sequence[CheckResult], would_be: Verdict) -> tuple[str, ...]:
    """Name the judgements behind the worse one of the two verdicts, and what has become of them."""
    if would_be is evidence.verdict:
        return ()
    if would_be.severity > evidence.verdict.severity:
        before = {check.name: check.verdict for check in evidence.checks}
        worse = [check for check in checks if check.verdict.severity > evidence.verdict.severity]
        return tuple(
            f"{check.name}: {_was(before.get(check.name))}{check.verdict.value}: {check.reason}" for check in worse
        )
    now = {check.name: check for check in checks}
    better = [check for check in evidence.checks if check.verdict.severity > would_be.severity]
    return tuple(_became(check, now.get(check.name)) for check in better)


def _was(verdict: Verdict | None) -> str:
    return "newly asked, " if verdict is None else f"was {verdict.value}, would be "


def _became(old: CheckResult, new: CheckResult | None) -> str:
    if new is None:
        return f"{old.name}: was {old.verdict.value}, is no longer asked"
    return f"{old.name}: was {old.verdict.value}, would be {new.verdict.value}: {new.reason}"
