"""A profile as a task: what is kept of a dataset, and under which names."""

from __future__ import annotations

import json

import pytest
from airflow.sdk import DAG

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators.datasets import SnapshotDatasetOperator
from airflow_mlops.operators.profiling import ProfileDataOperator
from airflow_mlops.operators.validation import ValidateDataOperator
from airflow_mlops.validation.profile import parse_profile

pd = pytest.importorskip("pandas")
pytest.importorskip("pandera")


@pytest.fixture
def keep(run_dag, tmp_path, artifact_root):
    """Snapshot and profile a frame, then validate it by the suite that was suggested."""

    def run(**arguments):
        frame = pd.DataFrame(
            {"id": [f"f{row}" for row in range(300)], "delay": [float(row % 60) for row in range(300)]}
        )
        frame.to_parquet(tmp_path / "rows.parquet")
        with DAG("profile", schedule=None) as dag:
            taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "rows.parquet"))
            made = ProfileDataOperator(task_id="profile", dataset=taken.output, **arguments)
            ValidateDataOperator(
                task_id="validate", dataset=made.output["dataset"], suite=made.output["suite_uri"], backend="pandera"
            )
        return run_dag(dag)

    return run


def test_profile_and_suggested_suite_lie_in_the_store(keep, artifact_root):
    run = keep(model_version="7", suite_name="flights-draft")

    found, store = run.xcom("profile"), ArtifactStore(f"file://{artifact_root}")
    profile = parse_profile(store.read_json(found["profile_uri"]))
    assert run.states == {"snapshot": "success", "profile": "success", "validate": "success"}
    assert profile.digest == found["profile_digest"]
    assert (profile.datasets, profile.model_version) == ((run.xcom("snapshot")["digest"],), "7")
    assert (found["rows"], found["columns"], found["dataset"]) == (300, 2, run.xcom("snapshot"))
    assert profile.columns["delay"].ranks.quantile(0.5) == 29.0
    assert store.read_bytes(found["suite_uri"]).startswith(b"# Suggested from 300 rows")
    assert run.xcom("validate")["verdict"] == "pass"
    assert len(json.dumps(found)) < 2000
    assert profile.digest in store.read_bytes(found["report_uri"]).decode()
    assert run.xcom("profile", "_link_ReportLink").endswith("/profile/-1/profile")


def test_the_same_rows_give_the_same_profile(keep):
    one, other = keep().xcom("profile"), keep().xcom("profile")

    one.pop("report_uri"), other.pop("report_uri")
    assert one == other


def test_a_suggestion_can_be_left_out(keep):
    run = keep(suite_name=None)

    assert (run.states["profile"], run.xcom("profile")["suite_uri"]) == ("success", None)


@pytest.mark.parametrize("top_values", [-1, 1001, "many", True])
def test_wrong_arguments_fail_with_their_reason(keep, capsys, top_values):
    assert keep(top_values=top_values).states["profile"] == "failed"
    assert f"top_values: {top_values!r} is not accepted; expected a whole number" in "".join(capsys.readouterr())
