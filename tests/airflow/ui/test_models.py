"""Pages about models, asked for at Airflow's own API server."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest

from tests.airflow.ui.conftest import decision, model_ref, release, rollout

POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action "
)


def _links(text: str) -> list[str]:
    return [link for link in re.findall(r'(?:href|src)="([^"]+)"', text) if link.startswith("/mlops/")]


def _documents(root: Path, subject: str = "flights") -> list[Path]:
    return sorted((root / "evidence" / subject).glob("0*.json"))


def test_without_evidence_the_list_says_what_to_do(client, headers):
    answer = client.get("/mlops/models", headers=headers)
    assert answer.status_code == 200
    assert "No model yet" in answer.text


def test_the_list_tells_who_serves_and_what_is_on_its_way(client, headers, write):
    write(*release("1", "a"), *release("2", "b", at=10)[:2], rollout(0, 25, at=20, verdict="inconclusive"))
    text = client.get("/mlops/models", headers=headers).text
    assert "Version 1" in text
    assert "flights-v2" in text
    assert "25 %" in text
    assert "1 rollout under way" in text


def test_datasets_are_no_models(client, headers, write):
    write(decision("validation", "flights-month"))
    assert "flights-month" not in client.get("/mlops/models", headers=headers).text
    assert client.get("/mlops/models/flights-month", headers=headers).status_code == 200


def test_every_link_of_every_page_leads_somewhere(client, headers, write):
    write(decision("validation", "flights-month", references={"dataset": {"digest": "sha256:" + "d" * 64}}))
    write(*release("1", "a"), *release("2", "b", at=10))
    seen, waiting = set(), ["/mlops/models"]
    while waiting:
        address = waiting.pop()
        if address in seen or "/reports/" in address:
            continue
        seen.add(address)
        answer = client.get(address.replace("&amp;", "&"), headers=headers)
        assert answer.status_code == 200, address
        if answer.headers["content-type"].startswith("text/html"):
            waiting += _links(answer.text)
    assert {"/mlops/models/flights/releases/1", "/mlops/models/flights/releases/6"} <= seen


def test_a_release_is_told_from_its_data_to_its_traffic(client, headers, write):
    write(decision("validation", "flights-month", at=-5, references={"dataset": {"digest": "sha256:" + "d" * 64}}))
    write(*release("2", "b"))
    text = client.get("/mlops/models/flights/releases/3", headers=headers).text
    for said in ("sha256:" + "d" * 64, "sha256:" + "b" * 64, "version 2", "Gate", "Promotion", "flights-v2"):
        assert said in text


def test_two_releases_stand_side_by_side(client, headers, write):
    write(*release("1", "a"), *release("2", "b", at=10))
    answer = client.get("/mlops/models/flights/compare?left=1&right=6", headers=headers)
    assert answer.status_code == 200
    assert "version 1" in answer.text
    assert "version 2" in answer.text


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("models/flights/releases/99", 404),
        ("models/flights/releases/0", 404),
        ("models/flights/releases/-1", 404),
        ("models/flights/releases/x", 422),
        ("models/flights/compare", 422),
        ("models/flights/compare?left=1&right=99", 404),
        ("models/flights/compare?left=1&right=1e3", 422),
        ("models/other", 404),
        ("models/~", 422),
        ("models/%2E%2E", 422),
        ("models/..%2F..%2Fsecret", 404),
        ("models/" + "a" * 300, 422),
        ("models/flights%00", 422),
        ("models?page=7", 404),
        ("models?page=0", 422),
        ("models/flights?before=x", 422),
        ("assets/..%2F..%2Fapp.py", 404),
        ("assets/app.py", 404),
        ("assets/%2E%2E%2Fapp.py", 404),
    ],
)
def test_a_forged_address_is_answered_with_a_page_and_nothing_more(client, headers, write, path, status):
    write(*release())
    answer = client.get(f"/mlops/{path}", headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-security-policy"].startswith(POLICY)
    assert "Go to all models" in answer.text


def test_names_and_reasons_are_escaped(client, headers, write):
    evil = "<script>alert(1)</script>"
    write(decision("gate", evil, references={"candidate": model_ref("a"), evil: {"digest": evil}}))
    write(decision("promotion", evil, notes={"version": evil}, who={"task_id": evil, "run_id": evil}))
    pages = ["/mlops/models", "/mlops/models/%3Cscript%3Ealert(1)%3C%2Fscript%3E", "/mlops/models/%3Cscript%3Ex"]
    for page in pages:
        answer = client.get(page, headers=headers)
        assert "alert(1)" not in answer.text or "&lt;script&gt;alert(1)" in answer.text
        assert "<script>alert" not in answer.text


def test_only_what_the_reader_may_read_is_shown(client, headers, write, only_dag):
    other = {"dag_id": "secret_dag", "task_id": "hidden_task"}
    write(*release("1", "a"), decision("drift", who=other, verdict="fail", at=50, notes={"window": "secret_window"}))
    write(decision("promotion", "secret_model", who=other, references={"model": model_ref("c")}))
    only_dag("ct")
    page = client.get("/mlops/models", headers=headers)
    assert "flights" in page.text
    text = page.text + client.get("/mlops/models/flights", headers=headers).text
    for secret in ("secret", "hidden_task"):
        assert secret not in text
    assert "entries are of DAGs that you may not read" in text
    assert client.get("/mlops/models/secret_model", headers=headers).status_code == 404
    # The promotion was by the DAG "cd": who leads is withheld, not guessed from what may be read.
    assert "Withheld" in text
    assert client.get("/mlops/models/flights/releases/6", headers=headers).status_code == 404


def test_a_model_that_may_not_be_read_looks_like_none(client, headers, write, only_dag):
    write(*release())
    only_dag("other")
    hidden = client.get("/mlops/models/flights", headers=headers)
    missing = client.get("/mlops/models/nothing", headers=headers)
    assert hidden.status_code == missing.status_code == 404
    assert hidden.text.replace("flights", "") == missing.text.replace("nothing", "")
    assert "flights" not in client.get("/mlops/models", headers=headers).text


def test_a_forged_dag_id_asks_nobody_about_all_dags(client, headers, write, only_dag):
    write(decision("gate", who={"dag_id": "~"}, references={"candidate": model_ref("a")}))
    write(decision("gate", who={"dag_id": ""}, references={"candidate": model_ref("a")}))
    assert client.get("/mlops/models/flights", headers=headers).status_code == 404


class TestEvidenceThatDoesNotVerify:
    WORDS = "vidence does not verify"

    def test_a_changed_document_is_named_and_the_rest_is_shown(self, client, headers, write, artifact_root):
        write(*release())
        changed = _documents(artifact_root)[1]
        changed.write_text(changed.read_text().replace('"challenger"', '"champion"'))
        answer = client.get("/mlops/models/flights", headers=headers)
        assert answer.status_code == 200
        assert self.WORDS in answer.text
        assert changed.name in answer.text
        assert "Promotion" in answer.text
        assert str(artifact_root) not in answer.text.replace("file://", "")

    def test_a_removed_document_is_missed(self, client, headers, write, artifact_root):
        write(*release())
        _documents(artifact_root)[2].unlink()
        assert "number 3 of the chain is missing" in client.get("/mlops/models/flights", headers=headers).text

    def test_the_newest_one_is_missed(self, client, headers, write, artifact_root):
        write(*release())
        _documents(artifact_root)[4].unlink()
        text = client.get("/mlops/models/flights", headers=headers).text
        assert "5 documents were written, and the newest here is number 4" in text

    def test_what_is_no_document_is_told(self, client, headers, write, artifact_root):
        write(*release())
        _documents(artifact_root)[0].write_bytes(b"\xff not json")
        answer = client.get("/mlops/models/flights", headers=headers)
        assert answer.status_code == 200
        assert self.WORDS in answer.text

    def test_a_model_of_which_nothing_verifies_has_a_page_that_says_so(self, client, headers, write, artifact_root):
        write(decision("gate", references={"candidate": model_ref("a")}))
        _documents(artifact_root)[0].write_text("{}")
        answer = client.get("/mlops/models/flights", headers=headers)
        assert answer.status_code == 409
        assert self.WORDS in answer.text
        assert client.get("/mlops/models", headers=headers).status_code == 200

    def test_notes_of_any_shape_break_no_page(self, client, headers, write):
        shapes = (None, [], {}, "", 7, ["x", {"y": []}], {"uri": [1], "digest": {}})
        for at, shape in enumerate(shapes):
            keys = ("version", "weights", "phase", "check", "asks", "rollout", "candidate", "reason", "champion")
            keys += ("previous_champion", "window", "report_uri", "stable")
            notes, references = dict.fromkeys(keys, shape), dict.fromkeys(("candidate", "gate", "datasets"), shape)
            for kind in ("gate", "approval", "registration", "rollout", "promotion", "drift", "card"):
                write(decision(kind, at=at, notes=notes, references=references))
        for page in ("models", "models/flights", *(f"models/flights/releases/{number}" for number in (1, 20, 49))):
            assert client.get(f"/mlops/{page}", headers=headers).status_code in (200, 404), page


def test_releases_are_paged_from_the_newest(client, headers, write_many):
    many = (release(str(number), f"{number % 16:x}", at=10.0 * number)[:3] for number in range(1, 31))
    write_many(*(document for one in many for document in one))
    first = client.get("/mlops/models/flights", headers=headers).text
    older = re.search(r'href="([^"]+)" rel="next"', first)
    assert older is not None
    second = client.get(older[1], headers=headers)
    assert second.status_code == 200
    assert "Version 30" in first
    newer = re.search(r'href="([^"]+)" rel="prev"', second.text)
    assert newer is not None
    assert newer[1] == "/mlops/models/flights"


def test_behind_a_prefix_every_address_has_it(app, headers, write):
    from fastapi.testclient import TestClient

    write(*release())
    with contextlib.closing(TestClient(app, base_url="http://airflow", root_path="/flow")) as client:
        page = client.get("/flow/mlops/models/flights", headers=headers).text
        missing = client.get("/flow/mlops/live/ct/run/task/-1", headers=headers)
    found = re.findall(r'(?:href|src|action|data-live)="(/[^"]+)"', page)
    assert len(found) > 5
    assert all(address.startswith(("/flow/mlops/", "/flow/dags/")) for address in found), found
    assert missing.json()["error"].startswith("Task task of run run of ct")


def test_files_of_the_package_are_asked_for_once(client, headers):
    answer = client.get("/mlops/assets/mlops.css", headers=headers)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    again = client.get("/mlops/assets/mlops.css", headers=headers | {"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
