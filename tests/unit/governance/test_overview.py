from __future__ import annotations

from airflow_mlops.governance.overview import overview
from airflow_mlops.verdict import CheckResult, Verdict
from tests.unit.governance.documents import decided, numbered, ref, registered, rolled, whole_release

NOW = 1000.0
ASKS = {"asks": {"until": "2013-03-02 00:00:00 UTC", "assigned_users": []}}


def _seen(documents, **more):
    return overview("flights", numbered(documents), now=NOW, **more)


def test_of_nothing_nothing_is_claimed():
    found = overview("flights", (), now=NOW)
    assert (found.champion, found.challenger, found.rollout, found.drift) == (None, None, None, "unknown")
    assert (found.serving, found.since, found.data_age_seconds, found.newest_at) == ({}, None, None, None)


def test_a_promoted_version_serves_since_its_last_step():
    found = _seen(whole_release("2", "b", at=100))
    assert found.champion is not None
    assert (found.champion.version, found.champion.digest) == ("2", "sha256:" + "b" * 64)
    assert (found.champion.since, found.champion.number) == (104, 5)
    assert (dict(found.serving), found.since) == ({"flights-v2": 100}, 103)
    assert found.challenger is None
    assert found.rollout is None
    assert found.verdicts["gate"].verdict is Verdict.PASS
    assert found.is_complete


def test_a_registered_version_is_the_challenger_until_something_is_decided():
    made = [*whole_release("1", "a"), registered("2", "b", at=50)]
    challenger = _seen(made).challenger
    assert challenger is not None
    assert challenger.version == "2"
    rejected = decided("promotion", "fail", notes={"version": "2", "champion": "1"}, references={"model": ref("b")})
    found = _seen([*made, rejected])
    assert found.challenger is None
    assert found.champion is not None
    assert (found.champion.version, found.champion.since) == ("1", 4)
    assert found.verdicts["rejection"].verdict is Verdict.FAIL


def test_after_a_champion_was_taken_out_the_one_before_leads():
    back = decided("promotion", "fail", at=90, notes={"version": "2", "champion": "1"}, references={"model": ref("b")})
    found = _seen([*whole_release("1", "a"), *whole_release("2", "b", at=50), back]).champion
    assert found is not None
    assert (found.version, found.since) == ("1", 90)
    gone = decided("promotion", "fail", at=90, notes={"version": "2", "champion": None})
    assert _seen([*whole_release("2", "b"), gone]).champion is None


def test_a_rollout_is_under_way_until_its_end_is_on_record():
    found = _seen([*whole_release("1", "a"), rolled("2", "b", 25, at=60)]).rollout
    assert found is not None
    assert (found.candidate, found.stable, dict(found.weights)) == (
        "flights-v2",
        "flights-v1",
        {"flights-v2": 25, "flights-v1": 75},
    )
    assert (found.began_at, found.since, found.origin.dag_id) == (7.5, 60, "cd")
    assert _seen([rolled("2", "b", 25), rolled("2", "b", 0, phase="rolled_back")]).rollout is None


def test_a_check_of_a_server_moves_no_traffic():
    smoke = decided("rollout", notes={"check": "smoke", "server": "flights-v2"})
    found = _seen([*whole_release("3", "a"), smoke])
    assert dict(found.serving) == {"flights-v3": 100}
    assert found.verdicts["smoke"].title == "Server check"


def test_drift_is_what_the_last_look_found():
    found = _seen([decided("drift", "pass"), decided("drift", "fail", at=7, notes={"window": "2013-06"})])
    assert (found.drift, found.drift_window, found.drift_at) == ("drifted", "2013-06", 7)
    assert _seen([decided("drift", "pass")]).drift == "none"
    assert _seen([decided("drift", "inconclusive")]).drift == "undecided"


def test_data_age_with_every_second_since_the_gate():
    fresh = CheckResult(name="freshness.training", verdict=Verdict.PASS, reason="2 days", value=2.0)
    older = CheckResult(name="freshness.evaluation", verdict=Verdict.PASS, reason="3 days", value=3.0)
    assert _seen([decided("gate", at=400, checks=(older, fresh))]).data_age_seconds == 2 * 86400 + 600
    assert _seen([decided("gate", at=400)]).data_age_seconds is None


class TestApprovals:
    def test_a_question_is_open_until_it_is_answered(self):
        gate = decided("gate", "inconclusive", references={"candidate": ref("b")}, notes=ASKS)
        (asked,) = _seen([gate]).open_approvals
        assert (asked.number, asked.until) == (1, "2013-03-02 00:00:00 UTC")
        answer = decided("approval", references={"gate": {"digest": f"sha256:{1:064x}"}})
        assert _seen([gate, answer]).open_approvals == ()
        void = decided("approval", "error", references={"gate": {"uri": f"file:///000001-{1:012x}.json"}})
        assert _seen([gate, void]).open_approvals != ()  # its name says which: another digest

    def test_a_question_that_needs_more_answers_stays_open_once(self):
        question = decided("approval", "inconclusive", notes=ASKS)
        one = decided("approval", "inconclusive", references={"question": {"digest": f"sha256:{1:064x}"}}, notes=ASKS)
        assert [asked.number for asked in _seen([question, one]).open_approvals] == [2]


class TestWithheld:
    def test_what_another_dag_decided_last_is_withheld_not_replaced_by_what_is_older(self):
        made = [
            decided("promotion", at=1, notes={"version": "1"}, dag_id="ct"),
            decided("promotion", at=2, notes={"version": "2"}, dag_id="secret"),
        ]
        found = _seen(made, may_read=lambda dag_id: dag_id != "secret")
        assert found.champion is None
        assert found.withheld == ("promotion",)
        assert not found.is_complete
        assert found.newest_at == 1

    def test_a_question_is_not_open_because_its_answer_may_not_be_read(self):
        gate = decided("gate", "inconclusive", notes=ASKS)
        answer = decided("approval", dag_id="secret", references={"gate": {"digest": f"sha256:{1:064x}"}})
        assert _seen([gate, answer], may_read=lambda dag_id: dag_id != "secret").open_approvals == ()


def test_what_was_not_looked_at_is_said():
    found = _seen(whole_release("2", "b"), decisions=900, looked_back_to=500)
    assert (found.decisions, found.is_complete) == (900, False)
