"""The approval of a release: who may not give it, how many it takes, until when, and which evidence it is about.

A question is about one newest piece of evidence. Answers come one after the other; each is a step from one standing to
the next. Nothing but a step makes a release approved: by as many different people as the quorum wants, none of them the
author, all of them known by name, before the end, each of them naming the very evidence that was asked about, and while
that is still the newest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.concerning import is_release_approval, named_digest
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = [
    "Author",
    "Question",
    "ReleaseAnswer",
    "Standing",
    "approval_check",
    "check_quorum",
    "conclusion",
    "earlier_question",
    "notes",
    "read_standing",
    "same_person",
    "step",
]

State = Literal["open", "approved", "rejected", "expired", "void"]

_SHORTEST = 12
#: What Airflow's auth managers call somebody who has not logged in; the author could be that, too.
_NOBODY = frozenset({"anonymous", "anonymoususer"})
_MAIL = re.compile(r"[^@\s]+@[^@\s]+")


@dataclass(frozen=True, kw_only=True)
class Author:
    """Whose work is released.

    :param names: every name, id and mail address by which Airflow may know them
    :param source: who says so: ``argument``, ``run`` (who triggered it) or ``commit``
    """

    names: tuple[str, ...]
    source: Literal["argument", "run", "commit"]

    def __post_init__(self) -> None:
        """Refuse an author that nobody could be compared with."""
        if not self.names or not all(name.strip() for name in self.names):
            raise SpecificationError("author", list(self.names), "a name, or a list of names of the same person")

    @property
    def words(self) -> str:
        """Who it is and who says so, for a person."""
        said = {
            "argument": "as the task's argument says",
            "run": "who triggered this run",
            "commit": "who wrote the commit",
        }
        return f"{self.names[0]}, {said[self.source]}"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What people are asked.

    :param model_name: the model
    :param model_digest: digest of the files that are to be released
    :param version: number of the registered version, None if it has none yet
    :param evidence_digest: digest of the newest evidence that the release rests on
    :param author: whose approval does not count
    :param quorum: how many different people must approve
    :param asked_at: seconds since the epoch
    :param expires_at: seconds since the epoch; an answer after that is none, and an approval is of no use after that
    """

    model_name: str
    model_digest: str
    evidence_digest: str
    author: Author
    quorum: int
    asked_at: float
    expires_at: float
    version: str | None = None

    def __post_init__(self) -> None:
        """Refuse a question that nobody has to answer, or that is over before it was asked."""
        if self.quorum < 1:
            raise SpecificationError("quorum", self.quorum, "a whole number above 0")
        if not self.expires_at > self.asked_at:
            raise SpecificationError("expires_seconds", self.expires_at - self.asked_at, "a number above 0")


