"""Who approves a release: never its author, never fewer than the quorum, never late, never about other evidence."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, Origin, chain, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.approval import (
    Author,
    Question,
    ReleaseAnswer,
    Standing,
    approval_check,
    check_quorum,
    conclusion,
    earlier_question,
    notes,
    read_standing,
    same_person,
    step,
)
from airflow_mlops.verdict import Verdict

MODEL = "sha256:" + "a" * 64
NEWEST = "sha256:" + "b" * 64
OTHER = "sha256:" + "c" * 64
WHO = ("release", "run_1", "approve", -1)


def question(**changes) -> Question:
    given = {
        "model_name": "flights",
        "model_digest": MODEL,
        "version": "3",
        "evidence_digest": NEWEST,
        "author": Author(names=("ada", "ada@example.com"), source="argument"),
        "quorum": 2,
        "asked_at": 100.0,
        "expires_at": 200.0,
    }
    return Question(**{**given, **changes})


def answer(by: str, at: float = 150.0, **changes) -> ReleaseAnswer:
    given = {"approved": True, "by_id": by, "by_name": by.title(), "at": at, "evidence": NEWEST}
    return ReleaseAnswer(**{**given, **changes})


def after(*answers: ReleaseAnswer | None, newest: str | None = NEWEST, **changes) -> Standing:
    standing = Standing(question=question(**changes))
    for one in answers:
        standing = step(standing, one, newest=newest)
    return standing


def test_as_many_different_people_as_the_quorum_wants_approve():
    first = after(answer("grace"))
    assert (first.state, first.missing) == ("open", 1)
    assert conclusion(first, Verdict.PASS).verdict is Verdict.INCONCLUSIVE
    both = after(answer("grace"), answer("edsger", comment="seen by the board"))
    assert (both.state, both.missing) == ("approved", 0)
    assert both.reason == "approved by Edsger (id edsger), 2 of 2; comment: seen by the board"
    assert conclusion(both, Verdict.PASS).verdict is Verdict.PASS
    assert conclusion(both, Verdict.WARN).verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("refused", "why"),
    [
        (answer("ADA"), "they are the author (ada, as the task's argument says)"),
        (answer("7", by_name="ada@elsewhere.org"), "they are the author"),
        (answer("Anonymous", by_name="Anonymous"), "Airflow does not know who they are"),
        (answer("AnonymousUser"), "Airflow does not know who they are"),
        (answer("Grace"), "they have approved before, and another person has to"),
        (answer("edsger", evidence=OTHER), f"it names '{OTHER}', and the newest evidence is {NEWEST}"),
        (answer("edsger", evidence=""), "it names no evidence"),
        (answer("edsger", evidence="b" * 11), "it names 'bbbbbbbbbbb'"),
    ],
)
def test_an_approval_that_does_not_count_leaves_the_question_open(refused, why):
    standing = after(answer("grace"), refused)
    assert (standing.state, len(standing.approvers)) == ("open", 1)
    assert f"does not count: {why}" in standing.reason


@pytest.mark.parametrize("named", [NEWEST, NEWEST.upper(), " " + NEWEST[7:19] + "… ", NEWEST[7:]])
def test_evidence_may_be_named_by_some_of_its_digits(named):
    assert after(answer("grace", evidence=named), quorum=1).state == "approved"


def test_one_rejection_ends_it_also_the_authors():
    assert after(answer("grace"), answer("ada", approved=False)).state == "rejected"
    assert after(answer("grace", approved=False), newest=OTHER).state == "rejected"
    with pytest.raises(ContractError, match="closed before: rejected; rejected by Grace"):
        after(answer("grace", approved=False), answer("edsger"))


def test_nothing_counts_when_the_time_is_over():
    assert after(answer("grace"), None).state == "expired"
    assert after(answer("grace", at=200.0), quorum=1).state == "expired"
    assert after(answer("grace", at=199.9), quorum=1).state == "approved"
    assert conclusion(after(None), Verdict.PASS).verdict is Verdict.FAIL


@pytest.mark.parametrize("newest", [OTHER, None])
def test_an_approval_is_void_when_there_is_newer_evidence(newest):
    standing = after(answer("grace"), newest=newest, quorum=1)
    assert standing.state == "void"
    assert f"was {NEWEST} when the question was asked and is {newest or 'not readable'} now" in standing.reason
    assert conclusion(standing, Verdict.PASS).verdict is Verdict.ERROR


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"quorum": 0}, "quorum: 0 is not accepted; expected a whole number above 0"),
        ({"expires_at": 100.0}, "expires_seconds: 0.0 is not accepted; expected a number above 0"),
        ({"author": {"names": [" "], "source": "argument"}}, "author: "),
    ],
)
def test_a_question_that_is_none_is_refused(changes, message):
    with pytest.raises(SpecificationError, match=message):
        decode(Question, {**encode(question()), **changes})


def test_a_quorum_must_be_reachable():
    author = question().author
    users = [{"id": "ada", "name": "Ada"}, {"id": "grace", "name": "Grace"}]
    assert check_quorum(5, [], author) == 5
    assert check_quorum("1", users, author) == 1
    with pytest.raises(SpecificationError, match="at most 1: so many of assigned_users are not the author"):
        check_quorum(2, users, author)
    for wrong in (0, True, 1.5, "many"):
        with pytest.raises(SpecificationError, match="quorum"):
            check_quorum(wrong, [], author)


def test_people_are_the_same_under_any_of_their_names():
    assert same_person(["Ada  Lovelace"], ["ada lovelace", "x"])
    assert same_person(["ada@example.com"], ["ADA"])
    assert not same_person(["ada"], ["adam"])
    assert not same_person([""], [""])


class TestOnRecord:
    def record(self, *standings: Standing, state_of: int = 0) -> list[Evidence]:
        """The chain that these standings leave, one after the other, after a gate's evidence."""
        origin = Origin(dag_id=WHO[0], run_id=WHO[1], task_id=WHO[2], try_number=1)
        gate = Evidence(
            decision="gate", subject="flights", verdict=Verdict.PASS, checks=(), origin=origin, decided_at=1.0
        )
        documents, asked = [gate], None
        for standing in standings:
            check = conclusion(standing, Verdict.PASS)
            references = {"candidate": {"digest": standing.question.model_digest}}
            if asked:
                references["question"] = {"digest": asked}
            document = Evidence(
                decision="approval",
                subject="flights",
                verdict=check.verdict,
                checks=(check,),
                origin=origin,
                decided_at=2.0,
                references=references,
                notes=notes(standing),
            )
            documents.append(decode(Evidence, encode(chain(document, documents))))
            asked = asked or digest(documents[-1])
        return documents

    def test_how_it_stands_is_read_back(self):
        standings = (after(), after(answer("grace")), after(answer("grace"), answer("edsger")))
        documents = self.record(*standings)
        asked = digest(documents[1])
        assert read_standing(documents, asked) == standings[2]
        assert read_standing(documents[:3], asked) == standings[1]
        assert read_standing(documents[:2], asked) == standings[0]
        with pytest.raises(ContractError, match="holds no question"):
            read_standing(documents, digest(documents[0]))

    def test_a_task_goes_on_with_its_own_open_question(self):
        documents = self.record(after(), after(answer("grace")))
        asked = digest(documents[1])
        assert earlier_question(documents, question(asked_at=120.0, expires_at=220.0), WHO) == asked
        assert earlier_question(documents, question(), ("release", "run_2", "approve", -1)) is None
        assert earlier_question(documents, question(asked_at=200.0, expires_at=300.0), WHO) is None
        assert earlier_question(documents, question(evidence_digest=OTHER), WHO) is None
        assert earlier_question(documents, question(quorum=1), WHO) is None
        assert earlier_question(self.record(after(), after(answer("g", approved=False))), question(), WHO) is None

    def test_a_release_is_let_through_by_an_approval_that_holds(self):
        *_, approved = self.record(after(), after(answer("grace"), answer("edsger")))
        assert approval_check(approved, MODEL, "3", now=199.0).verdict is Verdict.PASS
        assert approval_check(approved, MODEL, None, now=199.0).verdict is Verdict.PASS
        for given, message in (
            ((OTHER, "3", 199.0), f"about the model {MODEL}, but {OTHER}"),
            ((MODEL, "4", 199.0), "about version 3, but version 4"),
            ((MODEL, "3", 200.0), "its time is over"),
        ):
            with pytest.raises(ContractError, match=message):
                approval_check(approved, given[0], given[1], now=given[2])

    def test_and_by_nothing_else(self):
        gate, asked, half = self.record(after(), after(answer("grace")))
        with pytest.raises(ContractError, match="not that of ApproveReleaseOperator"):
            approval_check(gate, MODEL, "3", now=150.0)
        for document in (asked, half):
            with pytest.raises(ContractError, match="was not approved"):
                approval_check(document, MODEL, "3", now=150.0)
        with pytest.raises(ContractError, match="does not say its 'author'"):
            approval_check(replace(half, notes={"quorum": 1, "evidence_digest": NEWEST}), MODEL, "3", now=150.0)
