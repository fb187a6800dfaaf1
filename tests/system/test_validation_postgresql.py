"""Validation of rows that stay in a real PostgreSQL."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, Self

import pytest
from airflow.sdk import DAG

from tests.airflow.conftest import airflow_db, artifact_root, connection, run_dag  # noqa: F401 - fixtures
from tests.in_place import Engine, checks, fill, sql_engine
from tests.postgresql import postgresql_server

pytest.importorskip("great_expectations")
pytest.importorskip("pg8000", reason="the driver of the tests: pip install pg8000")

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def url(tmp_path_factory) -> Iterator[str]:
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as plain:
        made = plain.replace("postgresql://", "postgresql+pg8000://")
        fill(made)
        yield made


@pytest.fixture(scope="module")
def engine(url) -> Engine:
    return sql_engine(url, "DOUBLE PRECISION")


@pytest.mark.parametrize("check", checks(), ids=lambda check: check.__name__)
def test_in_place(engine: Engine, check: Callable[[Engine], Any]):
    check(engine)


@pytest.fixture
def warehouse(url, connection) -> Iterator[Wire]:  # noqa: F811
    """The connection ``warehouse``, through a wire that counts."""
    import sqlalchemy as sa

    made = sa.make_url(url)
    with Wire(made.port, str(made.password)) as wire:
        fields = {"host": made.host, "port": wire.port, "login": made.username, "password": made.password}
        wire.fields = {"conn_type": "postgres", "schema": made.database, **fields}
        connection("warehouse", **wire.fields)
        yield wire


class Wire:
    """Passes connections on to a server, and counts the bytes that it answers with."""

    def __init__(self, port: int, password: str) -> None:
        self.target, self.password, self.received = port, password, 0
        self.fields: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listener.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            threading.Thread(target=self._pass, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, True), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket, counted: bool = False) -> None:
        with suppress(OSError):
            while content := source.recv(1 << 16):
                self.received += len(content) if counted else 0
                target.sendall(content)
        with suppress(OSError):
            target.shutdown(socket.SHUT_RDWR)
            target.close()


@pytest.fixture(scope="module")
def delays(url) -> None:
    """A table of 100,000 rows, some megabytes, whose names need quotes."""
    import sqlalchemy as sa

    server = sa.create_engine(url)
    with server.begin() as connected:
        connected.execute(sa.text('CREATE SCHEMA "Air Lines"'))
        connected.execute(
            sa.text(
                'CREATE TABLE "Air Lines"."Delays" AS SELECT g AS id, '
                'CASE WHEN g % 1000 = 0 THEN 98765 ELSE g % 60 END::float AS "Dep Delay", '
                "'value-' || md5(g::text) AS word FROM generate_series(1, 100000) g"
            )
        )
    server.dispose()


RULES = [
    {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "id"}},
    {"type": "expect_column_values_to_be_between", "kwargs": {"column": "Dep Delay", "max_value": 1500}},
    {"type": "expect_column_values_to_be_in_set", "kwargs": {"column": "word", "value_set": ["a"]}},
]


def test_only_counts_and_a_few_values_leave_the_server(warehouse, delays, run_dag, artifact_root, capsys):  # noqa: F811
    from airflow_mlops.hooks.artifacts import ArtifactStore
    from airflow_mlops.operators.validation import ValidateDataOperator

    query = """SELECT * FROM "Air Lines"."Delays" WHERE id <= {{ 600 * 100 }} AND word LIKE 'value%'"""
    with DAG("postgresql", schedule=None) as dag:
        ValidateDataOperator(
            task_id="table",
            table="Delays",
            schema="Air Lines",
            sql_conn_id="warehouse",
            suite={"name": "delays", "rules": RULES},
        )
        ValidateDataOperator(
            task_id="query", query=query, sql_conn_id="warehouse", suite={"name": "delays", "rules": RULES[:1]}
        )

    run = run_dag(dag)

    table, found = run.xcom("table"), run.xcom("query")
    assert run.states == {"table": "failed", "query": "success"}
    assert [one["unexpected_count"] for one in table["failed"]] == [100, 100_000]
    assert table["dataset"]["columns"] == {"id": "INTEGER", "Dep Delay": "DOUBLE PRECISION", "word": "TEXT"}
    assert (found["dataset"]["rows"], found["summary"]["kept"]) == (60_000, 1)
    page = ArtifactStore(f"file://{artifact_root}").read_bytes(table["report_uri"]).decode()
    said = "".join(capsys.readouterr())
    assert "98765" in page
    assert "98765" not in said + json.dumps(table)
    assert warehouse.password not in said + page + json.dumps([table, found])
    assert warehouse.received < 100_000, "bytes: the rows themselves are megabytes"


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({}, {"table": "rows"}, "connection 'warehouse': there is no table 'rows'; did you mean 'Rows'?"),
        ({}, {"query": "SELECT * FROM nowhere"}, "connection 'warehouse': relation \"nowhere\" does not exist"),
        ({}, {"query": 'SELECT id, id FROM "Rows"'}, "columns with names of their own; twice: ['id']"),
        ({"port": 1}, {"table": "Rows"}, "AirflowException: connection 'warehouse': Can't create a connection to host"),
        ({"password": "wrong-secret"}, {"table": "Rows"}, "AirflowFailException: connection 'warehouse': password"),
    ],
)
def test_what_cannot_be_asked_says_why(
    warehouse,
    connection,  # noqa: F811
    run_dag,  # noqa: F811
    artifact_root,  # noqa: F811
    capsys,
    change,
    arguments,
    message,
):
    from airflow_mlops.operators.validation import ValidateDataOperator

    connection("warehouse", **(warehouse.fields | change))
    rule = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}
    with DAG("postgresql_errors", schedule=None) as dag:
        ValidateDataOperator(task_id="t", sql_conn_id="warehouse", suite={"name": "s", "rules": [rule]}, **arguments)

    run = run_dag(dag)

    said = "".join(capsys.readouterr())
    assert run.states == {"t": "failed"}
    assert message in said
    assert not [secret for secret in (warehouse.password, "wrong-secret") if secret in said]
