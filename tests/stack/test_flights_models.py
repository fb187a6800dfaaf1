"""The flights training script and the evaluation, as jobs in the model environment."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_mlops.adapters.jobs.local_process import LocalProcessRunner
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.container.smoke import read_sample
from airflow_mlops.evaluation.report import parse_report
from airflow_mlops.exceptions import PermanentAdapterError
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import ModelRef
from airflow_mlops.training.contract import JobRequest, Tracking
from airflow_mlops.training.ports import JobPhase

SCRIPT = str(Path(__file__).parents[2] / "dags/flights/train.py")
EVALUATE = "airflow_mlops.container.evaluate"

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def run_job(model_python, tmp_path_factory):
    """Run a job to its end and return its directory and result."""

    def run(entrypoint, **fields):
        job = tmp_path_factory.mktemp("job")
        request = JobRequest(
            **{"kind": "train", "job_id": job.name, "output_uri": f"file://{job}", **fields},
        )
        runner = LocalProcessRunner(model_python)
        environment = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_DISABLE_TELEMETRY": "true"}
        runner.start(job, request, entrypoint, environment)
        while runner.phase(job) is JobPhase.RUNNING:
            time.sleep(0.05)
        return job, runner.collect(job)

    return run


@pytest.fixture(scope="module")
def trained(run_job, made_up_flights):
    """A trained model."""
    rows = made_up_flights(6000, "2013-01", 1)
    job, result = run_job(SCRIPT, datasets={"train": (rows,)}, parameters={"max_iter": 20})
    return job, result, model_ref(job)


def model_ref(job):
    manifest = manifest_of(job / "model")
    return ModelRef(uri=f"file://{job}/model", digest=manifest.digest, format="mlflow", size_bytes=manifest.size_bytes)


def test_training_leaves_a_model_with_its_sample_and_its_requirements(trained):
    job, result, _ = trained
    assert result.artifacts == {"model": "model", "smoke": "model/smoke.json"}
    assert 0.6 < result.metrics["roc_auc"] < 1
    assert result.summary["rows"] == 6000
    sample = read_sample(job / "model")
    assert len(sample.rows) == 20
    assert any(row["temp"] is None for row in sample.rows)
    requirements = (job / "model/requirements.txt").read_text()
    assert "scikit-learn==" in requirements
    assert "skops==" in requirements
    assert "training on 6000 flights" in JobDirectory(job).log_tail()


def test_tracking_that_was_asked_for_and_fails_is_an_error(run_job, made_up_flights, free_port):
    tracking = Tracking(uri=f"http://127.0.0.1:{free_port}", run_id="r")
    with pytest.raises(PermanentAdapterError, match=rf"MlflowException: .*{free_port}.*refused"):
        run_job(
            SCRIPT,
            datasets={"train": (made_up_flights(300, "2013-01", 1),)},
            tracking=tracking,
            parameters={"max_iter": 1},
        )


def test_evaluation_compares_two_models_on_the_same_rows(run_job, trained, made_up_flights):
    _, _, model = trained
    job, result = run_job(
        EVALUATE,
        kind="evaluate",
        datasets={"test": (made_up_flights(3000, "2013-02", 2),)},
        models={"candidate": model, "champion": model},
        parameters={"target": "late", "slices": ["origin"]},
    )
    report = parse_report((job / result.artifacts["report"]).read_text())
    assert report.smoke_difference <= 1e-9
    assert report.candidate == report.champion
    assert {found.value for found in report.differences.values()} == {0.0}
    assert {part.value for part in report.slices} == {"EWR", "JFK", "LGA"}
    assert result.metrics["roc_auc"] == report.candidate.metrics["roc_auc"].value > 0.6


# Each case breaks one thing; all run in one process, because starting one takes longer than failing.
BROKEN = {
    "unknown parameter": (
        {"parameters": {"max_iters": 5}},
        r"max_iters: 5 .* did you mean 'max_iter'\? One of max_iter, learning_rate, .*label_noise",
    ),
    "parameter of a wrong type": (
        {"parameters": {"max_iter": "5"}},
        r"parameters\.max_iter: '5' is not accepted; expected a value of type int",
    ),
    "impossible noise": (
        {"parameters": {"label_noise": 2}},
        r"parameters\.label_noise: 2 is not accepted; expected a share between 0 and 1",
    ),
    "training without columns": (
        {"change": lambda rows: rows.drop(columns=["temp", "late"])},
        "the training data lack the columns temp, late",
    ),
    "training on one class": (
        {"change": lambda rows: rows.assign(late=0)},
        "the column late must hold both 0 and 1; 300 rows hold only one value",
    ),
    "evaluation without labels": (
        {"evaluate": True, "change": lambda rows: rows.drop(columns="late")},
        "the data lack the columns late; they have flight_id, date",
    ),
    "evaluation on nothing": (
        {"evaluate": True, "change": lambda rows: rows.iloc[:0]},
        "there are no rows to evaluate on",
    ),
    "unlabelled rows": (
        {"evaluate": True, "change": lambda rows: rows.assign(late=None)},
        "300 of 300 rows have no label in the column late",
    ),
    "labels that are none": (
        {"evaluate": True, "change": lambda rows: rows.assign(late=2)},
        "labels must be 0 or 1; found 2",
    ),
    "evaluation without a feature": (
        {"evaluate": True, "change": lambda rows: rows.drop(columns="visib")},
        "the model needs the columns visib, which the rows do not have",
    ),
    "text where numbers belong": (
        {"evaluate": True, "change": lambda rows: rows.assign(temp="warm")},
        "column temp must be double",
    ),
    "unknown evaluation setting": (
        {"evaluate": True, "parameters": {"slice": ["origin"]}},
        r"parameters\.slice: .* did you mean 'slices'\?",
    ),
    "another model": (
        {"evaluate": True, "digest": "sha256:" + "0" * 64},
        r"DigestMismatchError: .*/model: digest is sha256:.* was expected",
    ),
}
IN_TURN = """
import os, runpy, sys
for pair in sys.argv[1:]:
    entrypoint, directory = pair.split("|")
    os.environ["MLOPS_JOB_DIRECTORY"] = directory
    run = runpy.run_path if entrypoint.endswith(".py") else runpy.run_module
    try:
        run(entrypoint, run_name="__main__")
    except Exception as error:
        print(type(error).__name__)
"""


@pytest.fixture(scope="module")
def complaints(model_python, trained, made_up_flights, tmp_path_factory):
    """What each broken job said."""
    folder, pairs = tmp_path_factory.mktemp("broken"), []
    for name, (case, _) in BROKEN.items():
        directory = JobDirectory(folder / name)
        directory.path.mkdir()
        rows = made_up_flights(300, "2013-03", 3, name=name, change=case.get("change"))
        model = replace(trained[2], digest=case.get("digest", trained[2].digest))
        evaluate = "evaluate" in case
        directory.prepare(
            JobRequest(
                kind="evaluate" if evaluate else "train",
                job_id=name,
                output_uri=f"file://{directory.path}",
                datasets={"test" if evaluate else "train": (rows,)},
                models={"candidate": model} if evaluate else {},
                parameters={**({"target": "late"} if evaluate else {}), **case.get("parameters", {})},
            )
        )
        pairs.append(f"{EVALUATE if evaluate else SCRIPT}|{directory.path}")
    subprocess.run([model_python, "-c", IN_TURN, *pairs], check=True, timeout=200)
    return {name: JobDirectory(folder / name).result() for name in BROKEN}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_named(complaints, name):
    assert complaints[name].status == "failed"
    assert re.search(BROKEN[name][1], complaints[name].error)
