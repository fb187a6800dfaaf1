"""People approve a release, through Airflow's REST API while the run goes on."""

from __future__ import annotations

import itertools
import json
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.evidence import Evidence, Origin, digest
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ApproveReleaseOperator
from airflow_mlops.verdict import CheckResult, Verdict

MODEL = {"uri": "file:///m", "digest": "sha256:" + "a" * 64, "format": "mlflow", "size_bytes": 1}


class Person:
    """Answers the question of one run, again and again."""

    def __init__(self, client: Any, dag_id: str, parked: threading.Event) -> None:
        self._client = client
        self._dag_id = dag_id
        self._parked = parked

    def question(self) -> dict[str, Any]:
        """Wait until the task waits for an answer."""
        for _ in range(600):
            found = self._asked()
            if found is not None:
                # dag.test writes the task's state once more before it waits; an answer before that would be lost.
                self._parked.clear()
                assert self._parked.wait(60)
                return found
            time.sleep(0.4)
        raise AssertionError("nobody was asked")

    def _asked(self) -> dict[str, Any] | None:
        found = self._client.get(f"/api/v2/dags/{self._dag_id}/dagRuns/~/hitlDetails").json()["hitl_details"]
        waits = found and found[0]["task_instance"]["state"] == "awaiting_input" and not found[0]["response_received"]
        return found[0] if waits else None

    def answer(self, user: str, option: str = "Approve", *, wait: bool = True, **fields: Any) -> int:
        """Answer as a user, with what the form has filled in or else these fields; return the API's status."""
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        question = self.question() if wait else self._asked()
        if question is None:
            return 0
        ti = question["task_instance"]
        path = f"/api/v2/dags/{ti['dag_id']}/dagRuns/{ti['dag_run_id']}/taskInstances/{ti['task_id']}/-1/hitlDetails"
        token = self._client.app.state.auth_manager.generate_jwt(SimpleAuthManagerUser(username=user, role="USER"))
        filled_in = {name: field["value"] for name, field in question["params"].items()}
        given = self._client.patch(
            path,
            json={"chosen_options": [option], "params_input": {**filled_in, **fields}},
            headers={"Authorization": f"Bearer {token}"},
        )
        return int(given.status_code)


@pytest.fixture
def approve(run_dag, artifact_root, tmp_path, client, parked):
    """Run an approval of the model whose evidence there is; ``people`` answer it meanwhile."""
    numbers = itertools.count()

    def run(people: Callable[[Person], None] | None, *, branch: bool = False, **arguments: Any) -> Any:
        dag_id = f"approve_{tmp_path.name}_{next(numbers)}"
        person = Person(client, dag_id, parked)

        def answer() -> None:
            try:
                people(person)
            finally:
                # Airflow waits for ever for an answer that a broken test does not give.
                while not done.wait(0.5):
                    person.answer("last", "Reject", wait=False)

        done = threading.Event()
        with DAG(dag_id, schedule=None) as dag:
            more = {"on_fail": "branch", "pass_task_ids": "release", "fail_task_ids": ["tell"]} if branch else {}
            given = {"model_name": "m", "model": MODEL, "author": "ada", **more, **arguments}
            asked = ApproveReleaseOperator(task_id="approve", **given)

            @task
            def release():
                return "released"

            @task
            def tell():
                return "told"

            asked >> [release(), tell()]
        thread = threading.Thread(target=answer, daemon=True)
        if people is not None:
            thread.start()
        found = run_dag(dag)
        done.set()
        return found

    return run


def gate(root: Path, verdict: Verdict = Verdict.PASS, **notes: Any) -> str:
    """Leave the evidence of a gate; return its digest."""
    evaluation = root / "evaluation.json"
    evaluation.write_text("{}")
    check = CheckResult(
        name="roc_auc.minimum", verdict=verdict, reason="roc_auc 0.7 | enough", value=0.7, threshold=0.6
    )
    named = {"uri": f"file://{evaluation}", "digest": manifest_of(evaluation).digest}
    document = Evidence(
        decision="gate",
        subject="m",
        verdict=verdict,
        checks=(check,),
        origin=Origin(dag_id="d", run_id="r", task_id="gate", try_number=1),
        decided_at=1.0,
        references={"candidate": MODEL, "evaluation": named},
        notes=notes,
    )
    return ArtifactStore(f"file://{root}").write_evidence(document)[1]


def recorded(root: Path) -> tuple[Evidence, ...]:
    return ArtifactStore(f"file://{root}").read_evidence("m")[1:]


