from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.governance.flow import run_flow
from airflow_mlops.governance.overview import overview
from airflow_mlops.governance.timeline import releases, timeline
from airflow_mlops.verdict import CheckResult, Verdict
from tests.unit.governance.documents import decided, numbered, ref, registered, rolled, whole_release


def test_a_release_is_gathered_from_its_data_to_the_last_change_of_traffic():
    (found,) = releases(numbered(whole_release("2", "b")))
    assert (found.number, found.version, found.digest) == (1, "2", "sha256:" + "b" * 64)
    assert [(one.role, one.label) for one in found.datasets] == [
        ("dataset", "2013-03"),
        ("datasets.train", "2013-01"),
        ("datasets.train", "2013-02"),
    ]
    assert [dict(change.weights) for change in found.weights] == [
        {"flights-v2": 10, "flights-v1": 90},
        {"flights-v2": 100},
    ]
    assert found.state == "promoted"
    assert found.verdict is Verdict.PASS


def test_releases_are_told_apart_however_their_decisions_alternate():
    first, second = whole_release("1", "a"), whole_release("2", "b")
    mixed = [one for pair in zip(first, second, strict=True) for one in pair]
    found = releases(numbered(mixed))
    assert [(one.version, one.number) for one in found] == [("2", 2), ("1", 1)]
    assert [[entry.number for entry in one.entries] for one in found] == [[2, 4, 6, 8, 10], [1, 3, 5, 7, 9]]


def test_what_names_only_a_version_or_a_server_belongs_to_its_release():
    drift = decided("drift", "fail", notes={"champion": "2", "window": "2013-06"})
    smoke = decided("rollout", notes={"check": "smoke", "server": "flights-v2"})
    (found,) = releases(numbered([*whole_release("2", "b"), smoke, drift]))
    assert [entry.kind for entry in found.entries][-2:] == ["smoke", "drift"]
    # That the world has changed does not undo the release.
    assert (found.state, found.verdict) == ("promoted", Verdict.PASS)


def test_a_void_answer_belongs_to_the_gate_that_it_answers():
    gate = decided("gate", "inconclusive", references={"candidate": ref("b")})
    void = decided("approval", "error", references={"gate": {"uri": "file:///x/000001-0123456789ab.json"}})
    (found,) = releases(numbered([gate, void]))
    assert [entry.decision for entry in found.entries] == ["gate", "approval"]
    assert found.state == "rejected"


def test_a_validation_belongs_to_no_release():
    assert releases(numbered([decided("validation", references={"dataset": ref("d")})])) == ()


@pytest.mark.parametrize(
    ("last", "state"),
    [
        (decided("gate", "fail", references={"candidate": ref("b")}), "rejected"),
        (decided("gate", references={"candidate": ref("b")}), "judged"),
        (registered("2", "b"), "registered"),
        (rolled("2", "b", 10), "rolling_out"),
        (rolled("2", "b", 0, phase="rolled_back"), "rolled_back"),
        (decided("promotion", "fail", references={"model": ref("b")}, notes={"version": "2"}), "rolled_back"),
        (decided("promotion", "error", references={"model": ref("b")}, notes={"version": "2"}), "withdrawn"),
    ],
)
def test_the_last_decision_says_how_far_a_release_has_come(last, state):
    (found,) = releases(numbered([decided("gate", references={"candidate": ref("b")}), last]))
    assert found.state == state


def test_a_candidate_without_a_version_has_the_name_of_its_files():
    (found,) = releases(numbered([decided("gate", "fail", references={"candidate": ref("c")})]))
    assert found.title == "candidate " + "c" * 12


def test_the_reason_is_the_decisions_own_or_that_of_its_worst_checks():
    worst = [CheckResult(name=f"c{n}", verdict=Verdict.FAIL, reason=f"check {n} failed") for n in range(3)]
    said = timeline(
        numbered(
            [
                decided("rollout", notes={"reason": "proven at 10 %"}),
                decided("gate", "fail", checks=(*worst, CheckResult(name="p", verdict=Verdict.PASS, reason="fine"))),
                registered("3", "b"),
                decided("promotion", notes={"version": "3", "previous_champion": "2"}),
                decided("validation"),
            ]
        )
    )
    assert [entry.reason for entry in said] == [
        "proven at 10 %",
        "check 0 failed (and 2 more)",
        "registered as version 3, challenger",
        "version 3 is champion after version 2",
        "validation pass",
    ]


def test_reports_are_linked_where_there_are_some():
    found = timeline(
        numbered(whole_release("2", "b")),
        report_address=lambda evidence: "/gate" if evidence.decision == "gate" else "",
    )
    assert [entry.report for entry in found] == ["/gate", "", "", "", ""]


class TestFlow:
    def test_a_run_is_told_stage_by_stage(self):
        parts = [decided("validation", verdict, subject="months") for verdict in ("pass", "fail", "pass")]
        entries = timeline(numbered([*parts, *whole_release("2", "b", at=9)]))
        flow = run_flow("ct", "run", entries)
        assert [(stage.title, stage.subject, stage.verdict.value) for stage in flow.stages] == [
            ("Data", "months", "fail"),
            ("Gate", "flights", "pass"),
            ("Registration", "flights", "pass"),
            ("Rollout", "flights", "pass"),
            ("Promotion", "flights", "pass"),
        ]
        assert flow.models == (("flights", 8),)
        assert flow.verdict is Verdict.PASS

    def test_a_card_that_lacks_something_is_no_verdict_of_the_run(self):
        card = decided("card", "warn", at=20.0)
        assert run_flow("ct", "run", timeline(numbered([*whole_release("2", "b"), card]))).verdict is Verdict.PASS
        assert run_flow("ct", "run", timeline(numbered([card]))).verdict is Verdict.WARN

    def test_nothing_decided_is_no_flow(self):
        assert run_flow("ct", "run", ()).verdict is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_NOTES = st.sampled_from(
    ("version", "weights", "phase", "check", "asks", "rollout", "candidate", "server", "reason", "champion", "window")
)
_ROLES = st.sampled_from(("candidate", "model", "gate", "question", "dataset", "datasets", "evaluation"))
_KINDS = st.sampled_from(("gate", "approval", "registration", "rollout", "promotion", "drift", "retraining", "card"))


@given(st.lists(st.tuples(_KINDS, st.dictionaries(_NOTES, _JSON), st.dictionaries(_ROLES, _JSON)), max_size=8))
def test_whatever_documents_say_is_shown_and_each_decision_once(made):
    documents = numbered(
        decided(kind, at=float(at), notes=notes, references=roles) for at, (kind, notes, roles) in enumerate(made)
    )
    entries = timeline(documents)
    assert [entry.number for entry in entries] == [document.number for document in documents]
    gathered = [entry.number for release in releases(documents) for entry in release.entries]
    assert len(set(gathered)) == len(gathered)
    assert overview("flights", documents, now=1.0).decisions == len(documents)
