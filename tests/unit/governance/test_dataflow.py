"""What a task read and made, and what lineage calls it."""

from __future__ import annotations

import pytest

from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.governance.dataflow import dataflow_of
from airflow_mlops.governance.flows import FLOWS, flow_of
from airflow_mlops.governance.lineage_nodes import Place, place_of_uri
from airflow_mlops.verdict import CheckResult, Verdict

SHA = "sha256:" + "1" * 64


def reference(uri: str, **more) -> dict:
    return {"uri": uri, "digest": SHA, "format": "parquet", "size_bytes": 7, **more}


def evidence(decision: str, references: dict, *checks: CheckResult) -> Evidence:
    who = Origin(dag_id="d", run_id="r", task_id="t", try_number=1)
    return Evidence(
        decision=decision,
        subject="flights",
        verdict=Verdict.PASS,
        checks=checks,
        origin=who,
        decided_at=1.0,
        references=references,
    )


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("file:///srv/flights/2013-03", ("file", "/srv/flights/2013-03")),
        ("/srv/flights", ("file", "/srv/flights")),
        ("file://host/srv", ("file://host", "/srv")),
        ("s3://bucket/flights/march.parquet", ("s3://bucket", "flights/march.parquet")),
        ("s3a://aws_default@bucket/flights/", ("s3://bucket", "flights")),
        ("s3://bucket", ("s3://bucket", "/")),
        ("gs://bucket/flights", ("gs://bucket", "flights")),
        ("gcs://google_default@bucket/flights", ("gs://bucket", "flights")),
        ("abfss://box@account.dfs.core.windows.net/a", ("abfss://box@account.dfs.core.windows.net", "a")),
        ("hdfs://namenode:8020/a/b", ("hdfs://namenode:8020", "/a/b")),
    ],
)
def test_what_lies_at_a_uri_is_named_as_openlineage_says(uri, expected):
    assert place_of_uri(uri) == expected


def test_a_training_reads_its_datasets_and_makes_a_model_with_its_numbers():
    flow = dataflow_of(
        flow_of(["MyTraining", "TrainLocallyOperator", "BaseOperator"]),
        fields={"datasets": {"train": [reference("file:///a", rows=3, columns={"x": "int"})]}, "model_name": "flights"},
        result={"model": reference("s3://b/m", format="mlflow"), "metrics": {"auc": 0.7}, "job_uri": "file:///j"},
    )
    (read,), (made,) = flow.inputs, flow.outputs
    assert (read.namespace, read.name, read.kind, read.rows, read.columns) == ("file", "/a", "dataset", 3, {"x": "int"})
    assert (made.namespace, made.name, made.kind, made.digest) == ("s3://b", "m", "model", SHA)
    assert (made.model_name, made.metrics) == ("flights", {"auc": 0.7})


def test_before_a_task_has_run_it_has_made_nothing():
    flow = dataflow_of(FLOWS["SnapshotDatasetOperator"], fields={"uri": "s3://aws@b/rows"})
    assert [(node.namespace, node.name, node.digest) for node in flow.inputs] == [("s3://b", "rows", None)]
    assert flow.outputs == ()


def test_what_is_named_twice_is_one_node_that_knows_its_digest():
    flow = dataflow_of(
        FLOWS["SnapshotDatasetOperator"], fields={"uri": "/rows"}, result=reference("file:///rows", rows=4)
    )
    assert [(node.name, node.digest, node.rows) for node in flow.inputs] == [("/rows", SHA, 4)]


def test_a_quarantine_makes_two_datasets_and_a_plain_validation_none():
    operator, fields = FLOWS["ValidateDataOperator"], {"dataset": reference("file:///all")}
    plain = dataflow_of(operator, fields=fields, result={"dataset": reference("file:///all")})
    assert plain.outputs == ()
    parts = {"source": reference("file:///all"), "bad": reference("file:///q/bad")}
    parted = dataflow_of(operator, fields=fields, result={"dataset": reference("file:///q/good"), "quarantine": parts})
    assert [node.name for node in parted.inputs] == ["/all"]
    assert [node.name for node in parted.outputs] == ["/q/good", "/q/bad"]


def test_a_validation_tells_of_each_rule():
    kept = {"type": "expect_column_values_to_not_be_null", "severity": "info", "columns": ["x"], "kept": False}
    checks = (
        CheckResult(name="not null x", verdict=Verdict.PASS, reason="r", value=0.2, threshold=0.0, details=kept),
        CheckResult(name="suite.evaluated", verdict=Verdict.ERROR, reason="nothing"),
    )
    found = evidence("validation", {"dataset": reference("file:///all")}, *checks)
    flow = dataflow_of(FLOWS["ValidateDataOperator"], fields={}, evidence=[found])
    assert [node.name for node in flow.inputs] == ["/all"]
    first, second = flow.assertions
    assert (first.kept, first.blocks, first.column, first.actual) == (False, False, "x", 0.2)
    assert (second.kept, second.blocks, second.rule) == (False, True, "suite.evaluated")


def test_decisions_name_what_they_rest_on():
    given = {"candidate": reference("file:///m2"), "stable": reference("file:///m1"), "rollout": {"outcome": "x"}}
    flow = dataflow_of(
        FLOWS["CanaryRolloutOperator"], fields={"model_name": "f"}, evidence=[evidence("rollout", given)]
    )
    assert [(node.kind, node.name) for node in flow.inputs] == [("model", "/m2"), ("model", "/m1")]


def test_a_table_is_named_by_its_database_and_left_out_where_that_is_unknown():
    table = reference("sql://warehouse/flights", format="sql", connection="warehouse", table="flights")
    operator = FLOWS["ValidateDataOperator"]
    place = Place(namespace="postgres://db:5432", database="air", schema="public")
    found = [evidence("validation", {"dataset": table})]
    (node,) = dataflow_of(operator, fields={}, evidence=found, places={"warehouse": place}).inputs
    assert (node.namespace, node.name) == ("postgres://db:5432", "air.public.flights")
    assert dataflow_of(operator, fields={}, evidence=found).inputs == ()


def test_a_registered_version_is_named_by_its_registry():
    version = {"name": "flights", "version": "3", "model": reference("file:///m"), "tags": {}, "run_id": "r"}
    flow = dataflow_of(
        FLOWS["RegisterModelOperator"],
        fields={"model": reference("file:///m"), "mlflow_conn_id": "mlflow_default", "model_name": "flights"},
        result=version,
        places={"mlflow_default": Place(namespace="mlflow://registry:5000")},
    )
    (made,) = flow.outputs
    assert (made.namespace, made.name, made.version, made.digest) == ("mlflow://registry:5000", "flights/3", "3", SHA)


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("mlops-trainer:1", ("oci://docker.io", "mlops-trainer", None)),
        ("team/trainer@" + SHA, ("oci://docker.io", "team/trainer", SHA)),
        ("registry.example:5000/team/trainer:2", ("oci://registry.example:5000", "team/trainer", None)),
        ("localhost/trainer", ("oci://localhost", "trainer", None)),
    ],
)
def test_an_image_is_named_by_its_registry(image, expected):
    (node,) = dataflow_of(FLOWS["CheckImageOperator"], fields={"image": image}).inputs
    assert (node.namespace, node.name, node.digest) == expected


def test_what_is_no_reference_is_no_node():
    flow = dataflow_of(
        FLOWS["EvaluateModelOperator"],
        fields={"candidate": None, "dataset": "{{ rows }}", "champion": 3},
        result={"evaluation_uri": None},
    )
    assert flow.inputs == flow.outputs == ()
