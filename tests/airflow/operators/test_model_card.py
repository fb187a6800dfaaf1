"""A model's card and its release's dossier, written by a task from what other tasks have left."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from airflow.sdk import DAG

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, Origin, digest
from airflow_mlops.governance.dossier import check_dossier
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ModelCardOperator
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

MLMODEL = """
flavors:
  python_function: {python_version: 3.11.7}
signature:
  inputs: '[{"type": "double", "name": "hour", "required": true}]'
"""
TEXT = {
    "intended_use": "Tells passengers how likely a delay is.",
    "out_of_scope": "Safety.",
    "limits": ["Knows no strikes."],
    "contact": "flights@example.com",
    "license": "apache-2.0",
}
IMAGE = "registry/trainer@sha256:" + "e" * 64
BILL = json.dumps({"components": [{"name": "python"}]}).encode()
HOLDOUT = {"uri": "file:///h", "digest": "sha256:" + "d" * 64, "format": "parquet", "size_bytes": 1, "rows": 4000}
TRAIN = {**HOLDOUT, "digest": "sha256:" + "c" * 64, "columns": {"hour": "double"}, "partition": "2013-01"}


@pytest.fixture
def store(artifact_root) -> ArtifactStore:
    return ArtifactStore(f"file://{artifact_root}")


@pytest.fixture
def model(artifact_root) -> dict[str, Any]:
    folder = artifact_root / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text(MLMODEL)
    (folder / "requirements.txt").write_text("scikit-learn==1.9.1\n")
    manifest = manifest_of(folder)
    found = ModelRef(uri=f"file://{folder}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)
    return encode(found)


@pytest.fixture
def release(store, artifact_root, model) -> list[str]:
    """Leave what a validation, a gate and a registration leave; return the digests of gate and registration."""
    report = {
        "target": "late",
        "confidence": 0.95,
        "days": 28,
        "candidate": {
            "rows": 4000,
            "positives": 200,
            "metrics": {"roc_auc": {"value": 0.7, "low": 0.69, "high": 0.71, "method": "made up"}},
        },
        "slices": [
            {
                "column": "origin",
                "value": "JFK",
                "candidate": {
                    "rows": 900,
                    "positives": 90,
                    "metrics": {"roc_auc": {"value": 0.6, "low": 0.5, "high": 0.7, "method": "made up"}},
                },
            }
        ],
    }
    path = artifact_root / "evaluation.json"
    path.write_text(json.dumps(report))
    evaluation = {"uri": f"file://{path}", "digest": manifest_of(path).digest}
    gate = {"candidate": model, "dataset": HOLDOUT, "evaluation": evaluation}
    registration = {"model": model, "datasets": {"train": [TRAIN], "holdout": HOLDOUT}}
    return [
        _decide(store, "gate", gate, CheckResult(name="roc_auc", verdict=Verdict.WARN, reason="close to its bound")),
        _decide(store, "registration", registration),
    ]


def _decide(store: ArtifactStore, decision: Any, references: dict[str, Any], *checks: CheckResult, **more: Any) -> str:
    given = {"subject": "m", "decided_at": 1.0, "verdict": Verdict.PASS, **more}
    who = Origin(dag_id="d", run_id="r", task_id=decision, try_number=1)
    document = Evidence(decision=decision, checks=checks, origin=who, references=references, **given)
    return store.write_evidence(document)[1]


@pytest.fixture
def write(run_dag, tmp_path, model):
    def run(**arguments: Any) -> Any:
        with DAG(f"card_{tmp_path.name}", schedule=None) as dag:
            ModelCardOperator(task_id="card", model_name="m", model=model, version="3", **arguments)
        return run_dag(dag)

    return run


def _text(found: dict[str, Any]) -> str:
    content = Path(found["uri"].removeprefix("file://")).read_bytes()
    assert f"sha256:{hashlib.sha256(content).hexdigest()}" == found["digest"]
    assert len(content) == found["size_bytes"]
    return content.decode()


def test_the_card_tells_what_others_have_left(write, store, artifact_root, model, release, tmp_path):
    store.write_bytes(BILL, "images", "sha256:" + "e" * 64, "bill", f"{hashlib.sha256(BILL).hexdigest()}.cdx.json")
    (tmp_path / "card.yaml").write_text(yaml.safe_dump(TEXT))
    run = write(card=str(tmp_path / "card.yaml"), image=IMAGE, git_revision="1" * 40)
    assert run.states == {"card": "success"}
    result = run.xcom("card")
    text = _text(result["card"]["markdown"])
    matter = yaml.safe_load(text.split("\n---\n")[0].removeprefix("---\n"))
    assert matter["license"] == "apache-2.0"
    figure = matter["model-index"][0]["results"][0]["metrics"][0]
    assert (figure["type"], figure["value"], figure["args"]["low"]) == ("roc_auc", 0.7, 0.69)
    assert "# m, version 3\n" in text
    for told in (
        "Tells passengers how likely a delay is.",
        "| train | 2013-01 | 4,000 | parquet | missing |",
        r"| roc\_auc | 0.7000 (0.6900 to 0.7100) |",
        "| origin=JFK | 900 | 0.6000 (0.5000 to 0.7000) |",
        "- Knows no strikes.",
        "- warn: close to its bound",
        "- `scikit-learn==1.9.1`",
        "| Python | `3.11.7` |",
        f"| image | `{IMAGE}` |",
        "- `hour: double`",
        "| cyclonedx-1.6-json | 1 |",
        "**Missing:** no person has approved the model",
        "**Missing:** no validation of the data train 2013-01",
        *release,
    ):
        assert told in text
    assert result["missing"] == ["data", "fairness", "approvals"]
    assert run.xcom("card", "verdict") == "warn"

    *_, document = store.read_evidence("m")
    assert (document.decision, document.verdict, document.notes["card"]) == ("card", Verdict.WARN, result["card"])
    assert digest(document) == result["evidence_digest"]
    assert document.references["model"]["digest"] == model["digest"]
    page = Path(result["report_uri"].removeprefix("file://")).read_text()
    assert page == _text(result["card"]["html"])
    assert "7 of 10" in page

    decisions = check_dossier(json.loads(_text(result["dossier"]["json"])))
    assert [digest(one) for one in decisions] == release
    assert "Every decision about the files" in _text(result["dossier"]["html"])


def test_the_same_card_is_on_record_once(write, store, release):
    first, second = write().xcom("card"), write().xcom("card")
    assert first["card"] == second["card"]
    assert (first["evidence_uri"], first["evidence_digest"]) == (second["evidence_uri"], second["evidence_digest"])
    assert [one.decision for one in store.read_evidence("m")] == ["gate", "registration", "card"]
    newer = _decide(store, "drift", {"model": store.read_evidence("m")[1].references["model"]})
    third = write().xcom("card")
    assert newer in _text(third["card"]["markdown"])
    assert third["card"] != first["card"]


def test_without_anything_all_is_missing(write, store):
    run = write()
    assert run.states == {"card": "success"}
    result = run.xcom("card")
    assert len(result["missing"]) == 10
    assert result["dossier"] == {}
    assert "**Missing:** there is no evidence about these files" in _text(result["card"]["markdown"])


def test_validations_belong_to_the_data(write, store, release):
    found = {}
    for one in (TRAIN, HOLDOUT):
        found[one["digest"]] = _decide(store, "validation", {"dataset": one}, subject="suite")
    uris = sorted(str(path) for path in Path(store.uri("evidence", "suite").removeprefix("file://")).glob("0*.json"))
    result = write(validation=[{"evidence_uri": f"file://{uri}"} for uri in uris]).xcom("card")
    text = _text(result["card"]["markdown"])
    assert "| suite: pass |" in text
    assert "data" not in result["missing"]
    assert all(one in text for one in found.values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"needs": ["everything"]}, "needs: ['everything'] is not accepted; expected some of 'intended_use'"),
        ({"needs": ["intended_use"]}, "the card lacks what it needs: card.intended_use: missing: nobody says what"),
        ({"card": {"intended_uses": "x"}}, "no such field; did you mean 'intended_use'?"),
        ({"card": "nowhere.yaml"}, "card: there is no file at"),
        ({"evaluation": {"evaluation_uri": "x"}}, "expected what EvaluateModelOperator returned"),
        ({"validation": {"verdict": "pass"}}, "expected what ValidateDataOperator returned"),
        ({"image": "trainer:latest"}, "image: 'trainer:latest' is not accepted"),
        ({"bills": {"bill": {"uri": "file:///b"}}}, "bill.digest: None is not accepted"),
    ],
)
def test_what_is_wrong_is_named(write, capsys, caplog, arguments, message):
    assert write(**arguments).states == {"card": "failed"}
    assert message in caplog.text + capsys.readouterr().out


def test_a_changed_evaluation_or_bill_is_no_source(write, store, artifact_root, release, capsys, caplog):
    uri = store.write_bytes(BILL, "bill.json")
    bill = {"uri": uri, "digest": "sha256:" + "0" * 64, "format": "f", "size_bytes": 1, "components": 1}
    assert write(bills={"bill": bill}).states == {"card": "failed"}
    evaluation = artifact_root / "evaluation.json"
    evaluation.write_text(evaluation.read_text().replace("0.7", "0.9"))
    assert write().states == {"card": "failed"}
    text = caplog.text + capsys.readouterr().out
    assert f"{uri}: digest is" in text
    assert "evaluation.json: digest is" in text
