"""Operators that judge data."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BranchMixIn, Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlops.codec import encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import dag_folder
from airflow_mlops.links.pages import EvidenceLink
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors

if TYPE_CHECKING:
    from airflow_mlops.operators.judging import Rows
    from airflow_mlops.validation.quarantine import Separation
    from airflow_mlops.validation.report import RuleResult, ValidationReport

__all__ = ["ValidateDataOperator"]

_ON_FAIL = ("fail", "warn", "quarantine", "branch")
_RULES_IN_MESSAGE = 5


class ValidateDataOperator(MLOpsOperator, BranchMixIn):
    """Check rows against a suite of rules, with Great Expectations or pandera.

    The rows are named in one of four ways:

    - ``dataset``: files with a digest, as :class:`SnapshotDatasetOperator` returns them. With ``spark_conn_id`` Spark
      reads them, else this process does.
    - ``table`` or ``query`` with ``sql_conn_id``: in a database. The rules become statements of the database; what
      leaves it are counts, aggregates and, unless ``example_rows`` is 0, at most 200 unexpected values of a rule. (The
      rule ``unexpected_rows_expectation`` is a statement of the user's own: it may fetch more.)
    - ``table`` or ``query`` with ``spark_conn_id``: a table or statement of Spark's catalogue.
    - ``dataset`` as a function, called when the task runs: it returns a frame of pandas, which is kept as Parquet in
      the artefact store and then judged like every file; or a frame of Spark, or a ``BatchDefinition`` of Great
      Expectations, alone or with its batch parameters, which are judged where they are.

    Rows that are not in files can change: what is judged is named by connection, table or query, schema, number of
    rows and time, and a database in which the number of rows changed during the check is tried again.

    The message of a broken critical rule says which rule and how many rows. What happens then is a choice:

    - ``fail``: the task fails without retries.
    - ``warn``: the task succeeds, with a warning in its log.
    - ``quarantine``, for rows in files: rows that break critical rules are written aside, each with the rules that it
      broke, and the good rows go on as a dataset of their own, which the whole suite must then clear. All rows are
      accounted for, or the task fails. A broken rule about the table as a whole fails the task: no row can be set
      aside for it.
    - ``branch``: the task succeeds, and of the tasks behind it those in ``pass_task_ids`` or those in ``fail_task_ids``
      run; the others are skipped.

    A rule that cannot be evaluated, a suite without rules and a dataset without rows are errors: the task fails,
    whatever was chosen. The report is kept as an HTML page and the decision as evidence before the task ends either
    way; the same facts are pushed as the return value. Values of rows stand in the report only, unless
    ``log_examples`` says otherwise.

    Returns ``verdict``, ``summary`` (counts), ``failed`` (the broken rules), ``report_uri``, ``evidence_uri`` and
    ``dataset``: what may be used further, after a quarantine the good rows; for rows that are not in files an encoded
    :class:`~airflow_mlops.validation.source.TableRef`. With ``on_fail="quarantine"`` there is also ``quarantine`` with
    ``rows``, ``good_rows``, ``bad_rows``, ``broken`` (rule to number of rows), ``source``, ``bad`` (reference, None if
    all rows are good) and ``verdict`` (of the good rows).

    :param suite: mapping with ``name`` and ``rules``, or Great Expectations' own form of a suite; or path of a YAML or
        JSON file with it, relative paths begin at the DAG's folder; or a function, called when the task runs, that
        returns such a mapping, an ``ExpectationSuite``, an ``Expectation`` or a list of them (templated)
    :param dataset: encoded :class:`~airflow_mlops.references.DatasetRef`, or a function that gives rows (templated)
    :param table: name of a table or view, as the database writes it (templated)
    :param schema: schema of the table, None for the database's default (templated)
    :param query: a statement that begins with SELECT or WITH (templated)
    :param sql_conn_id: connection of the database (templated)
    :param spark_conn_id: connection of Spark, whose host may be ``local[*]`` (templated)
    :param on_fail: ``fail``, ``warn``, ``quarantine`` or ``branch`` (templated)
    :param example_rows: at most how many unexpected values the report shows of a rule; with 0 no value of any row
        leaves the data
    :param log_examples: whether these values also stand in the task's log, its message and its return value, all of
        which Airflow keeps
    :param quarantine_warnings: whether rows that break rules of severity ``warning`` are set aside too
    :param max_bad_share: at most which share of the rows may be set aside, above 0 and at most 1; with more bad rows
        the task fails
    :param backend: what evaluates the rules, ``great_expectations`` or, for rows in files, ``pandera``; None for the
        suite's own choice (templated)
    :param pass_task_ids: with ``branch``, the tasks or task groups behind this one that run on data that may be used
    :param fail_task_ids: with ``branch``, the tasks or task groups behind this one that run on data that may not
    """

    template_fields: Sequence[str] = (
        *("suite", "dataset", "table", "schema", "query", "sql_conn_id", "spark_conn_id", "on_fail", "backend"),
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"query": "sql"}
    operator_extra_links = (ReportLink(), EvidenceLink())
    ui_color = "#fff3e0"
    #: Airflow looks for what a branch has skipped; without one there is nothing to find.
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        suite: str | Path | Mapping[str, Any] | Callable[..., Any],
        dataset: Mapping[str, Any] | Callable[..., Any] | None = None,
        table: str | None = None,
        schema: str | None = None,
        query: str | None = None,
        sql_conn_id: str | None = None,
        spark_conn_id: str | None = None,
        on_fail: str = "fail",
        example_rows: int = 5,
        log_examples: bool = False,
        quarantine_warnings: bool = False,
        max_bad_share: float = 0.5,
        backend: str | None = None,
        pass_task_ids: str | Sequence[str] = (),
        fail_task_ids: str | Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.suite = _called_later(suite)
        self.dataset = _called_later(dataset)
        self.table = table
        self.schema = schema
        self.query = query
        self.sql_conn_id = sql_conn_id
        self.spark_conn_id = spark_conn_id
        self.on_fail = on_fail
        self.example_rows = example_rows
        self.log_examples = log_examples
        self.quarantine_warnings = quarantine_warnings
        self.max_bad_share = max_bad_share
        self.backend = backend
        self.pass_task_ids = pass_task_ids
        self.fail_task_ids = fail_task_ids

    def execute(self, context: Context) -> dict[str, Any]:
        """Validate, keep report and evidence, and let the verdict decide."""
        from airflow_mlops.operators.judging import judge_rows, load_suite

        with airflow_errors():
            rows = self._checked()
            branches = self._branches()
            suite = load_suite(self.suite, backend=self.backend, folder=dag_folder(self))
            store = ArtifactStore.from_config()
            report = judge_rows(store, rows, suite, example_rows=self.example_rows)
            result, obstacle = self._settle(context, store, report)
        for key, value in ({"return_value": result} | (result if self.multiple_outputs else {})).items():
            context["ti"].xcom_push(key=key, value=value)
        self._conclude(report, result, obstacle)
        if branches is not None:
            self.do_branch(context, branches[report.verdict.promotes])
        return result

    def _checked(self) -> Rows:
        """Check the arguments before any work is done, and say where the rows lie."""
        from airflow_mlops.operators.judging import BACKENDS, Rows

        if self.on_fail not in _ON_FAIL:
            raise SpecificationError("on_fail", self.on_fail, "one of " + ", ".join(map(repr, _ON_FAIL)))
        if self.backend not in (None, *BACKENDS):
            raise SpecificationError("backend", self.backend, "one of " + ", ".join(map(repr, BACKENDS)))
        rows = Rows(
            dataset=self.dataset,
            table=self.table,
            schema=self.schema,
            query=self.query,
            sql_conn_id=self.sql_conn_id,
            spark_conn_id=self.spark_conn_id,
        )
        if self.on_fail == "quarantine" and not rows.in_files:
            raise SpecificationError(
                "on_fail", self.on_fail, "'fail', 'warn' or 'branch': bad rows are set aside from files only"
            )
        return rows

    def _settle(
        self, context: Context, store: ArtifactStore, report: ValidationReport
    ) -> tuple[dict[str, Any], str | None]:
        """Separate the rows where that was chosen; keep report and evidence of what was found before and after.

        :return: the task's result, and why rows could not be separated
        """
        from airflow_mlops.operators.judging import judge_files

        if self.on_fail != "quarantine":
            return self._record(context, store, report, {}), None
        separation, obstacle = self._separate(store, report)
        if separation is None:
            rows = report.dataset.rows
            nothing = {"good_rows": rows, "bad_rows": 0, "broken": {}, "bad": None, "verdict": report.verdict.value}
            kept = {"rows": rows, **nothing, "source": encode(report.dataset)} if obstacle is None else None
            return self._record(context, store, report, {"quarantine": kept, "obstacle": obstacle}), obstacle
        from airflow_mlops.operators.quarantine import facts

        good = judge_files(store, separation.good, report.suite, example_rows=self.example_rows)
        found = facts(separation, good)
        result = self._record(context, store, report, {"quarantine": found, "obstacle": None})
        after = self._record(context, store, good, {"separated_from": found["source"]}, page="validation-of-good-rows")
        for check in good.checks:
            self.log.info("good rows: %s: %s", check.verdict.value, check.reason)
        if not good.verdict.promotes:
            said = "; ".join(check.reason for check in good.checks if not check.verdict.promotes)
            return result, f"{found['bad_rows']:,} bad rows were set aside, but the good rows fail as well: {said}"
        return result | {"dataset": after["dataset"]}, None

    def _separate(self, store: ArtifactStore, report: ValidationReport) -> tuple[Separation | None, str | None]:
        from airflow_mlops.operators.judging import file_backend
        from airflow_mlops.operators.quarantine import set_aside
        from airflow_mlops.references import DatasetRef
        from airflow_mlops.validation.quarantine import plan_quarantine

        if not isinstance(report.dataset, DatasetRef):
            return None, "bad rows are set aside from files only, and these rows are not in files"
        plan = plan_quarantine(report, warnings=self.quarantine_warnings)
        if plan.obstacle is not None or not plan.positions:
            return None, plan.obstacle
        backend = file_backend(report.suite.backend)
        found = set_aside(store, report, backend, plan.positions, max_share=self.max_bad_share)
        return (None, found) if isinstance(found, str) else (found, None)

    def _record(
        self,
        context: Context,
        store: ArtifactStore,
        report: ValidationReport,
        notes: Mapping[str, Any],
        *,
        page: str = "validation",
    ) -> dict[str, Any]:
        from airflow_mlops.operators.judging import BACKENDS, utc_now
        from airflow_mlops.operators.record import record
        from airflow_mlops.validation.html import render_html
        from airflow_mlops.validation.report import failing_facts, summarise

        html = render_html(report, checked_at=utc_now(), quarantine=notes.get("quarantine"))
        write = publish_report if page == "validation" else _write_page
        report_uri = write(context, store, page, html)
        evidence_uri, _ = record(
            context,
            store,
            decision="validation",
            subject=report.suite.name,
            verdict=report.verdict,
            checks=report.checks,
            references={"dataset": report.dataset},
            policy=report.suite,
            notes={"report_uri": report_uri, **notes},
            distributions=(BACKENDS[report.suite.backend], "pandas", "pyarrow", "sqlalchemy", "pyspark"),
        )
        result = {
            "verdict": report.verdict.value,
            "summary": summarise(report),
            "failed": failing_facts(report, examples=self.log_examples),
            "report_uri": report_uri,
            "evidence_uri": evidence_uri,
            "dataset": encode(report.dataset),
        }
        return result | {key: notes[key] for key in ("quarantine",) if key in notes}

    def _conclude(self, report: ValidationReport, result: Mapping[str, Any], obstacle: str | None) -> None:
        from airflow_mlops.verdict import Verdict

        for check in report.checks:
            self.log.info("%s: %s", check.verdict.value, check.reason)
        aside = (result.get("quarantine") or {}).get("bad_rows", 0)
        if obstacle is None and (report.verdict.promotes or aside):
            if aside:
                self.log.warning("%s; %s rows were set aside", self._message(report), f"{aside:,}")
            return
        said = f"Quarantine: {obstacle}. " if obstacle else ""
        message = f"{self._message(report)}. {said}Report: {result['report_uri']}"
        if report.verdict is Verdict.FAIL and self.on_fail in ("warn", "branch"):
            self.log.warning("%s", message)
            return
        if report.is_final or report.verdict is not Verdict.ERROR:
            raise AirflowFailException(message)
        raise AirflowException(message)

    def _branches(self) -> dict[bool, list[str]] | None:
        """Where to go when the data may be used (True) and when not, checked before any work is done."""
        given = {"pass_task_ids": _ids(self.pass_task_ids), "fail_task_ids": _ids(self.fail_task_ids)}
        if self.on_fail != "branch":
            for field, ids in given.items():
                if ids:
                    raise SpecificationError(
                        field, ids, f"nothing with on_fail={self.on_fail!r}; only 'branch' follows it"
                    )
            return None
        dag = self.get_dag()
        known = set() if dag is None else {*dag.task_ids, *dag.task_group_dict}
        for field, ids in given.items():
            if not ids or not set(ids) <= known:
                raise SpecificationError(field, ids, "ids of tasks or task groups of this DAG")
        if set(given["pass_task_ids"]) & set(given["fail_task_ids"]):
            raise SpecificationError("fail_task_ids", given["fail_task_ids"], "other tasks than pass_task_ids")
        return {True: given["pass_task_ids"], False: given["fail_task_ids"]}

    def _message(self, report: ValidationReport) -> str:
        from airflow_mlops.verdict import Verdict

        decisive = [one for one in report.broken if one.verdict in (Verdict.FAIL, Verdict.ERROR)] or report.broken
        known = {result.reason for result in report.results}
        said = [check.reason for check in report.checks if check.reason not in known]
        said += [_sentence(result, examples=self.log_examples) for result in decisive[:_RULES_IN_MESSAGE]]
        if len(decisive) > _RULES_IN_MESSAGE:
            said.append(f"and {len(decisive) - _RULES_IN_MESSAGE} more")
        dataset = report.dataset.partition or report.dataset.uri
        verdict = "is not fit for use" if report.verdict is Verdict.FAIL else "could not be cleared"
        return f"dataset {dataset} {verdict} by suite {report.suite.name!r}: {'; '.join(said)}"


def _write_page(context: Context, store: ArtifactStore, name: str, html: str) -> str:
    return store.write_report(context, name, html)


def _called_later(given: Any) -> Any:
    if not callable(given):
        return given
    from airflow_mlops.operators.judging import Function

    return Function(given)


def _ids(given: str | Sequence[str]) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _sentence(result: RuleResult, *, examples: bool) -> str:
    if examples and result.examples:
        return f"{result.reason}, for example {', '.join(example.value for example in result.examples)}"
    if result.first_rows:
        return f"{result.reason}, first in rows {', '.join(map(str, result.first_rows))} (counted from 0)"
    return result.reason
