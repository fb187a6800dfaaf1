from __future__ import annotations

import json
from pathlib import Path

import pytest

import airflow_mlops.schemas
from airflow_mlops.codec import encode
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.schemas import load_schema, names
from airflow_mlops.schemas.generate import DOCUMENTS, schema_of
from airflow_mlops.verdict import CheckResult, Verdict

DOCUMENT = encode(
    Evidence(
        decision="gate",
        subject="flights",
        verdict=Verdict.PASS,
        checks=(CheckResult(name="rows", verdict=Verdict.PASS, reason="10 rows", low=1.0),),
        origin=Origin(dag_id="d", run_id="r", task_id="t", try_number=1),
        decided_at=1.5,
    )
)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_files_say_what_the_code_says(name):
    """After a change: python -m airflow_mlops.schemas.generate; a released form gets a new number instead."""
    file = Path(airflow_mlops.schemas.__file__).with_name(f"{name}.json")
    assert json.loads(file.read_text()) == json.loads(json.dumps(schema_of(DOCUMENTS[name], name)))


def test_every_schema_can_be_loaded():
    assert set(names()) == set(DOCUMENTS)
    assert load_schema("evidence-1")["title"] == "evidence-1"
    with pytest.raises(SpecificationError, match="schema: 'evidence-9' is not accepted; expected one of dataset-ref-1"):
        load_schema("evidence-9")


def test_a_real_document_fits_and_a_wrong_one_does_not():
    jsonschema = pytest.importorskip("jsonschema")
    validator = jsonschema.Draft202012Validator(load_schema("evidence-1"))
    validator.validate(DOCUMENT)
    for wrong in (
        DOCUMENT | {"extra": 1},
        DOCUMENT | {"verdict": "great"},
        DOCUMENT | {"evidence_version": 2},
        {key: value for key, value in DOCUMENT.items() if key != "origin"},
    ):
        assert not validator.is_valid(wrong)


def test_policies_fit_their_schema_and_misspelt_ones_do_not():
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    validator = jsonschema.Draft202012Validator(load_schema("gate-policy-1"))
    file = Path(__file__).parents[2] / "dags/flights/gate.yaml"
    policy = yaml.safe_load(file.read_text())
    validator.validate(policy)
    validator.validate(encode(parse_policy(policy)))
    rule = {"metric": "roc_auc", "margin": 0.05}
    validator.validate(policy | {"slices": [rule | {"correction": "none", "columns": ["origin"]}]})
    for wrong in (
        policy | {"slice": [rule]},
        policy | {"slices": [rule | {"corection": "none"}]},
        policy | {"slices": [rule | {"correction": "bonferroni"}]},
        policy | {"superiority": [{"metric": "roc_auc", "severity": "warning"}]},
        policy | {"policy_version": 2},
    ):
        assert not validator.is_valid(wrong)
        with pytest.raises(SpecificationError):
            parse_policy(wrong)
