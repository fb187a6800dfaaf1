"""Operators that judge data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowException, AirflowFailException

from airflow_mlops.clock import SystemClock
from airflow_mlops.codec import decode, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors
from airflow_mlops.operators.record import record
from airflow_mlops.references import DatasetRef
from airflow_mlops.verdict import Verdict

if TYPE_CHECKING:
    from airflow_mlops.validation.report import RuleResult, ValidationReport
    from airflow_mlops.validation.spec import SuiteSpec

__all__ = ["ValidateDataOperator"]

_ON_FAIL = ("fail", "warn")
_RULES_IN_MESSAGE = 5


class ValidateDataOperator(MLOpsOperator):
    """Check a dataset against a suite of Great Expectations rules.

    A broken critical rule fails the task without retries and the message says which rule, how many rows and, unless
    ``example_rows`` is 0, which values. A rule that cannot be evaluated, a suite without rules and a dataset without
    rows never pass. The report is kept as an HTML page and the decision as evidence before the task ends either way;
    the same facts are pushed as the return value.

    Returns ``verdict``, ``summary`` (counts), ``failed`` (the broken rules), ``report_uri``, ``evidence_uri`` and
    ``dataset``.

    :param dataset: encoded :class:`~airflow_mlops.references.DatasetRef`, as :class:`SnapshotDatasetOperator` returns
        it (templated)
    :param suite: mapping with ``name`` and ``rules``, or path of a YAML file with it; relative paths begin at the
        DAG's folder (templated)
    :param on_fail: ``fail``, or ``warn`` to go on with a warning in the log; errors fail in either case
    :param example_rows: at most how many unexpected values a rule shows; with 0 no value of any row leaves the data
    """

    template_fields: Sequence[str] = ("dataset", "suite", "on_fail")
    operator_extra_links = (ReportLink(),)
    ui_color = "#fff3e0"

    def __init__(
        self,
        *,
        dataset: Mapping[str, Any],
        suite: str | Path | Mapping[str, Any],
        on_fail: str = "fail",
        example_rows: int = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.dataset = dataset
        self.suite = suite
        self.on_fail = on_fail
        self.example_rows = example_rows

    def execute(self, context: Context) -> dict[str, Any]:
        """Validate, keep report and evidence, and let the verdict decide."""
        from airflow_mlops.validation.spec import parse_suite

        with airflow_errors():
            if self.on_fail not in _ON_FAIL:
                raise SpecificationError("on_fail", self.on_fail, "one of " + ", ".join(map(repr, _ON_FAIL)))
            suite = parse_suite(load_document(self.suite, field="suite", folder=dag_folder(self)))
            dataset = decode(DatasetRef, self.dataset, where="dataset")
            store = ArtifactStore.from_config()
            report = self._judge(store, suite, dataset)
            result = self._record(context, store, report)
        context["ti"].xcom_push(key="return_value", value=result)
        self._conclude(report, result)
        return result

    def _judge(self, store: ArtifactStore, suite: SuiteSpec, dataset: DatasetRef) -> ValidationReport:
        from airflow_mlops.adapters.tables.files import load_frame
        from airflow_mlops.adapters.validators.great_expectations import GreatExpectationsBackend
        from airflow_mlops.validation.report import judge

        path = store.localize(dataset)
        results: tuple[RuleResult, ...] = ()
        if dataset.rows:
            backend = GreatExpectationsBackend(load_frame)
            results = backend.validate(path, suite, format=dataset.format, example_rows=self.example_rows)
        return judge(suite, dataset, results)

    def _record(self, context: Context, store: ArtifactStore, report: ValidationReport) -> dict[str, Any]:
        from airflow_mlops.validation.html import render_html
        from airflow_mlops.validation.report import failing_facts, summarise

        checked_at = datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        report_uri = publish_report(context, store, "validation", render_html(report, checked_at=checked_at))
        evidence_uri, _ = record(
            context,
            store,
            decision="validation",
            subject=report.suite.name,
            verdict=report.verdict,
            checks=report.checks,
            references={"dataset": report.dataset},
            policy=report.suite,
            notes={"report_uri": report_uri},
            distributions=("great-expectations", "pandas", "pyarrow"),
        )
        return {
            "verdict": report.verdict.value,
            "summary": summarise(report),
            "failed": failing_facts(report),
            "report_uri": report_uri,
            "evidence_uri": evidence_uri,
            "dataset": encode(report.dataset),
        }

    def _conclude(self, report: ValidationReport, result: Mapping[str, Any]) -> None:
        for check in report.checks:
            self.log.info("%s: %s", check.verdict.value, check.reason)
        if report.verdict.promotes:
            return
        message = f"{_message(report)}. Report: {result['report_uri']}"
        if report.verdict is Verdict.FAIL and self.on_fail == "warn":
            self.log.warning("%s", message)
            return
        if report.is_final:
            raise AirflowFailException(message)
        raise AirflowException(message)


def _message(report: ValidationReport) -> str:
    decisive = [result for result in report.broken if result.verdict in (Verdict.FAIL, Verdict.ERROR)]
    known = {result.reason for result in report.results}
    said = [check.reason for check in report.checks if check.reason not in known]
    said += [_sentence(result) for result in decisive[:_RULES_IN_MESSAGE]]
    if len(decisive) > _RULES_IN_MESSAGE:
        said.append(f"and {len(decisive) - _RULES_IN_MESSAGE} more")
    dataset = report.dataset.partition or report.dataset.uri
    verdict = "is not fit for use" if report.verdict is Verdict.FAIL else "could not be cleared"
    return f"dataset {dataset} {verdict} by suite {report.suite.name!r}: {'; '.join(said)}"


def _sentence(result: RuleResult) -> str:
    if result.examples:
        return f"{result.reason}, for example {', '.join(example.value for example in result.examples)}"
    if result.first_rows:
        return f"{result.reason}, first in rows {', '.join(map(str, result.first_rows))} (counted from 0)"
    return result.reason
