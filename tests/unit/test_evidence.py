from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evidence import Evidence, Origin, chain, digest, verify_chain
from airflow_mlops.exceptions import ContractError
from airflow_mlops.verdict import CheckResult, Verdict


def _document(number: int = 0) -> Evidence:
    return Evidence(
        decision="gate",
        subject="flights",
        verdict=Verdict.PASS,
        checks=(CheckResult(name="rows", verdict=Verdict.PASS, reason=f"{number} rows", sample_size=number),),
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=float(number),
    )


@pytest.fixture
def documents() -> tuple[Evidence, ...]:
    made: list[Evidence] = []
    for number in range(4):
        made.append(chain(_document(number), made))
    return tuple(made)


def test_a_chain_that_nobody_touched_verifies(documents):
    assert verify_chain(documents) == documents
    assert verify_chain(()) == ()
    assert [one.previous for one in documents] == [None, *(digest(one) for one in documents[:-1])]


def test_a_document_keeps_its_digest_through_json(documents):
    assert all(digest(decode(Evidence, encode(one))) == digest(one) for one in documents)


@pytest.mark.parametrize(
    "damage",
    [
        lambda one: one[1:],
        lambda one: (*one[:1], *one[2:]),
        lambda one: (one[1], one[0], *one[2:]),
        lambda one: (one[0], replace(one[1], verdict=Verdict.FAIL), *one[2:]),
        lambda one: (*one, one[-1]),
        lambda one: (one[0], _document(9), *one[1:]),
    ],
    ids=["first removed", "middle removed", "swapped", "changed", "repeated", "inserted"],
)
def test_tampering_breaks_the_chain(documents, damage):
    with pytest.raises(ContractError, match=r"evidence of 'flights': document \d follows .*; the chain was changed"):
        verify_chain(damage(documents))


def test_only_the_end_can_be_cut_unseen_and_the_newest_digest_shows_that(documents):
    assert digest(verify_chain(documents[:-1])[-1]) != digest(documents[-1])
