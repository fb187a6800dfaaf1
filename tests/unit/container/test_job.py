"""The helper for training scripts."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.container import training_job
from airflow_mlops.container.directory import JobDirectory
from airflow_mlops.exceptions import ContractError, DigestMismatchError, SpecificationError
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef
from airflow_mlops.training.contract import JOB_DIRECTORY_VARIABLE, JobRequest


@pytest.fixture
def data(tmp_path):
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n1,2\n")
    return DatasetRef(
        uri=f"file://{file}", digest=manifest_of(file).digest, format="csv", size_bytes=8, rows=1, partition="2013-01"
    )


@pytest.fixture
def open_job(tmp_path, monkeypatch, data):
    """Prepare a job directory and return it; the request's fields may be changed."""

    def prepare(**changes):
        directory = JobDirectory(tmp_path / "job")
        directory.path.mkdir()
        values = {"kind": "train", "job_id": "j", "output_uri": "file:///j", "datasets": {"train": (data,)}}
        directory.prepare(JobRequest(**{**values, **changes}))
        monkeypatch.setenv(JOB_DIRECTORY_VARIABLE, str(directory.path))
        return directory

    return prepare


def test_script_reads_verified_data_and_leaves_a_sealed_result(open_job):
    directory = open_job(parameters={"seed": 3})
    with training_job() as job:
        assert [path.read_text() for path in job.paths("train")] == ["a,b\n1,2\n"]
        (job.output / "model").mkdir()
        (job.output / "model" / "weights").write_text("w")
        job.finish(metrics={"auc": 1}, artifacts={"model": "model"}, summary=dict(job.parameters))
    done = directory.result()
    assert (done.status, done.metrics, done.summary) == ("succeeded", {"auc": 1.0}, {"seed": 3})
    listed = [entry["path"] for entry in json.loads(directory.manifest_text())["files"]]
    assert listed == ["model/weights", "request.json", "result.json"]


def test_changed_data_stop_the_job(open_job, tmp_path):
    directory = open_job()
    (tmp_path / "rows.csv").write_text("a,b\n9,9\n")
    with pytest.raises(DigestMismatchError, match="the content changed"), training_job() as job:
        job.paths("train")
    assert directory.result().status == "failed"
    assert "DigestMismatchError" in directory.result().error


def test_exception_becomes_the_reported_failure(open_job):
    directory = open_job()
    with pytest.raises(ZeroDivisionError), training_job():
        1 / 0  # noqa: B018
    assert directory.result().error == "ZeroDivisionError: division by zero"
    assert not directory.is_sealed


def test_script_that_forgets_to_finish_has_failed(open_job):
    directory = open_job()
    with pytest.raises(ContractError, match=r"without calling job\.finish\(\)"), training_job():
        pass
    assert directory.result().status == "failed"


def test_artefact_that_was_not_written_is_named(open_job):
    open_job()
    with pytest.raises(ContractError, match="artefact 'model': nothing lies at 'modle'"), training_job() as job:
        job.finish(metrics={}, artifacts={"model": "modle"})


def test_role_without_datasets_lists_the_roles(open_job):
    open_job()
    with (
        pytest.raises(SpecificationError, match=r"datasets\.test: .* the request has roles: train"),
        training_job() as j,
    ):
        j.paths("test")


def test_missing_model_lists_the_roles(open_job):
    open_job()
    with (
        pytest.raises(SpecificationError, match=r"models\.champion: .* the request has roles: none"),
        training_job() as j,
    ):
        j.model("champion")


def test_remote_data_are_refused(open_job, data):
    remote = DatasetRef(uri="s3://bucket/x", digest=data.digest, format="csv", size_bytes=8, rows=1)
    open_job(datasets={"train": (remote,)})
    with pytest.raises(ContractError, match="s3://bucket/x: a job reads local files only"), training_job() as job:
        job.paths("train")


def test_settings_lie_over_their_defaults(open_job):
    open_job(parameters={"seed": 3, "rate": 1})
    with training_job() as job:
        assert job.settings({"seed": 0, "rate": 0.1, "depth": 4}) == {"seed": 3, "rate": 1, "depth": 4}
        job.finish(metrics={})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sed": 3}, r"parameters\.sed: 3 .* did you mean 'seed'\? One of seed, rate"),
        ({"seed": "3"}, r"parameters\.seed: '3' is not accepted; expected a value of type int"),
        ({"seed": True}, r"parameters\.seed: True is not accepted; expected a value of type int"),
        ({"rate": "fast"}, r"parameters\.rate: 'fast' is not accepted; expected a value of type float"),
    ],
)
def test_wrong_settings_are_named(open_job, given, message):
    open_job(parameters=given)
    with pytest.raises(SpecificationError, match=message), training_job() as job:
        job.settings({"seed": 0, "rate": 0.1})


def test_outside_a_job_the_helper_says_how_to_start_one(monkeypatch):
    monkeypatch.delenv(JOB_DIRECTORY_VARIABLE, raising=False)
    with pytest.raises(ContractError, match=r"MLOPS_JOB_DIRECTORY is not set: .*container\.launch"), training_job():
        pass
