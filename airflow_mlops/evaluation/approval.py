"""When a person decides about a candidate, what they are shown, and what their answer makes of the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from airflow_mlops.evaluation.question import rounded
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import CheckResult, Verdict, combine

__all__ = ["APPROVE", "REJECT", "Answer", "ApprovalRule", "answer_check", "check_table", "form", "worst_first"]

#: What a person chooses between; without an answer it is the second.
APPROVE, REJECT = "Approve", "Reject"

_ROWS = 40
_ORDER = (Verdict.ERROR, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.WARN, Verdict.PASS)
_CONDITIONS = (
    "Without an answer until {until} the candidate is rejected. An approval holds for this evidence only: it is void "
    "if the evidence or the evaluation has changed by then."
)
_HEAD = ("check", "verdict", "found", "interval", "bound", "what would decide")


@dataclass(frozen=True, kw_only=True)
class ApprovalRule:
    """When a person is asked whether a candidate may go on. An error is never a question: nothing was shown by it.

    :param ask: ``inconclusive`` where too little was shown to decide; ``always`` also before a candidate goes on that
        has passed; ``never``
    :param allow_override: whether a person may let a candidate go on that has failed; they are asked about it then
    """

    ask: Literal["never", "inconclusive", "always"] = "inconclusive"
    allow_override: bool = False

    def __post_init__(self) -> None:
        """Refuse an override that nobody could be asked for."""
        if self.allow_override and self.ask == "never":
            raise SpecificationError("policy.approval.ask", self.ask, "'inconclusive' or 'always' with allow_override")

    def wants(self, checks: Sequence[CheckResult]) -> bool:
        """Whether a person is asked about a candidate that was judged like this.

        One failed check is enough for a candidate that has failed, however much is left open beside it.
        """
        verdict = combine(checks)
        if self.ask == "never" or verdict is Verdict.ERROR:
            return False
        if any(check.verdict is Verdict.FAIL for check in checks):
            return self.allow_override
        return verdict is Verdict.INCONCLUSIVE or self.ask == "always"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person answered, or that nobody did.

    :param approved: whether the candidate may go on
    :param by_id: who answered, as Airflow's auth manager knows them; None if the deadline passed
    :param by_name: their name
    :param at: when, in ISO 8601
    :param comment: what they wrote
    """

    approved: bool
    by_id: str | None
    by_name: str | None
    at: str
    comment: str = ""

    @property
    def who(self) -> str:
        """The person in words."""
        if self.by_id is None:
            return "nobody"
        return f"{self.by_name} (id {self.by_id})" if self.by_name and self.by_name != self.by_id else self.by_id


def answer_check(judged: Verdict, answer: Answer) -> CheckResult:
    """Turn an answer into the judgement that stands: who approves takes the reservation upon them.

    :param judged: the gate's own verdict
    """
    words = f"; comment: {answer.comment}" if answer.comment else ""
    on = f"a verdict of {judged.value}"
    if answer.approved:
        verdict = Verdict.PASS if judged is Verdict.PASS else Verdict.WARN
        reason = f"approved by {answer.who} at {answer.at}, on {on}{words}"
    elif answer.by_id is None:
        verdict, reason = Verdict.FAIL, f"nobody answered in time, so it is rejected at {answer.at}, on {on}"
    else:
        verdict, reason = Verdict.FAIL, f"rejected by {answer.who} at {answer.at}, on {on}{words}"
    details = {"by_id": answer.by_id, "by_name": answer.by_name, "at": answer.at, "comment": answer.comment}
    return CheckResult(name="approval", verdict=verdict, reason=reason, details=details)


def form(
    checks: Sequence[CheckResult],
    verdict: Verdict,
    *,
    references: Mapping[str, str],
    evidence_digest: str,
    report_address: str,
    until: str,
) -> str:
    """Return the question in Markdown, with the evidence as a table, the worst first.

    :param references: what the decision is about, name to text
    :param evidence_digest: digest of the evidence that is approved
    :param report_address: where the gate's page is
    :param until: when the question is answered with a rejection
    """
    lines = [
        f"The gate's own verdict is **{verdict.value}**. [The report]({report_address}) shows the numbers.",
        "",
        *check_table(checks),
    ]
    lines += ["", *(f"- {name}: `{text}`" for name, text in references.items())]
    lines += [f"- evidence: `{evidence_digest}`", "", _CONDITIONS.format(until=until)]
    return "\n".join(lines)


def check_table(checks: Sequence[CheckResult]) -> list[str]:
    """Return the lines of a table of judgements in Markdown, the worst first."""
    order = worst_first(checks)
    lines = [
        f"| {' | '.join(_HEAD)} |",
        f"|{' --- |' * len(_HEAD)}",
        *(f"| {' | '.join(map(_cell, _row(check)))} |" for check in order[:_ROWS]),
    ]
    if len(order) > _ROWS:
        lines += ["", f"{len(order) - _ROWS:,} more checks, none of them worse, are in the report."]
    return lines


def worst_first(checks: Sequence[CheckResult]) -> list[CheckResult]:
    """Return the checks as people read them: what speaks against the candidate, what is left open, what is good."""
    return sorted(checks, key=lambda check: _ORDER.index(check.verdict))


def _row(check: CheckResult) -> tuple[str, ...]:
    return (
        check.name,
        f"**{check.verdict.value}**" if not check.verdict.promotes else check.verdict.value,
        _number(check.value),
        "" if check.low is None or check.high is None else f"{_number(check.low)} to {_number(check.high)}",
        _number(check.threshold),
        _would_decide(check),
    )


def _would_decide(check: CheckResult) -> str:
    if check.verdict is Verdict.PASS:
        return str(check.details.get("remark", ""))
    more = {name.removeprefix("more_"): count for name, count in check.details.items() if name.startswith("more_")}
    if check.verdict is Verdict.INCONCLUSIVE and more:
        if None in more.values():
            return "no number of rows: too close to the bound"
        return ", some ".join(f"{rounded(count):,} more {name}" for name, count in more.items())
    return check.reason


def _number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1 else f"{value:.4f}"


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
