"""The training contract's documents."""

from __future__ import annotations

import json

import pytest

from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JobRequest, JobResult, Tracking, dump, parse_request, parse_result

DIGEST = "sha256:" + "0" * 64


def request(**changes):
    values = {
        "kind": "train",
        "job_id": "ct/run/train/-1",
        "output_uri": "file:///jobs/1",
        "datasets": {
            "train": (DatasetRef(uri="file:///d", digest=DIGEST, format="parquet", size_bytes=3, rows=2),),
        },
        "models": {"champion": ModelRef(uri="file:///m", digest=DIGEST, format="mlflow", size_bytes=1)},
        "parameters": {"seed": 1, "rates": [0.1, None], "nested": {"a": True}},
        "tracking": Tracking(uri="http://localhost:5000", run_id="r1"),
    }
    return JobRequest(**{**values, **changes})


def result(**changes):
    return JobResult(**{"job_id": "ct/run/train/-1", "status": "succeeded", "metrics": {"auc": 0.7}, **changes})


def test_request_survives_the_way_to_the_job():
    assert parse_request(dump(request())) == request()


def test_result_survives_the_way_back():
    done = result(artifacts={"model": "model"}, summary={"rows": 10})
    assert parse_result(dump(done)) == done


def test_parameter_that_is_no_json_value_is_refused_with_its_path():
    with pytest.raises(SpecificationError, match=r"JobRequest\.parameters\.nested\.a: \{1\} is not accepted; .*JSON"):
        request(parameters={"nested": {"a": {1}}})


def test_parameter_that_is_not_finite_is_refused():
    with pytest.raises(SpecificationError, match=r"JobRequest\.parameters\.rate: nan"):
        request(parameters={"rate": float("nan")})


def test_metric_that_is_not_finite_is_refused():
    with pytest.raises(SpecificationError, match=r"JobResult\.metrics\.auc: nan .* expected a finite number"):
        result(metrics={"auc": float("nan")})


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../other", "model/../../x"])
def test_artefact_outside_the_job_directory_is_refused(path):
    with pytest.raises(SpecificationError, match=r"artifacts\.model: .* a path inside the job directory"):
        result(artifacts={"model": path})


def test_result_that_is_not_json_says_what_it_begins_with():
    with pytest.raises(ContractError, match=r"result\.json is not JSON .* it begins with 'Traceback"):
        parse_result("Traceback (most recent call last)")


def test_result_that_is_no_mapping_is_refused():
    with pytest.raises(ContractError, match=r"result\.json holds list, not a mapping"):
        parse_result("[]")


def test_result_of_another_version_names_both():
    document = {**json.loads(dump(result())), "contract_version": 2}
    with pytest.raises(ContractError, match=r"has contract_version 2; this side understands 1"):
        parse_result(json.dumps(document))


def test_unknown_key_names_the_nearest():
    document = {**json.loads(dump(result())), "metric": {}}
    with pytest.raises(ContractError, match=r"breaks the training contract: JobResult\.metric: .*'metrics'"):
        parse_result(json.dumps(document))


def test_missing_key_is_named():
    with pytest.raises(ContractError, match=r"JobResult\.status: .* status is required"):
        parse_result('{"contract_version": 1, "job_id": "x"}')
