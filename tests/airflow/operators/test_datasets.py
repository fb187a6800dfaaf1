"""Naming data by content, in a real Airflow."""

from __future__ import annotations

import pytest
from airflow.sdk import DAG

from airflow_mlops.codec import decode
from airflow_mlops.manifest import manifest_of
from airflow_mlops.operators.datasets import SnapshotDatasetOperator
from airflow_mlops.references import DatasetRef

pd = pytest.importorskip("pandas")


def snapshot(run_dag, name: str, conf=None, **arguments):
    with DAG(name, schedule=None) as dag:
        SnapshotDatasetOperator(task_id="snapshot", **arguments)
    return run_dag(dag, conf)


def frame(rows: int):
    return pd.DataFrame({"flight_id": [str(i) for i in range(rows)], "late": [i % 2 for i in range(rows)]})


def test_a_partition_gets_digest_rows_and_columns(run_dag, tmp_path):
    folder = tmp_path / "month=2013-03"
    folder.mkdir()
    frame(7).to_parquet(folder / "flights.parquet")

    run = snapshot(
        run_dag,
        "snapshot_templated",
        {"month": "2013-03"},
        uri=f"{tmp_path}/month={{{{ dag_run.conf.month }}}}/flights.parquet",
        partition="{{ dag_run.conf.month }}",
    )

    found = decode(DatasetRef, run.xcom("snapshot"))
    assert run.state == "success"
    assert found.uri == f"file://{folder}/flights.parquet"
    assert found.digest == manifest_of(folder / "flights.parquet").digest
    assert (found.rows, found.partition, list(found.columns)) == (7, "2013-03", ["flight_id", "late"])


def test_looking_again_gives_the_same_reference(run_dag, tmp_path):
    frame(3).to_csv(tmp_path / "rows.csv", index=False)

    first, second = (
        snapshot(run_dag, f"snapshot_again_{number}", uri=f"file://{tmp_path}/rows.csv", format="csv").xcom("snapshot")
        for number in (1, 2)
    )

    assert first == second
    assert first["rows"] == 3


@pytest.mark.parametrize(
    ("number", "arguments", "message"),
    [
        (1, {"uri": "{root}/nothing.parquet"}, "nothing.parquet: there is no file or directory here"),
        (2, {"uri": "{root}/empty.parquet"}, "expected data with rows; 1 parquet file(s) hold none"),
        (3, {"uri": "{root}/broken.parquet"}, "broken.parquet: this is not readable as parquet"),
        (
            4,
            {"uri": "{root}/rows.parquet", "format": "excel"},
            "'excel' is not accepted; expected one of 'parquet', 'csv'",
        ),
        (5, {"uri": "rows.parquet"}, "uri: 'rows.parquet' is not accepted; expected an absolute path, or a URI"),
    ],
)
def test_what_cannot_be_named_fails_with_its_reason(run_dag, tmp_path, capsys, number, arguments, message):
    frame(3).to_parquet(tmp_path / "rows.parquet")
    frame(0).to_parquet(tmp_path / "empty.parquet")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1")
    given = {key: value.replace("{root}", str(tmp_path)) for key, value in arguments.items()}

    run = snapshot(run_dag, f"snapshot_bad_{number}", **given)

    assert run.states == {"snapshot": "failed"}
    assert message in "".join(capsys.readouterr())
