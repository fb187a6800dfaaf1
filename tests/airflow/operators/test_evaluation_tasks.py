"""Regression and ranking through Airflow, with real models in the real model environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import encode
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import EvaluateModelOperator, ModelGateOperator
from airflow_mlops.operators.evaluation import what_to_measure
from airflow_mlops.references import DatasetRef, ModelRef

SCRIPT = Path(__file__).parents[2] / "stack" / "make_regressor.py"
ROWS = {"minimum_rows": {"rows": 1000}}


@pytest.fixture
def made(model_python, tmp_path, artifact_root, monkeypatch):
    """Return references of a good and a bad model and of data for them."""
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    folder = tmp_path / "made"
    subprocess.run([model_python, SCRIPT, folder], check=True, capture_output=True, text=True, timeout=120)

    def named(kind, name, **more):
        manifest = manifest_of(folder / name)
        return encode(
            kind(uri=f"file://{folder / name}", digest=manifest.digest, size_bytes=manifest.size_bytes, **more)
        )

    return {
        "good": named(ModelRef, "good", format="mlflow"),
        "bad": named(ModelRef, "bad", format="mlflow"),
        "data": named(DatasetRef, "test.parquet", format="parquet", rows=3000),
    }


def operator(task_id="evaluate", **arguments):
    return EvaluateModelOperator(task_id=task_id, model_name="minutes", **arguments)


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_a_regression_and_a_ranking_are_measured_and_judged(made, run_dag, tmp_path, capsys, caplog):
    models = {"candidate": made["good"], "champion": made["bad"], "dataset": made["data"], "target": "minutes"}
    with DAG(f"tasks_{tmp_path.name}", schedule=None) as dag:
        regression = operator("regression", **models, task="regression", slices=["carrier", ["carrier", "origin"]])
        ranking = operator("ranking", **models, task="ranking", group_column="board", metric_options={"cutoff": 5})
        classification = operator("classification", **{**models, "target": "late"})
        better = {"superiority": [{"metric": "rmse"}], "slices": [{"metric": "mae", "margin": 0.5}]}
        ModelGateOperator(task_id="by_size", evaluation=regression.output, policy={**better, **ROWS}, model_name="m")
        ordered = {"non_inferiority": [{"metric": "ndcg", "margin": 0.01}], **ROWS}
        ModelGateOperator(task_id="by_order", evaluation=ranking.output, policy=ordered, model_name="m")
        wrong = {"absolute": [{"metric": "roc_auc", "minimum": 0.6}], **ROWS}
        ModelGateOperator(task_id="by_class", evaluation=ranking.output, policy=wrong, model_name="m")
    del classification
    run = run_dag(dag)
    assert run.states == {
        "regression": "success",
        "ranking": "success",
        "classification": "failed",
        "by_size": "success",
        "by_order": "success",
        "by_class": "failed",
    }
    told = caplog.text + capsys.readouterr().out
    assert "the task is 'classification', but the candidate, Pipeline, foretells numbers" in told
    assert (
        "the evaluation was of the task 'ranking', which does not measure roc_auc; it measures ndcg, mrr, map" in told
    )

    report = parse_report(Path(run.xcom("regression")["evaluation_uri"].removeprefix("file://")).read_text())
    assert (report.task, report.reference, report.candidate.positives) == ("regression", None, 0)
    assert 7 < report.candidate.metrics["rmse"].value < 9 < report.champion.metrics["rmse"].value
    assert [part.name for part in report.slices][2:] == [
        f"carrier={carrier}, origin={origin}" for carrier in ("AA", "DL") for origin in ("EWR", "JFK")
    ]
    order = parse_report(Path(run.xcom("ranking")["evaluation_uri"].removeprefix("file://")).read_text())
    assert set(order.candidate.metrics) == {"ndcg", "mrr", "map"}
    assert order.differences["ndcg"].low > 0
    assert order.days == 28
    for task_id in ("by_size", "by_order"):
        page = Path(run.xcom(task_id)["report_uri"].removeprefix("file://")).read_text()
        assert "The candidate may go on." in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "clustering"}, r"evaluation\.task: 'clustering' .* one of 'classification', 'regression', 'ranking'"),
        ({"task": "ranking"}, "group_column: None"),
        ({"metric_options": {"treshold": 0.3}}, r"metric_options\.treshold: 0\.3 .* one of threshold, cutoff"),
        ({"metric_options": {"block": "week"}}, r"evaluation\.block: 'week' .* one of 'entity', 'time'"),
        ({"slices": "carrier"}, r"slices: 'carrier' .* a list"),
        ({"slices": [["a", "b", "c"]]}, "a pair of two columns"),
    ],
)
def test_wrong_arguments_are_named(arguments, message):
    given = operator(**{"candidate": {}, "dataset": {}, "target": "late", **arguments})
    with pytest.raises(SpecificationError, match=message):
        what_to_measure(given)


def test_images_from_before_are_asked_only_what_they_know():
    given = operator(candidate={}, dataset={}, target="late", slices=["origin"])
    assert what_to_measure(given) == {
        "target": "late",
        "day_column": "date",
        "slices": ["origin"],
        "minimum_slice_rows": 200,
        "confidence": 0.95,
        "threshold": 0.5,
    }
    asked = what_to_measure(
        operator(
            candidate={},
            dataset={},
            target="late",
            slices=[["carrier", "origin"]],
            metric_options={"threshold": 0.3, "block": "time", "block_length": 7},
        )
    )
    assert asked["slices"] == [["carrier", "origin"]]
    assert (asked["threshold"], asked["block"], asked["block_length"]) == (0.3, "time", 7)
    assert "task" not in asked
