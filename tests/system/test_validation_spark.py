"""Validation of rows that Spark reads, with a local Spark: ``pip install pyspark`` (500 MB), and Java 17."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.sdk import DAG

from tests.airflow.conftest import airflow_db, artifact_root, connection, run_dag  # noqa: F401 - fixtures
from tests.in_place import Engine, checks
from tests.validation_rules import COLUMNS

pytest.importorskip("great_expectations")
pd = pytest.importorskip("pandas")
pytest.importorskip("pyspark", reason="pyspark is not installed; airflow-mlops[spark]")

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(300),
    pytest.mark.skipif(shutil.which("java") is None, reason="Spark needs Java 17, and there is none"),
    pytest.mark.filterwarnings("default"),  # Spark's own code warns of what it uses itself
]

LOCAL = {
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.host": "127.0.0.1",
}


@pytest.fixture(scope="module")
def session(tmp_path_factory) -> Iterator[Any]:
    """One Spark for all tests: starting it takes seconds."""
    from airflow_mlops.adapters.tables.spark import SparkAddress, spark_session

    options = LOCAL | {"spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse"))}
    with spark_session(SparkAddress(master="local[2]", options=options), connection="local") as made:
        schema = "id string, delay double, number int, void double"
        rows = list(zip(*COLUMNS.values(), strict=True))
        made.createDataFrame(rows, schema).createOrReplaceTempView("Rows")
        made.createDataFrame([], schema).createOrReplaceTempView("Empty")
        yield made


@pytest.fixture(scope="module")
def engine(session) -> Engine:
    from airflow_mlops.adapters.tables.spark import spark_frame
    from airflow_mlops.adapters.validators.great_expectations_batch import batch_of_spark_frame

    def judge(suite: Any, example_rows: int = 5, **what: Any) -> Any:
        frame = spark_frame(session, connection="local", **what)
        return batch_of_spark_frame(frame).validate(suite, example_rows=example_rows)

    return Engine(judge, "DoubleType", quote="`")


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_in_place(engine: Engine, check: Callable[[Engine], Any]):
    check(engine)


SUITE = {
    "name": "flights",
    "rules": [
        {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
        {"type": "expect_column_values_to_be_between", "kwargs": {"column": "delay", "max_value": 1500}},
    ],
}


def test_files_and_tables_by_a_connection(session, connection, run_dag, artifact_root, tmp_path, capsys):  # noqa: F811
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.operators.datasets import SnapshotDatasetOperator
    from airflow_mlops.operators.validation import ValidateDataOperator

    for day in range(2):
        (tmp_path / "rows" / f"day={day}").mkdir(parents=True)
        frame = pd.DataFrame({"id": [f"{day}-{i}" for i in range(500)], "delay": [1.0] * 499 + [98_765.0]})
        frame.to_parquet(tmp_path / "rows" / f"day={day}" / "part.parquet")
    session.read.parquet(str(tmp_path / "rows")).createOrReplaceTempView("flights")
    connection("cluster", conn_type="spark", host="local[2]", extra={"spark_config": LOCAL})
    with DAG("spark", schedule=None) as dag:
        taken = SnapshotDatasetOperator(task_id="snapshot", uri=str(tmp_path / "rows"))
        ValidateDataOperator(task_id="files", dataset=taken.output, spark_conn_id="cluster", suite=SUITE)
        ValidateDataOperator(
            task_id="query",
            query="SELECT * FROM flights WHERE delay < {{ 40 + 60 }}",
            spark_conn_id="cluster",
            suite=SUITE,
        )
        ValidateDataOperator(task_id="table", table="flight", spark_conn_id="cluster", suite=SUITE)
        ValidateDataOperator(task_id="function", dataset=lambda: session.table("flights"), suite=SUITE, on_fail="warn")

    run = run_dag(dag)

    files, query, function = (run.xcom(name) for name in ("files", "query", "function"))
    said = "".join(capsys.readouterr())
    page = ArtifactStore(f"file://{artifact_root}").read_bytes(files["report_uri"]).decode()
    expected = {"snapshot": "success", "files": "failed", "query": "success", "table": "failed", "function": "success"}
    assert run.states == expected
    assert (files["dataset"], files["failed"][0]["unexpected_count"]) == (run.xcom("snapshot"), 2)
    assert (query["verdict"], query["dataset"]["rows"], query["dataset"]["format"]) == ("pass", 998, "spark")
    assert (function["verdict"], function["summary"]["rows"]) == ("fail", 1000)
    assert "delay: values to be between: broken by 2 of 1,000 rows (0.2%)" in said
    assert "AirflowFailException: connection 'cluster': [TABLE_OR_VIEW_NOT_FOUND]" in said
    assert "98765" in page
    assert "98765" not in said + json.dumps([files, function])
