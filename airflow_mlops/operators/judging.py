"""Where rows lie and what judges them there: files, a database, Spark, or what a function gives."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from airflow_mlops.clock import SystemClock
from airflow_mlops.codec import decode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import load_document
from airflow_mlops.manifest import manifest_of
from airflow_mlops.references import DatasetRef

if TYPE_CHECKING:
    from airflow_mlops.validation.ports import ValidationBackend
    from airflow_mlops.validation.report import RuleResult, ValidationReport
    from airflow_mlops.validation.source import TableFacts, TableRef
    from airflow_mlops.validation.spec import SuiteSpec

__all__ = ["BACKENDS", "Function", "Rows", "file_backend", "judge_files", "judge_rows", "load_suite", "utc_now"]

#: Backend to the distribution whose version belongs to the evidence.
BACKENDS = {"great_expectations": "great-expectations", "pandera": "pandera"}


class Function:
    """A function given as an argument, kept from Airflow, which would call it with arguments of its own to render it.

    :param call: the function
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call
        self.name: str = getattr(call, "__name__", type(call).__name__)

    def __repr__(self) -> str:
        return f"<function {self.name}>"


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What an operator was told about the rows; see the operator for each.

    :raises SpecificationError: unless that names rows in exactly one place
    """

    dataset: Any = None
    table: str | None = None
    schema: str | None = None
    query: str | None = None
    sql_conn_id: str | None = None
    spark_conn_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what names no rows, or rows in two places."""
        given = [name for name in ("dataset", "table", "query") if getattr(self, name)]
        if len(given) != 1:
            raise SpecificationError("dataset", given, "exactly one of dataset, table and query")
        if self.schema and not self.table:
            raise SpecificationError("schema", self.schema, "nothing without a table")
        engines = [name for name in ("sql_conn_id", "spark_conn_id") if getattr(self, name)]
        if self.dataset and self.sql_conn_id:
            raise SpecificationError("sql_conn_id", self.sql_conn_id, "nothing with a dataset; name a table or a query")
        if not self.dataset and len(engines) != 1:
            raise SpecificationError("sql_conn_id", engines, f"one of sql_conn_id and spark_conn_id with a {given[0]}")

    @property
    def in_files(self) -> bool:
        """Whether these are files that this process reads itself."""
        return not (self.sql_conn_id or self.spark_conn_id)


class _InPlace(Protocol):
    """Judges rows where they lie."""

    def validate(self, suite: SuiteSpec, *, example_rows: int) -> tuple[TableFacts, tuple[RuleResult, ...]]: ...


def load_suite(source: Any, *, backend: str | None, folder: str | Path | None) -> SuiteSpec:
    """Read a suite from a mapping, a file or a function.

    :param source: what the operator was given
    :param backend: what evaluates the rules; None for the suite's own choice
    :param folder: where relative paths begin
    :raises SpecificationError: on anything that would check less than was asked for
    """
    from airflow_mlops.validation.spec import parse_suite

    if isinstance(source, Function):
        from airflow_mlops.adapters.validators.declared import call_declared, suite_document

        document = suite_document(call_declared(source.call, field="suite"), name=source.name)
    else:
        document = load_document(source, field="suite", folder=folder)
    return parse_suite(document if backend is None else {**document, "backend": backend})


def judge_rows(store: ArtifactStore, rows: Rows, suite: SuiteSpec, *, example_rows: int) -> ValidationReport:
    """Judge rows wherever they lie.

    :param example_rows: at most how many distinct unexpected values a result shows
    :raises SpecificationError: if the backend cannot judge rows there
    """
    if rows.spark_conn_id:
        return _judge_in_spark(store, rows, rows.spark_conn_id, suite, example_rows)
    if rows.sql_conn_id:
        return _judge_in_database(rows, rows.sql_conn_id, suite, example_rows)
    if isinstance(rows.dataset, Function):
        return _judge_returned(store, rows.dataset, suite, example_rows)
    return judge_files(store, decode(DatasetRef, rows.dataset, where="dataset"), suite, example_rows=example_rows)


def judge_files(store: ArtifactStore, dataset: DatasetRef, suite: SuiteSpec, *, example_rows: int) -> ValidationReport:
    """Judge the rows of files, whose digest is checked first."""
    from airflow_mlops.validation.report import judge

    path = store.localize(dataset)
    results: tuple[RuleResult, ...] = ()
    if dataset.rows:
        backend = file_backend(suite.backend)
        results = backend.validate(path, suite, format=dataset.format, example_rows=example_rows)
    return judge(suite, dataset, results)


def file_backend(name: str) -> ValidationBackend:
    """Return the backend of this name for rows in files."""
    from airflow_mlops.adapters.tables.files import load_frame

    if name == "pandera":
        from airflow_mlops.adapters.validators.pandera import PanderaBackend

        return PanderaBackend(load_frame)
    from airflow_mlops.adapters.validators.great_expectations import GreatExpectationsBackend

    return GreatExpectationsBackend(load_frame)


