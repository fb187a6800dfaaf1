"""Training, evaluating and judging through Airflow, in the real model environment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG, task
from airflow.serialization.serialized_objects import DagSerialization

from airflow_mlops.codec import encode
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import EvaluateModelOperator, ModelGateOperator, TrainLocallyOperator

REPOSITORY = Path(__file__).parents[3]
SCRIPT = str(REPOSITORY / "dags/flights/train.py")
POLICY = {
    "minimum_rows": {"rows": 500, "positives": 50},
    "absolute": [{"metric": "roc_auc", "minimum": 0.6}],
    "non_inferiority": [{"metric": "roc_auc", "margin": 0.05}, {"metric": "brier", "margin": 0.02}],
}


@pytest.fixture
def pipeline(run_dag, artifact_root, model_python, monkeypatch, tmp_path, made_up_flights):
    """Train, evaluate and judge; returns the run."""
    monkeypatch.setenv("AIRFLOW__MLOPS__MODEL_PYTHON", str(model_python))
    train = encode(made_up_flights(6000, "2013-01", 1))
    test = encode(made_up_flights(4000, "2013-02", 2))

    def run(name, *, parameters=None, champion=None):
        with DAG(f"{name}_{tmp_path.name}", schedule=None) as dag:
            trained = TrainLocallyOperator(
                task_id="train",
                entrypoint=SCRIPT,
                datasets={"train": [train]},
                parameters=parameters,
                model_name="flights",
            )
            evaluated = EvaluateModelOperator(
                task_id="evaluate",
                candidate=trained.output["model"],
                champion=champion,
                dataset=test,
                target="late",
                model_name="flights",
                slices=["origin"],
            )
            gate = ModelGateOperator(task_id="gate", evaluation=evaluated.output, policy=POLICY, model_name="flights")

            @task
            def release():
                return "released"

            gate >> release()
        return run_dag(dag)

    return run


@pytest.mark.stack
@pytest.mark.timeout(300)
def test_first_release_then_a_worse_candidate(pipeline, artifact_root, tmp_path, capsys, caplog):
    first = pipeline("first")
    assert set(first.states.values()) == {"success"}
    assert first.xcom("gate")["verdict"] == "warn"
    reasons = {check["name"]: check["reason"] for check in first.xcom("gate")["checks"]}
    assert reasons["brier.non_inferiority"] == "first release: no champion to compare with"

    evaluated = first.xcom("evaluate")
    report = parse_report(Path(evaluated["evaluation_uri"].removeprefix("file://")).read_text())
    assert report.candidate.rows == 4000
    assert report.smoke_difference <= 1e-9
    assert {part.value for part in report.slices} == {"EWR", "JFK", "LGA"}
    assert evaluated["summary"]["candidate"]["roc_auc"] == report.candidate.metrics["roc_auc"].value > 0.6
    assert evaluated["dataset"]["partition"] == "2013-02"
    page = Path(evaluated["report_uri"].removeprefix("file://")).read_text()
    assert "There is no champion to compare with." in page
    assert evaluated["evaluation_digest"] in page
    assert first.xcom("evaluate", key="_link_ReportLink").endswith("/evaluate/-1/evaluation")
    assert len(json.dumps(first.xcom("gate"))) < 3000

    capsys.readouterr()
    caplog.clear()
    worse = pipeline("worse", champion=first.xcom("train")["model"], parameters={"label_noise": 0.5})
    assert worse.states == {"train": "success", "evaluate": "success", "gate": "failed", "release": "upstream_failed"}
    text = caplog.text + capsys.readouterr().out
    assert "the gate does not let this candidate for flights pass: roc_auc 0." in text
    assert "missed by the whole interval [fail]" in text
    assert "against the champion; margin -0.05: worse by more than the margin [fail]" in text
    assert worse.xcom("gate")["verdict"] == "fail"

    chain = ArtifactStore(f"file://{artifact_root}").read_evidence("flights")
    assert [(one.decision, one.verdict.value) for one in chain] == [("gate", "warn"), ("gate", "fail")]
    assert chain[1].references["champion"] == first.xcom("train")["model"]
    assert chain[1].references["candidate"] == worse.xcom("train")["model"]
    page = Path(worse.xcom("gate")["report_uri"].removeprefix("file://")).read_text()
    assert "The candidate is not good enough." in page
    assert "/mlops/reports/" in worse.xcom("gate", key="_link_ReportLink")


class TestGateAlone:
    """The gate on reports that are there or not; no model environment needed."""

    @pytest.fixture
    def judge(self, run_dag, artifact_root, tmp_path):
        numbers = iter(range(100))

        def run(evaluation=None, *, policy=POLICY, on_fail="fail", **changes):
            given = evaluation or _evaluation(artifact_root, **changes)
            with DAG(f"gate_{tmp_path.name}_{next(numbers)}", schedule=None) as dag:
                gate = ModelGateOperator(
                    task_id="gate", evaluation=given, policy=policy, model_name="m", on_fail=on_fail
                )

                @task
                def release():
                    return "released"

                gate >> release()
            return run_dag(dag)

        return run

    def test_policy_may_be_a_file(self, judge, tmp_path):
        file = tmp_path / "gate.yaml"
        file.write_text("absolute:\n  - {metric: roc_auc, minimum: 0.6}\n")
        run = judge(policy=str(file))
        assert run.states == {"gate": "success", "release": "success"}
        assert run.xcom("gate")["verdict"] == "pass"

    def test_skip_skips_what_follows(self, judge):
        run = judge(on_fail="skip", auc=0.3)
        assert run.states == {"gate": "skipped", "release": "skipped"}
        assert run.xcom("gate")["verdict"] == "fail"

    def test_thin_evidence_does_not_pass(self, judge, capsys, caplog):
        run = judge(rows=100)
        assert run.states["gate"] == "failed"
        assert run.xcom("gate")["verdict"] == "inconclusive"
        assert "100 rows; the policy asks for 500, 400 more [inconclusive]" in caplog.text + capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"policy": {"absolut": []}}, "policy.absolut: [] is not accepted; expected no such field; did you mean"),
            ({"policy": "nowhere.yaml"}, "policy: there is no file at"),
            ({"on_fail": "warn"}, "on_fail: 'warn' is not accepted; expected one of 'fail', 'skip'"),
            ({"evaluation": {"evaluation_uri": "x"}}, "evaluation.evaluation_digest: None is not accepted"),
        ],
    )
    def test_wrong_arguments_are_named(self, judge, capsys, caplog, arguments, message):
        assert judge(**arguments).states["gate"] == "failed"
        assert message in caplog.text + capsys.readouterr().out

    def test_changed_report_is_not_judged(self, judge, artifact_root, capsys, caplog):
        given = _evaluation(artifact_root)
        path = Path(given["evaluation_uri"].removeprefix("file://"))
        path.write_text(path.read_text().replace("0.7", "0.9"))
        assert judge(given).states["gate"] == "failed"
        assert (
            f"{given['evaluation_digest']} was expected; the content changed" in caplog.text + capsys.readouterr().out
        )


def test_operators_survive_serialisation():
    with DAG("serialised", schedule=None) as dag:
        evaluated = EvaluateModelOperator(
            task_id="evaluate", candidate={"uri": "x"}, dataset=[{"uri": "x"}], target="late", model_name="m"
        )
        ModelGateOperator(task_id="gate", evaluation=evaluated.output, policy=POLICY, model_name="m")
    assert sorted(DagSerialization.from_dict(DagSerialization.to_dict(dag)).task_ids) == ["evaluate", "gate"]


def _evaluation(root, *, auc=0.7, rows=4000):
    estimate = {"value": auc, "low": auc - 0.01, "high": auc + 0.01, "method": "made up"}
    report = {
        "target": "late",
        "confidence": 0.95,
        "days": 28,
        "candidate": {"rows": rows, "positives": 200, "metrics": {"roc_auc": estimate}},
        "champion": {"rows": rows, "positives": 200, "metrics": {"roc_auc": estimate}},
        "differences": {
            name: {"value": 0.0, "low": -0.001, "high": 0.001, "method": "made up"} for name in ("roc_auc", "brier")
        },
        "reference": {"rows": 1, "label_rate": 0.2, "mean_prediction": 0.2, "brier": 0.1, "by_day": []},
    }
    path = root / "report.json"
    path.write_text(json.dumps(report))
    digest = manifest_of(path).digest
    candidate = {"uri": "file:///m", "digest": digest, "format": "mlflow", "size_bytes": 1}
    return {"evaluation_uri": f"file://{path}", "evaluation_digest": digest, "candidate": candidate, "dataset": None}