def test_two_people_other_than_the_author_approve(approve, artifact_root):
    newest, seen = gate(artifact_root), []

    def people(person: Person) -> None:
        seen.append(person.question())
        seen.extend(person.answer(user, comment=f"says {user}") for user in ("ada", "grace", "grace", "edsger"))

    run = approve(people, quorum=2, version="3")
    assert seen[1:] == [200] * 4
    assert run.states == {"approve": "success", "release": "success", "tell": "success"}
    assert seen[0]["subject"] == "May version 3 of m be released?"
    body = seen[0]["body"]
    assert "2 different people other than the author (ada, as the task's argument says) must approve" in body
    assert f"| gate | pass | 1 check passed | `{newest[7:19]}` |" in body
    assert "| roc_auc.minimum | pass | 0.7000 |  | 0.6000 |" in body
    assert (seen[0]["options"], seen[0]["defaults"]) == (["Approve", "Reject"], ["Reject"])
    assert seen[0]["params"]["evidence"]["value"] == newest

    result, documents = run.xcom("approve"), recorded(artifact_root)
    assert [one.notes["state"] for one in documents] == ["open", "open", "open", "open", "approved"]
    assert [len(one.notes["approvers"]) for one in documents] == [0, 0, 1, 1, 2]
    assert "they are the author" in documents[1].notes["reason"]
    assert "they have approved before" in documents[3].notes["reason"]
    assert documents[3].notes["answer"]["comment"] == "says grace"
    last = documents[-1]
    assert (last.decision, last.verdict, last.notes["evidence_digest"]) == ("approval", Verdict.PASS, newest)
    assert {one.references["question"]["digest"] for one in documents[1:]} == {digest(documents[0])}
    assert (
        [one["by_id"] for one in last.notes["approvers"]]
        == ["grace", "edsger"]
        == [one["by_id"] for one in result["approvers"]]
    )
    assert (last.notes["author"], last.notes["quorum"]) == (["ada"], 2)
    assert result["evidence_digest"] == digest(last)
    assert (run.xcom("approve", "state"), result["verdict"], result["approved_evidence_digest"]) == (
        *("approved", "pass"),
        newest,
    )
    page = Path(result["report_uri"].removeprefix("file://")).read_text()
    assert "People have approved the release." in page
    assert "says edsger" in page


def test_a_rejected_release_goes_where_a_failed_one_goes(approve, artifact_root):
    gate(artifact_root)
    run = approve(lambda person: person.answer("ada", "Reject"), branch=True)
    assert run.states == {"approve": "success", "release": "skipped", "tell": "success"}
    assert run.xcom("approve")["verdict"] == "fail"
    run = approve(lambda person: person.answer("ada", "Reject"), on_fail="skip")
    assert run.states == {"approve": "skipped", "release": "skipped", "tell": "skipped"}


def test_when_the_time_is_over_it_is_rejected(approve, artifact_root, capsys, caplog):
    """The scheduler looks for deadlines; this calls what it calls."""
    gate(artifact_root)

    def one_of_two(person: Person) -> None:
        from airflow.jobs.job import Job
        from airflow.jobs.scheduler_job_runner import SchedulerJobRunner

        person.answer("grace")
        person.question()
        for _ in range(20):
            time.sleep(0.2)
            SchedulerJobRunner(Job()).check_awaiting_input_timeouts()

    run = approve(one_of_two, quorum=2, expires_seconds=3)
    assert run.states == {"approve": "failed", "release": "upstream_failed", "tell": "upstream_failed"}
    assert "the time for 2 approvals is over; 1 of 2 approvals were given" in caplog.text + capsys.readouterr().out
    assert run.xcom("approve")["state"] == "expired"


class TestEvidenceThatChanges:
    def test_an_approval_is_void_when_there_is_newer_evidence(self, approve, artifact_root, capsys, caplog):
        gate(artifact_root)

        def people(person: Person) -> None:
            person.question()
            gate(artifact_root, Verdict.WARN, again=True)
            person.answer("grace")

        run = approve(people, on_fail="skip")
        assert run.states["approve"] == "failed"
        assert "the answer of grace is void: the newest evidence was" in caplog.text + capsys.readouterr().out
        assert run.xcom("approve")["state"] == "void"

    def test_or_when_the_evaluation_was_changed(self, approve, artifact_root):
        gate(artifact_root)

        def people(person: Person) -> None:
            person.question()
            (artifact_root / "evaluation.json").write_text('{"forged": true}')
            person.answer("grace")

        assert approve(people).states["approve"] == "failed"
        assert recorded(artifact_root)[-1].notes["state"] == "void"

    def test_a_forged_record_is_an_error_that_is_on_record(self, approve, artifact_root, capsys, caplog):
        gate(artifact_root)

        def people(person: Person) -> None:
            person.question()
            first = min(artifact_root.glob("evidence/m/0*.json"))
            first.write_text(first.read_text().replace("0.7", "0.8"))
            person.answer("grace")

        assert approve(people, on_fail="skip").states["approve"] == "failed"
        text = caplog.text + capsys.readouterr().out
        assert "the answer of grace is void" in text
        assert "was changed" in text
        newest = json.loads(max(artifact_root.glob("evidence/m/0*.json")).read_text())
        assert newest["notes"]["void"] is True
        assert newest["checks"][0]["reason"].startswith("the answer of grace is void")

    def test_or_people_are_asked_anew_and_must_name_the_new_evidence(self, approve, artifact_root):
        gate(artifact_root)
        newer = []

        def people(person: Person) -> None:
            person.question()
            newer.append(gate(artifact_root, Verdict.WARN, again=True))
            person.answer("grace")
            person.answer("grace")  # the form still has the old evidence filled in
            person.answer("grace", evidence=newer[0][7:30])

        run = approve(people, on_change="ask")
        assert run.states["approve"] == "success"
        documents = [one for one in recorded(artifact_root) if one.decision == "approval"]
        assert [one.notes["state"] for one in documents] == ["open", "void", "open", "open", "approved"]
        assert "does not count: it names" in documents[3].notes["reason"]
        assert documents[-1].notes["evidence_digest"] == newer[0]
        assert run.xcom("approve")["verdict"] == "warn"