def utc_now() -> str:
    """Return the time as text, for people."""
    return datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _judge_in_database(rows: Rows, conn_id: str, suite: SuiteSpec, example_rows: int) -> ValidationReport:
    from airflow_mlops.adapters.validators.great_expectations_sql import GreatExpectationsSqlBackend
    from airflow_mlops.hooks.sql import open_table

    _only_great_expectations(suite, "a database")
    table = open_table(conn_id, table=rows.table, schema=rows.schema, query=rows.query)
    try:
        return _judge_in_place(
            GreatExpectationsSqlBackend(table), suite, example_rows, _reference("sql", conn_id, table.name, table.query)
        )
    finally:
        table.close()


def _judge_in_spark(
    store: ArtifactStore, rows: Rows, conn_id: str, suite: SuiteSpec, example_rows: int
) -> ValidationReport:
    from airflow_mlops.adapters.validators.great_expectations_batch import batch_of_spark_frame
    from airflow_mlops.hooks.spark import open_frame
    from airflow_mlops.validation.report import judge

    _only_great_expectations(suite, "Spark")
    table = f"{rows.schema}.{rows.table}" if rows.schema else rows.table
    if not rows.dataset:
        with open_frame(conn_id, table=table or None, query=rows.query or None) as frame:
            named = _reference("spark", conn_id, table or None, rows.query or None)
            return _judge_in_place(batch_of_spark_frame(frame), suite, example_rows, named)
    dataset = decode(DatasetRef, rows.dataset, where="dataset")
    found = store.manifest(dataset.uri).digest
    if found != dataset.digest:
        from airflow_mlops.exceptions import DigestMismatchError

        raise DigestMismatchError(dataset.uri, dataset.digest, found)
    with open_frame(conn_id, path=dataset.uri, format=dataset.format) as frame:
        facts, results = batch_of_spark_frame(frame).validate(suite, example_rows=example_rows)
    if facts.rows != dataset.rows:
        raise SpecificationError("dataset.rows", dataset.rows, f"{facts.rows}, which is what Spark reads there")
    return judge(suite, dataset, results)


def _judge_returned(store: ArtifactStore, function: Function, suite: SuiteSpec, example_rows: int) -> ValidationReport:
    """Call what gives the rows, and judge them: a frame of pandas as a file, everything else in place."""
    from airflow_mlops.adapters.validators.declared import call_declared, data_kind
    from airflow_mlops.adapters.validators.great_expectations_batch import (
        GreatExpectationsBatchBackend,
        batch_of_spark_frame,
    )

    returned, parameters = call_declared(function.call, field="dataset"), None
    if isinstance(returned, tuple) and len(returned) == 2 and isinstance(returned[1], Mapping):
        returned, parameters = returned
    kind, name = data_kind(returned), function.name
    if kind == "mapping":
        return judge_files(store, decode(DatasetRef, returned, where="dataset"), suite, example_rows=example_rows)
    if kind == "pandas":
        return judge_files(store, _keep_frame(store, returned, name), suite, example_rows=example_rows)
    if kind is None:
        accepted = "a frame of pandas or Spark, a BatchDefinition, or that and its batch parameters"
        raise SpecificationError("dataset", type(returned).__name__, f"a function that returns {accepted}")
    _only_great_expectations(suite, "Spark" if kind == "spark" else "a batch of Great Expectations")
    if kind == "spark":
        named = _reference("spark", "function", name, None)
        return _judge_in_place(batch_of_spark_frame(returned), suite, example_rows, named)
    batch = GreatExpectationsBatchBackend(returned, parameters)
    return _judge_in_place(batch, suite, example_rows, _reference("batch", "function", batch.name, None))


def _keep_frame(store: ArtifactStore, frame: Any, name: str) -> DatasetRef:
    """Write a frame into the artefact store, so that what is judged is what others read."""
    from airflow_mlops.adapters.tables.files import describe
    from airflow_mlops.adapters.validators.declared import write_frame

    with tempfile.TemporaryDirectory(prefix="mlops-frame-") as folder:
        file = Path(folder) / "rows.parquet"
        write_frame(frame, file)
        manifest, facts = manifest_of(file), describe(file, "parquet")
        uri, _ = store.publish(Path(folder), "frames", name, manifest.digest.removeprefix("sha256:")[:32])
    return DatasetRef(
        uri=f"{uri}/rows.parquet",
        digest=manifest.digest,
        format="parquet",
        size_bytes=manifest.size_bytes,
        rows=facts.rows,
        columns=facts.columns,
    )


def _reference(
    kind: Literal["sql", "spark", "batch"], connection: str, table: str | None, query: str | None
) -> Callable[[TableFacts], TableRef]:
    from airflow_mlops.validation.source import reference_to

    now = utc_now()
    return lambda facts: reference_to(kind=kind, connection=connection, table=table, query=query, facts=facts, now=now)


def _judge_in_place(
    backend: _InPlace, suite: SuiteSpec, example_rows: int, reference: Callable[[TableFacts], TableRef]
) -> ValidationReport:
    from airflow_mlops.validation.report import judge

    facts, results = backend.validate(suite, example_rows=example_rows)
    return judge(suite, reference(facts), results)


def _only_great_expectations(suite: SuiteSpec, where: str) -> None:
    if suite.backend != "great_expectations":
        raise SpecificationError(
            "backend", suite.backend, f"'great_expectations' for rows in {where}; the others load files into memory"
        )
