"""Explaining through Airflow, in the real model environment, which has neither shap nor lime."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import encode
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.operators import ExplainModelOperator, ModelGateOperator, TrainLocallyOperator

SCRIPT = str(Path(__file__).parents[3] / "dags/flights/train.py")
POLICY = {"minimum_rows": {"rows": 500, "positives": 50}, "explanations": {"min_rank_agreement": 0.5}}


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_candidate_is_explained_and_the_gate_judges_its_agreement(
    run_dag, artifact_root, model_python, monkeypatch, tmp_path, made_up_flights
):
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    messages = []
    rows = encode(made_up_flights(4000, "2013-02", 2))
    with DAG(f"explain_{tmp_path.name}", schedule=None) as dag:
        trained = TrainLocallyOperator(
            task_id="train",
            entrypoint=SCRIPT,
            datasets={"train": [encode(made_up_flights(4000, "2013-01", 1))]},
            model_name="flights",
        )
        common = {
            "candidate": trained.output["model"],
            "champion": trained.output["model"],
            "dataset": rows,
            "target": "late",
            "model_name": "flights",
        }
        explained = ExplainModelOperator(
            task_id="explain",
            explanations={"rows": 500, "local": 2},
            error_examples={"columns": ["origin"], "rows": 2},
            **common,
        )
        ExplainModelOperator(
            task_id="shap",
            explanations={"method": "shap"},
            on_failure_callback=lambda context: messages.append(str(context["exception"])),
            **common,
        )
        ExplainModelOperator(
            task_id="refused",
            diagnostics={"calibration": {}},
            on_failure_callback=lambda context: messages.append(str(context["exception"])),
            **common,
        )
        ModelGateOperator(task_id="gate", evaluation=explained.output, policy=POLICY, model_name="flights")
    run = run_dag(dag)
    assert run.states == {
        "train": "success", "explain": "success", "gate": "success", "shap": "failed", "refused": "failed"
    }  # fmt: skip

    result = run.xcom("explain")
    report = parse_report(Path(result["evaluation_uri"].removeprefix("file://")).read_text())
    assert report.diagnostics is not None
    found = report.diagnostics.explanations
    assert found is not None
    assert found.agreement is not None
    assert found.agreement.rank_correlation.value == 1.0
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