class TestWhoIsTheAuthor:
    def test_who_triggered_the_run(self, approve, artifact_root):
        gate(artifact_root)

        def people(person: Person) -> None:
            person.answer("dag_test")
            person.answer("grace")

        run = approve(people, author=None)
        assert run.states["approve"] == "success"
        assert (run.xcom("approve")["author"], recorded(artifact_root)[0].notes["author_source"]) == (
            ["dag_test"],
            "run",
        )
        assert "who triggered this run" in recorded(artifact_root)[1].notes["reason"]

    def test_who_wrote_the_commit(self, tmp_path):
        from airflow_mlops.operators.approval_record import release_author

        git = ["git", "-c", "user.name=Ada L", "-c", "user.email=ada@example.com", "-C", str(tmp_path)]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "work"], check=True)
        author = release_author(_context(tmp_path), None)
        assert (author.names, author.source) == (("Ada L", "ada@example.com"), "commit")
        assert author.words == "Ada L, who wrote the commit"

    def test_nobody_knows(self, tmp_path):
        from airflow_mlops.exceptions import SpecificationError
        from airflow_mlops.operators.approval_record import release_author

        with pytest.raises(SpecificationError, match="git does not say who wrote its commit"):
            release_author(_context(tmp_path), None)
        for wrong in ({"name": "ada"}, [1], [" "]):
            with pytest.raises(SpecificationError, match="author"):
                release_author(_context(tmp_path), wrong)


def test_a_task_that_was_killed_goes_on_with_what_was_answered(approve, artifact_root):
    """A worker that dies after an answer loses everything but the record; its next try asks for what is missing."""
    gate(artifact_root)
    killed: list[str] = []

    def people(person: Person) -> None:
        person.answer("grace")
        question = person.question()
        ti = question["task_instance"]
        killed.append(ti["id"])
        _clear(ti["id"])
        person.answer("edsger")

    run = approve(people, quorum=2)
    assert run.states["approve"] == "success"
    assert killed
    assert [one.notes["state"] for one in recorded(artifact_root)] == ["open", "open", "approved"]
    assert [one["by_id"] for one in run.xcom("approve")["approvers"]] == ["grace", "edsger"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"on_change": "hope"}, "on_change: 'hope' is not accepted; expected one of 'fail', 'ask'"),
        ({"quorum": 0}, "quorum: 0 is not accepted; expected a whole number above 0"),
        ({"expires_seconds": 0}, "expires_seconds: 0.0 is not accepted; expected a number above 0"),
        (
            {"assigned_users": [{"id": "ada", "name": "Ada"}]},
            "quorum: 1 is not accepted; expected at most 0: so many of assigned_users are not the author",
        ),
        ({"model": {**MODEL, "digest": "sha256:" + "f" * 64}}, "there is nothing to approve: no evidence is about"),
    ],
)
def test_wrong_arguments_are_named(approve, artifact_root, capsys, caplog, arguments, message):
    gate(artifact_root)
    assert approve(None, **arguments).states["approve"] == "failed"
    assert message in caplog.text + capsys.readouterr().out


def test_what_its_gate_stopped_is_no_question(approve, artifact_root, capsys, caplog):
    gate(artifact_root, Verdict.FAIL)
    assert approve(None).states["approve"] == "failed"
    assert "the gate's verdict is fail; a release rests on 'pass' or 'warn'" in caplog.text + capsys.readouterr().out


def _clear(ti_id: str) -> None:
    """Do to a task instance what Airflow does when its worker is lost: its next try begins from the start."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.settings import Session
    from airflow.utils.state import TaskInstanceState

    session = Session()
    ti = session.get(TaskInstance, uuid.UUID(ti_id))
    ti.prepare_db_for_next_try(session)
    ti.state, ti.next_method, ti.next_kwargs = TaskInstanceState.SCHEDULED, None, None
    session.commit()


def _context(folder: Path) -> Mapping[str, Any]:
    class Named:
        def __init__(self, **fields: Any) -> None:
            self.__dict__.update(fields)

    bundle = Named(path=str(folder), version=None)
    return {"dag_run": Named(triggering_user_name=None), "ti": Named(bundle_instance=bundle, dag_version_id=None)}
