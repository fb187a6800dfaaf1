"""What people are shown who are asked for their approval: Airflow's form, and the task's page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.governance.approval import Question, Standing
from airflow_mlops.governance.markdown import code, escaped, table
from airflow_mlops.page import render_page
from airflow_mlops.verdict import CheckResult

__all__ = ["form", "render_html", "summary_of"]

_HEAD = ("decision", "verdict", "what was said", "evidence")
_LONGEST = 300


def form(
    question: Question, found: Sequence[Evidence], checks: Sequence[str], *, report_address: str, until: str
) -> str:
    """Return the question in Markdown.

    :param found: the evidence that the release rests on, oldest first
    :param checks: lines of a table with the gate's judgements
    :param report_address: where the task's report is
    :param until: when the question is answered with a rejection
    """
    what = f"Version {code(question.version)}" if question.version else "A candidate"
    many = "One person" if question.quorum == 1 else f"{question.quorum} different people"
    head = (
        f"{what} of {escaped(question.model_name)} is to be released. {many} other than the author "
        f"({escaped(question.author.words)}) must approve; one rejection is enough to stop it."
    )
    tail = (
        f"Without enough approvals until {until} the release is rejected. An approval holds for the evidence that "
        "it names in the field below, and is void if newer evidence has come by then. If you are asked again, this "
        f"text stays as it first was: [the task's report]({report_address}) shows how it stands."
    )
    lines = [
        head,
        "",
        *table(_HEAD, (_row(one) for one in found)),
        *(["", "What the gate found:", "", *checks] if checks else []),
        "",
        f"- model: `{question.model_digest}`",
        f"- evidence: `{question.evidence_digest}`",
        "",
        tail,
    ]
    return "\n".join(lines)


def render_html(
    standing: Standing,
    found: Sequence[Evidence],
    check: CheckResult,
    *,
    moment: Callable[[float], str],
    asks: Mapping[str, Any] | None,
) -> str:
    """Render how it stands, for people.

    :param found: the evidence that the release rests on, oldest first
    :param check: the judgement that stands
    :param moment: seconds since the epoch to text
    :param asks: ``until`` and ``assigned_users`` while people are asked
    """
    question = standing.question
    return render_page(
        "governance/templates/approval.html",
        question=question,
        standing=standing,
        check=check,
        until=moment(question.expires_at),
        asked_at=moment(question.asked_at),
        users=", ".join(str(user["name"]) for user in (asks or {}).get("assigned_users", ())),
        approvers=[(one.who, moment(one.at), one.comment) for one in standing.approvers],
        found=[
            {
                "decision": one.decision,
                "verdict": one.verdict.value,
                "said": summary_of(one),
                "digest": digest(one),
                "at": moment(one.decided_at),
            }
            for one in found
        ],
    )


def summary_of(document: Evidence) -> str:
    """Return a decision in one line: its own reason, or what its worst checks say."""
    if document.notes.get("reason"):
        return _short(str(document.notes["reason"]))
    against = [one.reason for one in document.checks if not one.verdict.promotes]
    if against:
        return _short("; ".join(against))
    warned = [one.reason for one in document.checks if one.verdict.value == "warn"]
    passed = len(document.checks) - len(warned)
    counted = f"{passed} check{'' if passed == 1 else 's'} passed"
    return _short("; ".join([counted] * bool(passed) + warned)) or "no checks"


def _row(document: Evidence) -> tuple[str, ...]:
    return (document.decision, document.verdict.value, escaped(summary_of(document)), code(digest(document)[7:19]))


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
