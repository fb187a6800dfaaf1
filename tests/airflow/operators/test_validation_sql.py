"""Validation of rows in a database, as a task; PostgreSQL has its own tests in tests/system."""

from __future__ import annotations

import json
import logging
import re

import pytest
from airflow.sdk import DAG

from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.operators.validation import ValidateDataOperator
from tests.in_place import fill

pytest.importorskip("great_expectations")
sa = pytest.importorskip("sqlalchemy")

RULES = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "dep_delay", "max_value": 1500}},
]
SUITE = {"name": "flights", "rules": RULES}


@pytest.fixture
def validate(run_dag, tmp_path, artifact_root, connection):
    """Fill a table ``flights`` and validate it, or what the arguments say."""

    def run(delays=(1.0, 2.0, 3.0), **arguments):
        file = tmp_path / "warehouse.db"
        if not file.exists():
            columns = {"id": [f"f{number}" for number in range(len(delays))], "dep_delay": list(delays)}
            fill(f"sqlite:///{file}", {"flights": columns})
        connection("warehouse", conn_type="sqlite", host=str(file))
        given = {"sql_conn_id": "warehouse", "suite": SUITE, "on_fail": "fail"} | arguments
        if not given.keys() & {"table", "query", "dataset"}:
            given["table"] = "flights"
        with DAG("validate_sql", schedule=None) as dag:
            ValidateDataOperator(task_id="validate", **given)
        return run_dag(dag)

    return run


def test_a_table_is_judged_where_it_lies(validate, artifact_root):
    run = validate()

    found = run.xcom("validate")
    (evidence,) = ArtifactStore(f"file://{artifact_root}").read_evidence("flights")
    dataset = found["dataset"]
    assert (run.state, found["verdict"], found["summary"]["rows"]) == ("success", "pass", 3)
    assert {key: dataset[key] for key in ("uri", "format", "connection", "table", "query", "rows", "columns")} == {
        "uri": "sql://warehouse/flights",
        "format": "sql",
        "connection": "warehouse",
        "table": "flights",
        "query": None,
        "rows": 3,
        "columns": {"id": "TEXT", "dep_delay": "FLOAT"},
    }
    assert evidence.references["dataset"] == dataset
    assert dataset["seen_at"].endswith(" UTC")
    assert dataset["digest"].startswith("sha256:")


def test_the_digest_is_that_of_what_was_seen(validate):
    first, second = (
        validate().xcom("validate"),
        validate(query="SELECT * FROM flights WHERE id <> 'f0'").xcom("validate"),
    )

    assert validate().xcom("validate")["dataset"]["digest"] == first["dataset"]["digest"]
    assert second["dataset"]["digest"] != first["dataset"]["digest"]
    assert second["dataset"]["uri"].startswith("sql://warehouse/query-")


def test_broken_rows_are_counted_and_shown_in_the_report_only(validate, artifact_root, capsys):
    run = validate(delays=(1.0, 98_765.0, 98_765.0))

    found = run.xcom("validate")
    page = ArtifactStore(f"file://{artifact_root}").read_bytes(found["report_uri"]).decode()
    said = "".join(capsys.readouterr())
    assert run.states == {"validate": "failed"}
    assert "dep_delay: values to be between: broken by 2 of 3 rows (66.7%)" in said
    assert re.search("98765.0 . 2</li>", page)
    assert "<dt>Table</dt><dd><code>flights</code></dd>" in page
    assert "98765" not in said + json.dumps(found)


def test_the_library_stays_out_of_the_log(validate, caplog):
    caplog.set_level(logging.DEBUG)

    validate()

    assert [one for one in caplog.records if one.name.startswith("great_expectations")] == []


def test_no_statement_fetches_more_than_counts_and_a_few_values(validate):
    statements = []

    def keep(_connection, _cursor, statement, parameters, *_):
        statements.append((statement, parameters))

    sa.event.listen(sa.engine.Engine, "before_cursor_execute", keep)
    try:
        run = validate(delays=[99_999.0] * 1000, query="SELECT * FROM flights WHERE dep_delay > 0")
    finally:
        sa.event.remove(sa.engine.Engine, "before_cursor_execute", keep)

    asked = [(text, parameters) for text, parameters in statements if "SELECT * FROM flights" in text]
    fetched = [len(_again(run, text, parameters)) for text, parameters in asked]
    assert run.xcom("validate")["failed"][0]["unexpected_count"] == 1000
    assert len(fetched) >= 4
    assert max(fetched) <= 200


def _again(run, statement, parameters):
    import os

    file = json.loads(os.environ["AIRFLOW_CONN_WAREHOUSE"])["host"]
    engine = sa.create_engine(f"sqlite:///{file}")
    with engine.connect() as connected:
        rows = connected.exec_driver_sql(statement, parameters).fetchall()
    engine.dispose()
    return rows


def test_a_table_without_rows_is_an_error(validate, capsys):
    run = validate(delays=())

    assert (run.states, run.xcom("validate")["verdict"]) == ({"validate": "failed"}, "error")
    assert "the dataset has no rows, so nothing was shown about it" in "".join(capsys.readouterr())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"table": "flight"}, "connection 'warehouse': there is no table 'flight'; did you mean 'flights'?"),
        ({"query": "SELECT nothing_there FROM flights"}, "connection 'warehouse': no such column: nothing_there"),
        ({"query": "DELETE FROM flights"}, "query: 'DELETE FROM flights' is not accepted; expected a statement that"),
        (
            {"sql_conn_id": "unknown"},
            "sql_conn_id: 'unknown' is not accepted; expected the id of an Airflow connection",
        ),
        ({"sql_conn_id": None}, "sql_conn_id: [] is not accepted; expected one of sql_conn_id and spark_conn_id"),
        ({"table": "flights", "query": "SELECT 1"}, "expected exactly one of dataset, table and query"),
        ({"dataset": {"uri": "x"}}, "sql_conn_id: 'warehouse' is not accepted; expected nothing with a dataset"),
        ({"on_fail": "quarantine"}, "expected 'fail', 'warn' or 'branch': bad rows are set aside from files only"),
        (
            {"backend": "pandera"},
            "backend: 'pandera' is not accepted; expected 'great_expectations' for rows in a database",
        ),
    ],
)
def test_what_cannot_be_asked_says_why(validate, capsys, arguments, message):
    run = validate(**arguments)

    assert run.states == {"validate": "failed"}
    assert message in "".join(capsys.readouterr())


def test_a_wrong_path_makes_no_empty_database(validate, connection, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_ELSEWHERE", json.dumps({"conn_type": "sqlite", "host": str(tmp_path / "no.db")}))

    run = validate(sql_conn_id="elsewhere")

    assert run.states == {"validate": "failed"}
    assert "connection 'elsewhere': there is no SQLite database at" in "".join(capsys.readouterr())
    assert not (tmp_path / "no.db").exists()


def test_a_connection_becomes_a_url(connection):
    from airflow_mlops.hooks.sql import sqlalchemy_url

    connection("plain", conn_type="postgres", host="db", port=5433, login="me", password="p@ss/word", schema="dwh")
    connection(
        "extra", conn_type="mysql", host="db", extra={"sqlalchemy_scheme": "mysql+pymysql", "charset": "utf8mb4"}
    )

    plain, extra = sqlalchemy_url("plain"), sqlalchemy_url("extra")

    assert plain.drivername.startswith("postgresql")
    assert (plain.username, plain.password, plain.host, plain.port, plain.database) == (
        *("me", "p@ss/word", "db", 5433, "dwh"),
    )
    assert extra.render_as_string() == "mysql+pymysql://db?charset=utf8mb4"
