"""What the gate leaves behind: how often its data decided, pages also of errors, and where it goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.sdk import DAG, task

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.evaluations import past_gates
from airflow_mlops.links.base import report_url
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators import ModelGateOperator

POLICY = {
    "minimum_rows": {"rows": 500, "positives": 50},
    "absolute": [{"metric": "roc_auc", "minimum": 0.6}],
    "holdout": {"max_uses": 2, "on_reuse": "fail"},
}


@pytest.fixture
def judge(run_dag, artifact_root, tmp_path):
    numbers = iter(range(100))

    def run(candidate, *, auc=0.7, change=None, confidence=0.95, **arguments):
        number = next(numbers)
        given = _evaluation(artifact_root / f"report-{number}.json", candidate, auc, confidence)
        if change:
            change(given)
        with DAG(f"gate_{tmp_path.name}_{number}", schedule=None) as dag:
            gate = ModelGateOperator(
                task_id="gate", evaluation=given, **{"policy": POLICY, "model_name": "m", **arguments}
            )

            @task
            def release():
                return "released"

            @task
            def tell():
                return "told"

            gate >> [release(), tell()]
        return run_dag(dag)

    return run


def _page(run) -> str:
    return Path(run.xcom("gate")["report_uri"].removeprefix("file://")).read_text()


def test_the_evidence_says_how_many_candidates_the_same_data_decided_about(judge, artifact_root):
    runs = [judge(candidate) for candidate in ("a", "b", "b", "c")]
    assert [run.states["gate"] for run in runs] == ["success", "success", "success", "failed"]
    store = ArtifactStore(f"file://{artifact_root}")
    assert [one.notes["holdout"]["uses"] for one in store.read_evidence("m")] == [1, 2, 2, 3]
    assert [one.uses for one in past_gates(store, "m")] == [1, 2, 2, 3]
    page = _page(runs[-1])
    assert "these data have decided about 3 candidates; the policy allows 2: take data that no" in page
    assert "<b>3</b> candidates judged on these data" in page


def test_the_page_shows_the_policy_and_links_the_evaluations_page(judge, artifact_root):
    store = ArtifactStore(f"file://{artifact_root}")
    context = {"ti": _Ti(dag_id="ct", run_id="manual__1+00:00", task_id="evaluate", map_index=-1, try_number=1)}
    uri = store.write_report(context, "evaluation", "<h1>numbers</h1>")
    page = _page(judge("a", change=lambda given: given.update(report_uri=uri)))
    assert "holdout:\n  max_uses: 2\n  on_reuse: fail" in page
    from airflow_mlops.hooks.artifacts import origin

    assert f'<a href="{report_url(origin(context), "evaluation")}">' in page
    elsewhere = _page(judge("a", change=lambda given: given.update(report_uri="file:///elsewhere/x.html")))
    assert "own page</a>" not in elsewhere


class TestErrors:
    def test_another_confidence_has_a_page(self, judge):
        run = judge("a", confidence=0.9)
        assert run.states["gate"] == "failed"
        assert run.xcom("gate")["verdict"] == "error"
        assert "The candidate could not be judged." in _page(run)
        assert "intervals cover 0.9, but the policy asks for 0.95" in _page(run)

    def test_an_evaluation_that_changed_has_a_page_and_evidence(self, judge, artifact_root):
        def forge(given):
            path = Path(given["evaluation_uri"].removeprefix("file://"))
            path.write_text(path.read_text().replace("0.7", "0.9"))

        run = judge("a", change=forge, on_fail="skip")
        assert run.states["gate"] == "failed"
        assert "The candidate could not be judged." in _page(run)
        assert "the content changed" in _page(run)
        (document,) = ArtifactStore(f"file://{artifact_root}").read_evidence("m")
        assert document.verdict.value == "error"
        assert judge("b").states["gate"] == "success"
        assert ArtifactStore(f"file://{artifact_root}").read_evidence("m")[-1].notes["holdout"]["uses"] == 1


@pytest.mark.parametrize(("auc", "release", "tell"), [(0.7, "success", "skipped"), (0.5, "skipped", "success")])
def test_branch(judge, auc, release, tell):
    run = judge("a", auc=auc, on_fail="branch", pass_task_ids="release", fail_task_ids=["tell"])
    assert run.states == {"gate": "success", "release": release, "tell": tell}
    assert run.xcom("gate", "verdict") == ("pass" if auc == 0.7 else "fail")


class _Ti:
    def __init__(self, **given):
        self.__dict__.update(given)


def _evaluation(path: Path, candidate: str, auc: float, confidence: float):
    estimate = {"value": auc, "low": auc - 0.01, "high": auc + 0.01, "method": "made up"}
    report = {
        "target": "late",
        "confidence": confidence,
        "days": 28,
        "candidate": {"rows": 4000, "positives": 200, "metrics": {"roc_auc": estimate}},
        "reference": {"rows": 1, "label_rate": 0.2, "mean_prediction": 0.2, "brier": 0.1, "by_day": []},
    }
    path.write_text(json.dumps(report))
    reference = {"uri": "file:///m", "digest": f"sha256:{candidate}", "format": "mlflow", "size_bytes": 1}
    return {
        "evaluation_uri": f"file://{path}",
        "evaluation_digest": manifest_of(path).digest,
        "candidate": reference,
        "dataset": {**reference, "digest": "sha256:april"},
    }
