"""Explaining through Airflow, in the real model environment, which has neither shap nor lime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import encode
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ExplainModelOperator, ModelGateOperator
from airflow_mlops.references import ModelRef

REPOSITORY = Path(__file__).parents[3]
POLICY = {"minimum_rows": {"rows": 500, "positives": 50}, "explanations": {"min_rank_agreement": 0.5}}
pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture
def common(artifact_root, model_python, small_model, monkeypatch, made_up_flights):
    """What every explanation is given: the candidate is the champion."""
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    directory, digest = small_model
    size = manifest_of(directory).size_bytes
    model = encode(ModelRef(uri=f"file://{directory}", digest=digest, format="mlflow", size_bytes=size))
    rows = encode(made_up_flights(2000, "2013-02", 2))
    return {"candidate": model, "champion": model, "dataset": rows, "target": "late", "model_name": "flights"}


def test_a_candidate_is_explained_and_the_gate_judges_its_agreement(run_dag, common, tmp_path):
    messages = []
    refused = {**common, "on_failure_callback": lambda context: messages.append(str(context["exception"]))}
    with DAG(f"explain_{tmp_path.name}", schedule=None) as dag:
        explained = ExplainModelOperator(
            task_id="explain",
            explanations={"rows": 500, "local": 2},
            error_examples={"columns": ["origin"], "rows": 2},
            **common,
        )
        ExplainModelOperator(task_id="shap", explanations={"method": "shap"}, **refused)
        ExplainModelOperator(task_id="refused", diagnostics={"calibration": {}}, **refused)
        ModelGateOperator(task_id="gate", evaluation=explained.output, policy=POLICY, model_name="flights")
    run = run_dag(dag)
    assert run.states == {"explain": "success", "gate": "success", "shap": "failed", "refused": "failed"}

    result = run.xcom("explain")
    report = parse_report(Path(result["evaluation_uri"].removeprefix("file://")).read_text())
    assert report.diagnostics is not None
    found = report.diagnostics.explanations
    assert found is not None
    assert found.agreement is not None
    assert found.agreement.rank_correlation.value == pytest.approx(1.0)
    assert len(found.errors) == 2
    checks = {one["name"]: one["verdict"] for one in run.xcom("gate")["checks"]}
    assert checks["explanations.rank_agreement"] == "pass"

    page = Path(result["report_uri"].removeprefix("file://")).read_text()
    assert "<h2>What it goes by</h2>" in page
    assert "<h2>The worst errors</h2>" in page
    assert run.xcom("explain", key="_link_ReportLink").endswith("/explain/-1/evaluation")
    assert "EWR" not in json.dumps(result)

    assert any("needs the package shap" in one and "explanations-requirements.txt" in one for one in messages)
    assert any("diagnostics: {'calibration': {}} is not accepted" in one for one in messages)