@dataclass(frozen=True, kw_only=True)
class ReleaseAnswer:
    """What a person answered.

    :param approved: whether they want the release
    :param by_id: who answered, as Airflow's auth manager knows them
    :param by_name: their name
    :param at: when, in seconds since the epoch
    :param comment: what they wrote
    :param evidence: which evidence they say it is about: its digest, or at least 12 digits of it
    """

    approved: bool
    by_id: str
    by_name: str
    at: float
    comment: str = ""
    evidence: str = ""

    @property
    def who(self) -> str:
        """Who answered, for a person."""
        return self.by_id if self.by_name in ("", self.by_id) else f"{self.by_name} (id {self.by_id})"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How it stands with a question.

    :param state: ``open``, or how it ended
    :param approvers: the answers that count, each by another person
    :param reason: one sentence: what the last answer did
    """

    question: Question
    state: State = "open"
    approvers: tuple[ReleaseAnswer, ...] = ()
    reason: str = "asked"

    @property
    def missing(self) -> int:
        """How many more people must approve."""
        return self.question.quorum - len(self.approvers)


def step(standing: Standing, answer: ReleaseAnswer | None, *, newest: str | None) -> Standing:
    """Return how it stands after an answer.

    :param answer: None if nobody answered in time
    :param newest: digest of the newest evidence that the release rests on now, None if that cannot be read any more
    :raises ContractError: if the question was closed before
    """
    asked = standing.question
    if standing.state != "open":
        raise ContractError(f"the question was closed before: {standing.state}; {standing.reason}")
    if answer is None:
        had = f"{len(standing.approvers)} of {asked.quorum} approvals were given" if standing.approvers else "none came"
        return replace(standing, state="expired", reason=f"the time for {_counted(asked.quorum)} is over; {had}")
    if answer.at >= asked.expires_at:
        return replace(standing, state="expired", reason=f"the answer of {answer.who} came when the time was over")
    said = f"; comment: {answer.comment}" if answer.comment else ""
    if not answer.approved:
        return replace(standing, state="rejected", reason=f"rejected by {answer.who}{said}")
    if newest != asked.evidence_digest:
        reason = (
            f"the answer of {answer.who} is void: the newest evidence was {asked.evidence_digest} when the question "
            f"was asked and is {newest or 'not readable'} now"
        )
        return replace(standing, state="void", reason=reason)
    refusal = _refusal(standing, answer)
    if refusal:
        return replace(standing, reason=f"the approval of {answer.who} does not count: {refusal}{said}")
    approvers = (*standing.approvers, answer)
    reason = f"approved by {answer.who}, {len(approvers)} of {asked.quorum}{said}"
    return replace(
        standing, state="approved" if len(approvers) >= asked.quorum else "open", approvers=approvers, reason=reason
    )


def same_person(names: Iterable[str], others: Iterable[str]) -> bool:
    """Whether two people may be one: a name in common, in large or small letters, or the part of a mail before the @.

    Two people of the same name at two firms are taken for one; that costs an approval and gives none away.
    """
    return bool(_known_as(names) & _known_as(others))


def check_quorum(quorum: Any, assigned_users: Sequence[Mapping[str, str]], author: Author) -> int:
    """Return how many people must approve.

    :raises SpecificationError: if it is no number of people, or more than the assigned people who may approve
    """
    if isinstance(quorum, str) and quorum.isdecimal():
        quorum = int(quorum)  # rendered from a template
    if not isinstance(quorum, int) or isinstance(quorum, bool) or quorum < 1:
        raise SpecificationError("quorum", quorum, "a whole number above 0")
    if assigned_users:
        may = {user["id"] for user in assigned_users if not same_person((user["id"], user["name"]), author.names)}
        if len(may) < quorum:
            accepted = f"at most {len(may)}: so many of assigned_users are not the author ({author.words})"
            raise SpecificationError("quorum", quorum, accepted)
    return quorum


def conclusion(standing: Standing, judged: Verdict) -> CheckResult:
    """Return the judgement that stands.

    :param judged: the verdict of the evidence that the release rests on
    """
    verdict = {
        "open": Verdict.INCONCLUSIVE,
        "approved": Verdict.PASS if judged is Verdict.PASS else Verdict.WARN,
        "rejected": Verdict.FAIL,
        "expired": Verdict.FAIL,
        "void": Verdict.ERROR,
    }[standing.state]
    waits = f"; {_counted(standing.missing)} missing" if standing.state == "open" else ""
    return CheckResult(
        name="approval",
        verdict=verdict,
        reason=f"{standing.reason}{waits}",
        value=float(len(standing.approvers)),
        threshold=float(standing.question.quorum),
    )


def notes(standing: Standing, answer: ReleaseAnswer | None = None) -> dict[str, Any]:
    """Return what the evidence of a standing says.

    :param answer: the answer that led to it, None if there was none
    """
    asked = standing.question
    return {
        "state": standing.state,
        "reason": standing.reason,
        "approvers": encode(standing.approvers),
        "answer": None if answer is None else encode(answer),
        "author": list(asked.author.names),
        "author_source": asked.author.source,
        "quorum": asked.quorum,
        "asked_at": asked.asked_at,
        "expires_at": asked.expires_at,
        "evidence_digest": asked.evidence_digest,
        "version": asked.version,
    }


def read_standing(documents: Sequence[Evidence], question_digest: str) -> Standing:
    """Return how it stands with a question, by the record alone.

    :param documents: all documents of the model's chain, verified, oldest first
    :param question_digest: digest of the document with which it was asked
    :raises ContractError: if it was not asked, or the record is not about it
    """
    found = [
        one
        for one in documents
        if is_release_approval(one)
        and (named_digest(one, "question") == question_digest or digest(one) == question_digest)
    ]
    if not found or digest(found[0]) != question_digest:
        raise ContractError(f"the record of decisions holds no question {question_digest}; it was changed")
    return _standing(found[-1])


def earlier_question(documents: Sequence[Evidence], question: Question, origin: Sequence[Any]) -> str | None:
    """Return the digest of the question that the same task has asked already, None for none.

    Only one that is still open, or was approved, is found: a task that was killed between two answers goes on with it,
    and one that is cleared after a rejection asks anew.

    :param documents: all documents of the model's chain, verified, oldest first
    :param question: what would be asked now
    :param origin: ids of the DAG, the run and the task, and the map index
    """
    for one in reversed(documents):
        who = one.origin
        if not is_release_approval(one) or (who.dag_id, who.run_id, who.task_id, who.map_index) != tuple(origin):
            continue
        found = _standing(one)
        same = replace(found.question, asked_at=question.asked_at, expires_at=question.expires_at) == question
        if found.state in ("open", "approved") and same and question.asked_at < found.question.expires_at:
            return named_digest(one, "question") or digest(one)
        return None
    return None


def approval_check(evidence: Evidence, model_digest: str, version: str | None, *, now: float) -> CheckResult:
    """Check that people have approved the release of these files, and that it holds.

    :param evidence: what ``ApproveReleaseOperator`` recorded last
    :param model_digest: digest of the files that are to be released
    :param version: number of the version that is to be released
    :param now: seconds since the epoch
    :raises ContractError: if it is about something else, was not given, or is over
    """
    if not is_release_approval(evidence):
        raise ContractError("approval: its evidence is not that of ApproveReleaseOperator")
    found = _standing(evidence)
    asked = found.question
    if asked.model_digest != model_digest:
        raise ContractError(f"approval: it is about the model {asked.model_digest}, but {model_digest} is released")
    if asked.version is not None and version is not None and asked.version != version:
        raise ContractError(f"approval: it is about version {asked.version}, but version {version} is released")
    if found.state != "approved" or not evidence.verdict.promotes:
        raise ContractError(f"approval: the release was not approved: {found.reason}")
    if now >= asked.expires_at:
        raise ContractError("approval: its time is over; ask again")
    return CheckResult(name="approval", verdict=evidence.verdict, reason=found.reason)


def _standing(document: Evidence) -> Standing:
    said = document.notes
    where = "approval"
    try:
        question = Question(
            model_name=document.subject,
            model_digest=str(named_digest(document, "candidate")),
            version=said.get("version"),
            evidence_digest=str(said["evidence_digest"]),
            author=decode(Author, {"names": said["author"], "source": said["author_source"]}, where=where),
            quorum=said["quorum"],
            asked_at=said["asked_at"],
            expires_at=said["expires_at"],
        )
        approvers = tuple(decode(ReleaseAnswer, one, where=where) for one in said["approvers"])
        return Standing(question=question, state=said["state"], approvers=approvers, reason=str(said["reason"]))
    except KeyError as error:
        raise ContractError(f"the evidence of an approval does not say its {error}") from error


def _refusal(standing: Standing, answer: ReleaseAnswer) -> str | None:
    asked, known = standing.question, (answer.by_id, answer.by_name)
    if not _names(answer.evidence, asked.evidence_digest):
        named = f"it names {answer.evidence!r}" if answer.evidence else "it names no evidence"
        return f"{named}, and the newest evidence is {asked.evidence_digest}"
    if _exact(known) & _NOBODY:
        return "Airflow does not know who they are, so they may be the author; it takes people who log in"
    if same_person(known, asked.author.names):
        return f"they are the author ({asked.author.words})"
    if any(_exact(known) & _exact((one.by_id, one.by_name)) for one in standing.approvers):
        return "they have approved before, and another person has to"
    return None


def _names(given: str, promised: str) -> bool:
    digits = given.strip().lower().removeprefix("sha256:").rstrip("…")
    return len(digits) >= _SHORTEST and promised.removeprefix("sha256:").startswith(digits)


def _exact(names: Iterable[str]) -> set[str]:
    return {" ".join(name.split()).casefold() for name in names if name.strip()}


def _known_as(names: Iterable[str]) -> set[str]:
    exact = _exact(names)
    return exact | {name.partition("@")[0] for name in exact if _MAIL.fullmatch(name)}


def _counted(number: int) -> str:
    return "one approval" if number == 1 else f"{number} approvals"
