"""The operator that decides whether a candidate may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.clock import SystemClock
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.hooks.evaluations import read_evaluation
from airflow_mlops.links.report import ReportLink, publish_report
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors, conclude
from airflow_mlops.operators.record import record
from airflow_mlops.verdict import CheckResult, Verdict, combine

if TYPE_CHECKING:
    from airflow_mlops.evaluation.policy import GatePolicy
    from airflow_mlops.evaluation.report import EvaluationReport

__all__ = ["ModelGateOperator"]

_ON_FAIL = ("fail", "skip")


class ModelGateOperator(MLOpsOperator):
    """Let a candidate pass, or stop it with the numbers that speak against it.

    A rule passes only when the whole interval lies on its good side; too little evidence is no pass. The decision is
    recorded as evidence and shown as a report before the task ends, however it ends.

    Returns ``verdict``, ``evidence_uri``, ``evidence_digest``, ``report_uri`` and ``checks``.

    :param evaluation: what ``EvaluateModelOperator`` returned (templated)
    :param policy: mapping, or path of a YAML file, as :mod:`airflow_mlops.evaluation.policy` describes; relative paths
        begin at the DAG's folder (templated)
    :param model_name: name of the model; the decision joins its chain of evidence (templated)
    :param on_fail: ``fail``, or ``skip`` to skip what follows; errors fail in either case
    """

    template_fields: Sequence[str] = ("evaluation", "policy", "model_name", "on_fail")
    operator_extra_links = (ReportLink(),)
    ui_color = "#fce4ec"

    def __init__(
        self,
        *,
        evaluation: Mapping[str, Any],
        policy: str | Path | Mapping[str, Any],
        model_name: str,
        on_fail: str = "fail",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.evaluation = evaluation
        self.policy = policy
        self.model_name = model_name
        self.on_fail = on_fail

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Judge, keep evidence and report, and let the verdict decide."""
        from airflow_mlops.evaluation.gate import judge
        from airflow_mlops.evaluation.policy import parse_policy

        if self.on_fail not in _ON_FAIL:
            raise SpecificationError("on_fail", self.on_fail, "one of " + ", ".join(map(repr, _ON_FAIL)))
        store = ArtifactStore.from_config()
        policy = parse_policy(load_document(self.policy, field="policy", folder=dag_folder(self)))
        report = _read(store, self.evaluation)
        checks = judge(report, policy)
        result = self._record(context, store, report, policy, checks)
        context["ti"].xcom_push(key="return_value", value=result)
        self._conclude(checks)
        return result

    def _record(
        self,
        context: Context,
        store: ArtifactStore,
        report: EvaluationReport,
        policy: GatePolicy,
        checks: Sequence[CheckResult],
    ) -> dict[str, Any]:
        from airflow_mlops.evaluation.html import render_html

        judged_at = datetime.fromtimestamp(SystemClock().now(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        page = render_html(report, policy, checks, model_name=self.model_name, judged_at=judged_at)
        report_uri = publish_report(context, store, "gate", page)
        references = {role: self.evaluation.get(role) for role in ("candidate", "champion", "dataset")}
        uri, digest = record(
            context,
            store,
            decision="gate",
            subject=self.model_name,
            verdict=combine(checks),
            checks=checks,
            references={**references, "evaluation": _named(self.evaluation)},
            policy=policy,
            notes={"report_uri": report_uri, "days": report.days},
            distributions=("numpy", "scipy"),
        )
        return {
            "verdict": combine(checks).value,
            "evidence_uri": uri,
            "evidence_digest": digest,
            "report_uri": report_uri,
            "checks": [{"name": one.name, "verdict": one.verdict.value, "reason": one.reason} for one in checks],
        }

    def _conclude(self, checks: Sequence[CheckResult]) -> None:
        for check in checks:
            self.log.info("%s: %s: %s", check.verdict.value, check.name, check.reason)
        verdict = combine(checks)
        against = [f"{one.reason} [{one.verdict.value}]" for one in checks if not one.verdict.promotes]
        message = f"the gate does not let this candidate for {self.model_name} pass: {'; '.join(against)}"
        if self.on_fail == "skip" and verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE):
            raise AirflowSkipException(message)
        conclude(verdict, message)


def _named(evaluation: Mapping[str, Any]) -> dict[str, Any]:
    return {"uri": evaluation.get("evaluation_uri"), "digest": evaluation.get("evaluation_digest")}


def _read(store: ArtifactStore, evaluation: Any) -> EvaluationReport:
    if not isinstance(evaluation, Mapping):
        raise SpecificationError("evaluation", evaluation, "what EvaluateModelOperator returned")
    for name in ("evaluation_uri", "evaluation_digest", "candidate"):
        if not evaluation.get(name):
            raise SpecificationError(f"evaluation.{name}", evaluation.get(name), "what EvaluateModelOperator returned")
    return read_evaluation(store, str(evaluation["evaluation_uri"]), str(evaluation["evaluation_digest"]))
