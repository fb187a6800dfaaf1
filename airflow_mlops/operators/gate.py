"""The operator that decides whether a candidate may go on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BranchMixIn, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.hooks.documents import dag_folder, load_document
from airflow_mlops.links.base import report_url
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors, conclude

if TYPE_CHECKING:
    from airflow_mlops.evaluation.policy import GatePolicy
    from airflow_mlops.operators.gate_record import Judgement
    from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["ModelGateOperator"]

_ON_FAIL = ("fail", "skip", "branch")


class ModelGateOperator(MLOpsOperator, BranchMixIn):
    """Let a candidate pass, or stop it with the numbers that speak against it.

    A rule passes only when the whole interval lies on its good side; too little evidence is no pass. The decision is
    recorded as evidence and shown as a report before the task ends, however it ends.

    Where the policy says so a person decides: the task waits in Airflow's state ``awaiting_input``, which takes no
    worker and no triggerer, with the evidence as a table in the form. What they answer is evidence of its own, chained
    to what they were shown: an approved candidate goes on with the verdict ``warn``, a rejected one has failed, and
    without an answer in time it is rejected. An approval is void, and the task fails, if the evidence or the
    evaluation is not what it was when the question was asked. A failed candidate can be approved only where the policy
    has ``allow_override``. A retry judges, and asks, anew.

    What happens to a candidate that does not pass is a choice; an error fails the task in any case:

    - ``fail``: the task fails without retries.
    - ``skip``: the task is skipped, and so is what follows.
    - ``branch``: the task succeeds, and of the tasks behind it those in ``pass_task_ids`` or those in ``fail_task_ids``
      run; the others are skipped.

    Returns ``verdict``, ``evidence_uri``, ``evidence_digest``, ``report_uri``, ``checks`` and ``approval``: None, or
    ``approved``, ``by_id``, ``by_name``, ``at``, ``comment`` and the evidence that was shown, ``gate_evidence_uri`` and
    ``gate_evidence_digest``.

    :param evaluation: what ``EvaluateModelOperator`` returned (templated)
    :param policy: mapping, or path of a YAML file, as :mod:`airflow_mlops.evaluation.policy` describes; relative paths
        begin at the DAG's folder (templated)
    :param model_name: name of the model; the decision joins its chain of evidence (templated)
    :param on_fail: ``fail``, ``skip`` or ``branch`` (templated)
    :param ask: when a person decides, ``never``, ``inconclusive`` or ``always``, for a policy without ``approval``;
        None for never (templated)
    :param ask_timeout_seconds: how long a question waits for its answer (templated)
    :param assigned_users: who may answer, each with ``id`` and ``name`` as Airflow's auth manager knows them; empty for
        everybody who may act on the DAG (templated)
    :param pass_task_ids: with ``branch``, the tasks or task groups behind this one for candidates that pass
    :param fail_task_ids: with ``branch``, the tasks or task groups behind this one for candidates that do not
    """

    template_fields: Sequence[str] = (
        *("evaluation", "policy", "model_name", "on_fail", "ask", "ask_timeout_seconds", "assigned_users"),
    )
    operator_extra_links = (ReportLink(), EvidenceLink(), ModelLink())
    ui_color = "#fce4ec"
    #: Airflow looks for what a branch has skipped; without one there is nothing to find.
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        evaluation: Mapping[str, Any],
        policy: str | Path | Mapping[str, Any],
        model_name: str,
        on_fail: str = "fail",
        ask: str | None = None,
        ask_timeout_seconds: float = 86_400,
        assigned_users: Sequence[Mapping[str, str]] = (),
        pass_task_ids: str | Sequence[str] = (),
        fail_task_ids: str | Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.evaluation = evaluation
        self.policy = policy
        self.model_name = model_name
        self.on_fail = on_fail
        self.ask = ask
        self.ask_timeout_seconds = ask_timeout_seconds
        self.assigned_users = assigned_users
        self.pass_task_ids = pass_task_ids
        self.fail_task_ids = fail_task_ids

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Judge, keep evidence and report, and let the verdict decide, or a person."""
        from airflow_mlops.operators.gate_record import record_judgement
        from airflow_mlops.verdict import combine

        self._branches()
        store = ArtifactStore.from_config()
        judged, problem = self._judge(store, self._policy())
        asks = self._question(judged)
        judged = replace(judged, asks=asks)
        result = record_judgement(context, store, judged)
        if asks is None and problem is None:
            return self._conclude(context, result, judged.checks, combine(judged.checks))
        context["ti"].xcom_push(key="return_value", value=result)
        if asks is not None:
            self._ask(context, judged, asks, result)
        raise ContractError(str(problem)) from problem

    @airflow_errors()
    def answered(
        self, context: Context, event: Mapping[str, Any], evidence_uri: str, evidence_digest: str
    ) -> dict[str, Any]:
        """Go on after a person's answer, or after the time for it.

        :param event: what Airflow says of the answer
        :param evidence_uri: where the evidence is that was shown
        :param evidence_digest: its digest
        """
        from airflow_mlops.operators.gate_record import asked_about, record_answer, record_void
        from airflow_mlops.operators.questions import read_answer
        from airflow_mlops.verdict import CheckResult, Verdict

        store, answer = ArtifactStore.from_config(), read_answer(event)
        try:
            asked, report = asked_about(store, evidence_uri, evidence_digest)
        except (ContractError, SpecificationError) as error:
            try:
                record_void(context, store, self.model_name, answer, uri=evidence_uri, why=str(error))
            except ContractError as refused:  # nothing is chained to a document that was changed
                self.log.warning("That cannot be put on record: %s", refused)
            raise ContractError(f"the answer of {answer.who} is void: {error}") from error
        result = record_answer(context, store, answer, asked, report, uri=evidence_uri)
        verdict = Verdict(result["verdict"])
        said = CheckResult(name="approval", verdict=verdict, reason=result["checks"][-1]["reason"])
        return self._conclude(context, result, (said,), verdict)

    def _policy(self) -> GatePolicy:
        from airflow_mlops.evaluation.approval import ApprovalRule
        from airflow_mlops.evaluation.policy import parse_policy

        policy = parse_policy(load_document(self.policy, field="policy", folder=dag_folder(self)))
        if self.ask is None:
            return policy
        wanted = decode(ApprovalRule, {"ask": self.ask}, where="approval")
        if policy.approval is not None and policy.approval.ask != wanted.ask:
            raise SpecificationError("ask", self.ask, f"what the policy says, {policy.approval.ask!r}, or nothing")
        return replace(policy, approval=policy.approval or wanted)

    def _judge(self, store: ArtifactStore, policy: GatePolicy) -> tuple[Judgement, ContractError | None]:
        """Judge; an evaluation that cannot be read is an error that has evidence and a page, too."""
        from airflow_mlops.evaluation.gate import judge
        from airflow_mlops.evaluation.holdout import holdout_uses
        from airflow_mlops.hooks.evaluations import read_evaluation
        from airflow_mlops.operators.gate_record import Judgement
        from airflow_mlops.verdict import CheckResult, Verdict

        given = _evaluation(self.evaluation)
        references: dict[str, Any] = {role: given.get(role) for role in ("candidate", "champion", "dataset")}
        references["evaluation"] = {"uri": given["evaluation_uri"], "digest": given["evaluation_digest"]}
        if given.get("report_uri"):
            references["evaluation"]["report_uri"] = given["report_uri"]
        uses = holdout_uses(store.read_evidence(self.model_name), references)
        report, problem = None, None
        try:
            report = read_evaluation(store, str(given["evaluation_uri"]), str(given["evaluation_digest"]))
            checks = judge(report, policy, uses=uses)
        except ContractError as error:
            problem = error
            checks = (CheckResult(name="evaluation", verdict=Verdict.ERROR, reason=str(error)),)
        found = Judgement(
            model_name=self.model_name, policy=policy, checks=checks, references=references, report=report, uses=uses
        )
        return found, problem

    def _question(self, judged: Judgement) -> dict[str, Any] | None:
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.operators.gate_record import moment
        from airflow_mlops.operators.questions import check_users

        users = check_users(self.assigned_users)
        seconds = float(self.ask_timeout_seconds)
        if not seconds > 0:
            raise SpecificationError("ask_timeout_seconds", self.ask_timeout_seconds, "a number above 0")
        rule = judged.policy.approval
        if rule is None or not rule.wants(judged.checks):
            return None
        return {"until": moment(SystemClock().now() + seconds), "assigned_users": users}

    def _ask(self, context: Context, judged: Judgement, asks: Mapping[str, Any], result: Mapping[str, Any]) -> NoReturn:
        from airflow_mlops.evaluation.approval import form
        from airflow_mlops.operators.questions import ask
        from airflow_mlops.verdict import combine

        verdict = combine(judged.checks)
        self.log.info("The verdict is %s; a person is asked until %s", verdict.value, asks["until"])
        body = form(
            judged.checks,
            verdict,
            references={role: _named(judged.references.get(role)) for role in ("candidate", "champion", "dataset")},
            evidence_digest=str(result["evidence_digest"]),
            report_address=report_url(origin(context), "gate"),
            until=asks["until"],
        )
        ask(
            context,
            subject=f"May this candidate for {judged.model_name} go on? The gate says: {verdict.value}",
            body=body,
            assigned_users=asks["assigned_users"],
            timeout=timedelta(seconds=float(self.ask_timeout_seconds)),
            resume="answered",
            evidence_uri=str(result["evidence_uri"]),
            evidence_digest=str(result["evidence_digest"]),
        )

    def _conclude(
        self, context: Context, result: dict[str, Any], checks: Sequence[CheckResult], verdict: Verdict
    ) -> dict[str, Any]:
        from airflow_mlops.verdict import Verdict

        branches = self._branches()
        for key, value in ({"return_value": result} | (result if self.multiple_outputs else {})).items():
            context["ti"].xcom_push(key=key, value=value)
        for check in checks:
            self.log.info("%s: %s: %s", check.verdict.value, check.name, check.reason)
        against = [f"{one.reason} [{one.verdict.value}]" for one in checks if not one.verdict.promotes]
        message = f"the gate does not let this candidate for {self.model_name} pass: {'; '.join(against)}"
        stopped = verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)
        if self.on_fail == "skip" and stopped:
            raise AirflowSkipException(message)
        if branches is not None and stopped:
            self.log.warning("%s", message)
        else:
            conclude(verdict, message)
        if branches is not None:
            self.do_branch(context, branches[verdict.promotes])
        return result

    def _branches(self) -> dict[bool, list[str]] | None:
        from airflow_mlops.operators.branches import read_branches

        if self.on_fail not in _ON_FAIL:
            raise SpecificationError("on_fail", self.on_fail, "one of " + ", ".join(map(repr, _ON_FAIL)))
        return read_branches(self.get_dag(), self.on_fail, self.pass_task_ids, self.fail_task_ids)


def _evaluation(given: Any) -> Mapping[str, Any]:
    if not isinstance(given, Mapping):
        raise SpecificationError("evaluation", given, "what EvaluateModelOperator returned")
    for name in ("evaluation_uri", "evaluation_digest", "candidate"):
        if not given.get(name):
            raise SpecificationError(f"evaluation.{name}", given.get(name), "what EvaluateModelOperator returned")
    return given


def _named(reference: Any) -> str:
    many = reference if isinstance(reference, (list, tuple)) else [reference]
    return ", ".join(str(one.get("digest")) for one in many if isinstance(one, Mapping)) or "none"
