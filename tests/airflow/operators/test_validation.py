"""Validation as a task: what stops, what goes on, and what is kept of it."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators.datasets import SnapshotDatasetOperator
from airflow_mlops.operators.validation import ValidateDataOperator

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")

RULES = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "flight_id"}},
    {
        "type": "expect_column_values_to_be_between",
        "kwargs": {"column": "dep_delay", "min_value": -120, "max_value": 1500},
    },
    {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "temp", "mostly": 0.9}, "severity": "warning"},
]
SUITE = {"name": "flights", "rules": RULES}


@pytest.fixture
def validate(run_dag, tmp_path, artifact_root, request):
    """Snapshot a frame and validate it in one run."""

    def run(frame, **arguments):
        frame.to_parquet(tmp_path / "rows.parquet")
        with DAG(f"validate_{request.node.name.split('[')[0]}", schedule=None) as dag:
            taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "rows.parquet"), partition="2013-03")
            ValidateDataOperator(task_id="validate", dataset=taken.output, **({"suite": SUITE} | arguments))
        return run_dag(dag)

    return run


def flights(rows: int = 200):
    return pd.DataFrame(
        {
            "flight_id": [f"f{i}" for i in range(rows)],
            "dep_delay": [float(i % 60) for i in range(rows)],
            "temp": [50.0] * rows,
        }
    )


def test_sound_data_pass_and_leave_report_and_evidence(validate, artifact_root):
    run = validate(flights())

    found = run.xcom("validate")
    store = ArtifactStore(f"file://{artifact_root}")
    (evidence,) = store.read_evidence("flights")
    assert run.state == "success"
    assert found["verdict"] == "pass"
    assert found["summary"] == {"rules": 3, "evaluated": 3, "kept": 3, "broken": 0, "errors": 0, "rows": 200}
    assert found["dataset"] == run.xcom("snapshot")
    assert (evidence.decision, evidence.verdict.value) == ("validation", "pass")
    assert evidence.references["dataset"]["digest"] == found["dataset"]["digest"]
    assert found["dataset"]["digest"] in store.read_bytes(found["report_uri"]).decode()
    assert run.xcom("validate", "_link_ReportLink").endswith("/validate/-1/validation")


def test_impossible_delays_stop_with_rule_rows_and_examples(validate, capsys, artifact_root):
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 99_999.0

    run = validate(frame)

    found, said = run.xcom("validate"), "".join(capsys.readouterr())
    assert run.states == {"snapshot": "success", "validate": "failed"}
    assert "dataset 2013-03 is not fit for use by suite 'flights'" in said
    assert "dep_delay: values to be between: broken by 2 of 200 rows (1.0%), for example 99999.0" in said
    assert found["verdict"] == "fail"
    assert found["failed"][0]["unexpected_count"] == 2
    assert found["failed"][0]["examples"] == ["99999.0"]
    assert ArtifactStore(f"file://{artifact_root}").read_evidence("flights")[0].verdict.value == "fail"
    assert len(json.dumps(found)) < 4000


def test_no_value_of_a_row_leaves_when_examples_are_off(validate, capsys, artifact_root):
    frame = flights()
    frame.loc[[3, 7], "dep_delay"] = 77_777.0

    found = validate(frame, example_rows=0).xcom("validate")

    report = ArtifactStore(f"file://{artifact_root}").read_bytes(found["report_uri"]).decode()
    said = "".join(capsys.readouterr())
    assert "broken by 2 of 200 rows" in said
    assert not [text for text in (report, said, json.dumps(found)) if "77777" in text]


def test_a_missing_column_is_an_error_that_names_it(validate, capsys):
    run = validate(flights().rename(columns={"dep_delay": "delay"}))

    assert run.states["validate"] == "failed"
    assert run.xcom("validate")["verdict"] == "error"
    assert "could not be evaluated: the column 'dep_delay' is missing" in "".join(capsys.readouterr())


def test_warnings_and_on_fail_warn_go_on(validate):
    frame = flights()
    frame.loc[frame.index % 10 < 3, "temp"] = None
    assert validate(frame).xcom("validate")["verdict"] == "warn"
    frame.loc[0, "dep_delay"] = 99_999.0

    run = validate(frame, on_fail="warn")

    assert run.state == "success"
    assert run.xcom("validate")["verdict"] == "fail"


def test_an_error_is_no_warning(validate):
    run = validate(flights().drop(columns="temp"), on_fail="warn")

    assert run.states["validate"] == "failed"


def test_data_that_changed_since_the_snapshot_are_refused(run_dag, tmp_path, artifact_root, capsys):
    flights().to_parquet(tmp_path / "rows.parquet")
    reference = {
        "uri": f"file://{tmp_path}/rows.parquet",
        "digest": "sha256:" + "0" * 64,
        "format": "parquet",
        "size_bytes": 1,
        "rows": 200,
    }
    with DAG("validate_changed", schedule=None) as dag:
        ValidateDataOperator(task_id="validate", dataset=reference, suite=SUITE)

    run = run_dag(dag)

    assert run.states == {"validate": "failed"}
    assert "was expected; the content changed" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"suite": {"name": "s", "rules": []}}, "a suite without rules shows nothing"),
        ({"suite": "nothing.yaml"}, "suite: there is no file at"),
        ({"suite": 7}, "suite: 7 is not accepted; expected a mapping, or the path of a YAML file"),
        ({"on_fail": "ignore"}, "on_fail: 'ignore' is not accepted; expected one of 'fail', 'warn'"),
        (
            {
                "suite": {
                    "name": "s",
                    "rules": [{"type": "expect_column_values_to_be_unik", "kwargs": {"column": "temp"}}],
                }
            },
            "did you mean 'expect_column_values_to_be_unique'?",
        ),
    ],
)
def test_wrong_arguments_fail_with_their_reason(validate, capsys, arguments, message):
    run = validate(flights(), **arguments)

    assert run.states["validate"] == "failed"
    assert message in "".join(capsys.readouterr())


def test_a_suite_file_may_lie_beside_the_dag(validate, tmp_path):
    path = tmp_path / "suite.yaml"
    path.write_text(json.dumps(SUITE))

    assert validate(flights(), suite=str(path)).xcom("validate")["verdict"] == "pass"


def test_a_suite_file_that_is_no_yaml_says_so(validate, tmp_path, capsys):
    path = tmp_path / "suite.yaml"
    path.write_text("name: [")

    assert validate(flights(), suite=str(path)).states["validate"] == "failed"
    assert "a YAML file; it is not readable" in "".join(capsys.readouterr())
