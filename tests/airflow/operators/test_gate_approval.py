"""The gate asks a person, who answers through Airflow's REST API while the run goes on."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.evidence import digest
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ModelGateOperator
from airflow_mlops.operators.decorators import gate_task

POLICY = {
    "minimum_rows": {"rows": 500, "positives": 50},
    "absolute": [{"metric": "roc_auc", "minimum": 0.6}],
    "approval": {"ask": "inconclusive"},
}
OPEN, BAD, GOOD = 0.605, 0.5, 0.7


def _question(client: Any, dag_id: str, parked: threading.Event) -> dict[str, Any]:
    """Wait for the task to ask, and until it waits for the answer."""
    for _ in range(150):
        found = client.get(f"/api/v2/dags/{dag_id}/dagRuns/~/hitlDetails").json()["hitl_details"]
        if found and found[0]["task_instance"]["state"] == "awaiting_input":
            # dag.test writes the task's state once more before it waits; an answer before that would be lost.
            parked.clear()
            assert parked.wait(60)
            return found[0]
        time.sleep(0.4)
    raise AssertionError("nobody was asked")


@pytest.fixture
def gate(run_dag, artifact_root, tmp_path, client, parked):
    """Run a gate whose question is answered by ``answer(question)``; returns run and question."""
    numbers = iter(range(100))

    def run(
        auc: float,
        answer: str | Callable[[dict[str, Any]], None] | None,
        *,
        policy: Mapping[str, Any] = POLICY,
        branch: bool = False,
        decorated: bool = False,
        **arguments: Any,
    ):
        dag_id = f"gate_{tmp_path.name}_{next(numbers)}"
        asked: list[Any] = []

        def person() -> None:
            question = _question(client, dag_id, parked)
            asked.append(question)
            try:
                if callable(answer):
                    answer(question)
                else:
                    asked.append(_answer(client, question, str(answer)))
            finally:
                # Airflow waits for ever for an answer that a broken test does not give.
                _answer(client, question, "Reject", user="grace")

        with DAG(dag_id, schedule=None) as dag:
            more = {"on_fail": "branch", "pass_task_ids": "release", "fail_task_ids": ["tell"]} if branch else {}
            given = {"policy": policy, "model_name": "m", **more, **arguments}
            evaluation = _evaluation(artifact_root, auc)
            if decorated:
                judged = gate_task(task_id="gate", **given)(lambda found: found)(evaluation)
            else:
                judged = ModelGateOperator(task_id="gate", evaluation=evaluation, **given)

            @task
            def release():
                return "released"

            @task
            def tell():
                return "told"

            judged >> [release(), tell()]
        thread = threading.Thread(target=person, daemon=True)
        if answer is not None:
            thread.start()
        found = run_dag(dag)
        if answer is not None:
            thread.join(10)
        return found, asked

    return run


def _answer(client: Any, question: Mapping[str, Any], option: str, *, user: str = "ada") -> int:
    from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

    ti = question["task_instance"]
    path = f"/api/v2/dags/{ti['dag_id']}/dagRuns/{ti['dag_run_id']}/taskInstances/{ti['task_id']}/-1/hitlDetails"
    token = client.app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username=user, role="USER"))
    given = client.patch(
        path,
        json={"chosen_options": [option], "params_input": {"comment": "seen by the board"}},
        headers={"Authorization": f"Bearer {token}"},
    )
    return given.status_code


def test_an_approved_candidate_goes_on_with_the_approver_on_record(gate, artifact_root):
    run, (question, status) = gate(OPEN, "Approve")
    assert status == 200
    assert run.states == {"gate": "success", "release": "success", "tell": "success"}
    assert question["subject"] == "May this candidate for m go on? The gate says: inconclusive"
    assert (question["options"], question["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert "| check | verdict | found | interval | bound | what would decide |" in question["body"]
    assert "| roc_auc.minimum | **inconclusive** | 0.6050 | 0.5950 to 0.6150 | 0.6000 |" in question["body"]
    assert "more days" in question["body"]

    result = run.xcom("gate")
    asked_for, approval = ArtifactStore(f"file://{artifact_root}").read_evidence("m")
    assert (asked_for.decision, asked_for.verdict.value) == ("gate", "inconclusive")
    assert (approval.decision, approval.verdict.value) == ("approval", "warn")
    assert approval.references["gate"]["digest"] == digest(asked_for) == result["approval"]["gate_evidence_digest"]
    assert digest(asked_for) in question["body"]
    assert result["evidence_digest"] == digest(approval)
    assert (result["verdict"], result["approval"]["approved"], result["approval"]["by_id"]) == ("warn", True, "ada")
    assert result["checks"][-1]["reason"].startswith("approved by ada at 20")
    assert result["checks"][-1]["reason"].endswith("on a verdict of inconclusive; comment: seen by the board")
    assert run.xcom("gate", "verdict") == "warn"
    page = Path(result["report_uri"].removeprefix("file://")).read_text()
    assert "The candidate may go on: a person approved it." in page
    assert "approved by ada" in page


def test_a_rejected_candidate_goes_where_a_failed_one_goes(gate):
    run, _ = gate(OPEN, "Reject", branch=True)
    assert run.states == {"gate": "success", "release": "skipped", "tell": "success"}
    assert run.xcom("gate")["verdict"] == "fail"
    assert run.xcom("gate")["checks"][-1]["reason"].startswith("rejected by ada at 20")


def test_without_an_answer_in_time_it_is_rejected(gate, capsys, caplog):
    """The scheduler looks for deadlines; this calls what it calls."""

    def nobody(question: dict[str, Any]) -> None:
        from airflow.jobs.job import Job
        from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

        for _ in range(6):
            time.sleep(0.2)
            SchedulerJobRunner(Job()).check_awaiting_input_timeouts()

    run, _ = gate(OPEN, nobody, ask_timeout_seconds=0.2)
    assert run.states == {"gate": "failed", "release": "upstream_failed", "tell": "upstream_failed"}
    assert "nobody answered in time, so it is rejected at 20" in caplog.text + capsys.readouterr().out
    assert run.xcom("gate")["approval"]["by_id"] is None


@pytest.mark.parametrize("what", ["evidence", "evaluation"])
def test_an_approval_is_void_if_what_was_approved_has_changed(gate, client, artifact_root, capsys, caplog, what):
    def forge(question: dict[str, Any]) -> None:
        (path,) = artifact_root.glob("evidence/m/*.json") if what == "evidence" else artifact_root.glob("report-*.json")
        path.write_text(path.read_text().replace("0.605", "0.705"))
        assert _answer(client, question, "Approve") == 200

    run, _ = gate(OPEN, forge, on_fail="skip")
    assert run.states["gate"] == "failed"
    text = caplog.text + capsys.readouterr().out
    assert "the answer of ada is void" in text
    newest = max(artifact_root.glob("evidence/m/0*.json"))
    document = json.loads(newest.read_text())
    if what == "evidence":  # nothing is chained to a document that was changed
        assert "That cannot be put on record" in text
        assert document["decision"] == "gate"
    else:
        assert (document["decision"], document["verdict"]) == ("approval", "error")
        assert document["notes"]["approval"]["void"] is True


def test_who_may_answer_and_what(gate, client):
    statuses: list[int] = []

    def several(question: dict[str, Any]) -> None:
        for user, option in (("ada", "Approve"), ("grace", "Perhaps"), ("grace", "Reject"), ("grace", "Approve")):
            statuses.append(_answer(client, question, option, user=user))

    run, (question,) = gate(OPEN, several, assigned_users=[{"id": "grace", "name": "Grace"}], on_fail="skip")
    assert question["assigned_users"] == [{"id": "grace", "name": "Grace"}]
    assert statuses == [403, 400, 200, 409]
    assert run.states["gate"] == "skipped"
    assert run.xcom("gate")["approval"]["by_id"] == "grace"


class TestWhatIsAsked:
    def test_a_decorated_gate_asks_as_well(self, gate):
        run, _ = gate(OPEN, "Approve", decorated=True, branch=True)
        assert run.states == {"gate": "success", "release": "success", "tell": "skipped"}
        assert run.xcom("gate", "approval")["by_id"] == "ada"

    def test_a_failed_candidate_is_no_question(self, gate):
        run, _ = gate(BAD, None)
        assert run.states["gate"] == "failed"
        assert run.xcom("gate")["approval"] is None

    def test_nor_is_one_about_which_more_is_open(self, gate):
        policy = {**POLICY, "minimum_rows": {"rows": 9000, "positives": 50}}
        run, _ = gate(BAD, None, policy=policy)
        assert run.states["gate"] == "failed"
        assert run.xcom("gate")["verdict"] == "inconclusive"
        assert run.xcom("gate")["approval"] is None

    def test_unless_the_policy_allows_an_override(self, gate):
        policy = {**POLICY, "approval": {"ask": "inconclusive", "allow_override": True}}
        run, _ = gate(BAD, "Approve", policy=policy)
        assert run.states["gate"] == "success"
        assert run.xcom("gate")["verdict"] == "warn"

    def test_a_good_one_is_a_question_only_where_that_is_wanted(self, gate, artifact_root):
        run, _ = gate(GOOD, None)
        assert run.states["gate"] == "success"
        policy = {name: rule for name, rule in POLICY.items() if name != "approval"}
        run, _ = gate(GOOD, "Reject", policy=policy, ask="always", on_fail="skip")
        assert run.states == {"gate": "skipped", "release": "skipped", "tell": "skipped"}
        (passed, asked, rejected) = ArtifactStore(f"file://{artifact_root}").read_evidence("m")
        assert [one.verdict.value for one in (passed, asked, rejected)] == ["pass", "pass", "fail"]
        assert "asks" not in passed.notes
        assert asked.notes["asks"]["assigned_users"] == []

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"ask": "perhaps"}, "approval.ask: 'perhaps' is not accepted; expected one of 'never', 'inconclusive'"),
            ({"ask": "always"}, "ask: 'always' is not accepted; expected what the policy says, 'inconclusive'"),
            ({"ask_timeout_seconds": 0}, "ask_timeout_seconds: 0 is not accepted; expected a number above 0"),
            ({"assigned_users": [{"id": "ada"}]}, "assigned_users: {'id': 'ada'} is not accepted; expected a mapping"),
            ({"pass_task_ids": ["release"]}, "pass_task_ids: ['release'] is not accepted; expected nothing with on_f"),
            ({"on_fail": "branch"}, "pass_task_ids: [] is not accepted; expected ids of tasks or task groups"),
        ],
    )
    def test_wrong_arguments_are_named(self, gate, capsys, caplog, arguments, message):
        run, _ = gate(GOOD, None, **arguments)
        assert run.states["gate"] == "failed"
        assert message in caplog.text + capsys.readouterr().out


def _evaluation(root: Path, auc: float) -> dict[str, Any]:
    estimate = {"value": auc, "low": auc - 0.01, "high": auc + 0.01, "method": "made up"}
    report = {
        "target": "late",
        "confidence": 0.95,
        "days": 28,
        "candidate": {"rows": 4000, "positives": 200, "metrics": {"roc_auc": estimate}},
        "reference": {"rows": 1, "label_rate": 0.2, "mean_prediction": 0.2, "brier": 0.1, "by_day": []},
    }
    path = root / f"report-{auc}.json"
    path.write_text(json.dumps(report))
    found = manifest_of(path).digest
    candidate = {"uri": "file:///m", "digest": found, "format": "mlflow", "size_bytes": 1}
    return {"evaluation_uri": f"file://{path}", "evaluation_digest": found, "candidate": candidate, "dataset": None}
