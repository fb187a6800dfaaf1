from __future__ import annotations

import pytest

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.governance.lineage import gate_check, lineage_tags, summary_metrics
from airflow_mlops.governance.versions import ModelVersion, model_from_tags, model_tags
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import Verdict

DIGEST = "sha256:" + "a" * 64
MODEL = ModelRef(uri="file:///m", digest=DIGEST, format="mlflow", size_bytes=12)


def _gate(**changes) -> Evidence:
    values = {
        "decision": "gate",
        "subject": "flights",
        "verdict": Verdict.PASS,
        "checks": (),
        "origin": Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        "decided_at": 1.0,
        "references": {"candidate": {"digest": DIGEST}},
    }
    return Evidence(**(values | changes))


def test_data_evaluation_and_gate_become_tags():
    tags = lineage_tags(
        {"train": [{"digest": "sha256:1", "partition": "2013-01"}, {"digest": "sha256:2"}], "holdout": {"digest": "x"}},
        {"evaluation_uri": "file:///e", "evaluation_digest": "sha256:3"},
        {"verdict": "pass", "evidence_digest": "sha256:4"},
    )
    assert tags == {
        "mlops.dataset.train": "sha256:1, sha256:2",
        "mlops.partitions.train": "2013-01",
        "mlops.dataset.holdout": "x",
        "mlops.evaluation_uri": "file:///e",
        "mlops.evaluation_digest": "sha256:3",
        "mlops.gate_verdict": "pass",
        "mlops.gate_evidence": "sha256:4",
    }
    assert lineage_tags(None, None, None) == {}


def test_a_dataset_without_a_digest_is_refused():
    with pytest.raises(SpecificationError, match=r"datasets\.train: \{'uri': 'x'\} is not accepted; expected an encod"):
        lineage_tags({"train": {"uri": "x"}}, None, None)


def test_numbers_of_the_summary_become_metrics():
    summary = {"roc auc": {"candidate": 0.7, "low": float("nan")}, "rows": 10, "ok": True, "by": [1, 2], "a(b)": 1}
    assert summary_metrics({"summary": summary}) == {"roc auc.candidate": 0.7, "rows": 10.0, "a_b_": 1.0}
    assert summary_metrics(None) == {}


def test_a_passed_gate_about_this_model_lets_it_in():
    (check,) = gate_check(_gate(verdict=Verdict.WARN), MODEL)
    assert check.verdict is Verdict.WARN
    assert gate_check(None, MODEL) == ()


def test_where_a_person_was_asked_only_their_approval_lets_it_in():
    asks = {"asks": {"until": "noon", "assigned_users": []}}
    with pytest.raises(ContractError, match="it asked a person, and this is not the evidence of their approval"):
        gate_check(_gate(verdict=Verdict.PASS, notes=asks), MODEL)
    (check,) = gate_check(_gate(verdict=Verdict.WARN, decision="approval"), MODEL)
    assert check.verdict is Verdict.WARN


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"verdict": Verdict.FAIL}, "its verdict is 'fail'; only 'pass' and 'warn' register"),
        ({"verdict": Verdict.INCONCLUSIVE}, "its verdict is 'inconclusive'"),
        ({"verdict": Verdict.ERROR}, "its verdict is 'error'"),
        ({"decision": "drift"}, "its evidence is of the kind 'drift', not 'gate'"),
        ({"references": {"candidate": {"digest": "sha256:b"}}}, "is about the model sha256:b, but sha256:a"),
        ({"references": {}}, "is about the model None"),
    ],
)
def test_no_other_evidence_does(changes, message):
    with pytest.raises(ContractError, match=message):
        gate_check(_gate(**changes), MODEL)


def test_a_model_comes_back_from_its_tags():
    assert model_from_tags(model_tags(MODEL), "version 1") == MODEL


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ({"mlops.model_digest": "md5:1"}, r"version 1 of 'm': its tags do not name a model: ModelRef\.digest"),
        ({"mlops.model_size_bytes": "many"}, "its tags do not name a model: invalid literal"),
    ],
)
def test_damaged_tags_are_named(damage, message):
    with pytest.raises(ContractError, match=message):
        model_from_tags(model_tags(MODEL) | damage, "version 1 of 'm'")


def test_a_version_needs_a_name_and_a_number():
    with pytest.raises(SpecificationError, match="the name of a registered model"):
        ModelVersion(name="", version="1", model=MODEL)
    with pytest.raises(SpecificationError, match="a version number such as '3'"):
        ModelVersion(name="m", version="", model=MODEL)
