"""The operator that asks people whether a release may go out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.sdk import BranchMixIn, Context
from airflow.sdk.exceptions import AirflowSkipException

from airflow_mlops.codec import decode
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore, origin
from airflow_mlops.links.base import report_url
from airflow_mlops.links.pages import EvidenceLink, ModelLink
from airflow_mlops.links.report import ReportLink
from airflow_mlops.operators.base import MLOpsOperator
from airflow_mlops.operators.outcome import airflow_errors, conclude

if TYPE_CHECKING:
    from airflow_mlops.governance.approval import Question, ReleaseAnswer, Standing
    from airflow_mlops.references import ModelRef

__all__ = ["ApproveReleaseOperator"]

_ON_FAIL = ("fail", "skip", "branch")
_ON_CHANGE = ("fail", "ask")


class ApproveReleaseOperator(MLOpsOperator, BranchMixIn):
    """Let people decide whether a release goes out, and put on record who did.

    The task waits in Airflow's state ``awaiting_input``, which takes no worker and no triggerer and outlives their
    restarts, with the evidence of the release as a table in the form. An approval counts if it is given in time, by
    somebody other than the author, by nobody twice, and names the newest evidence, which the form has filled in. A
    rejection ends the question at once. Where several must approve, the form is shown again after each; Airflow keeps
    its text as it first was, and the task's report tells how it stands. Every question and every answer is evidence
    of the kind ``approval``. A task that is killed in between goes on with what was answered.

    The approval is void if the release got new evidence while people were asked, or what they were shown was changed.

    - ``on_change="fail"``: the task fails then, without a retry.
    - ``on_change="ask"``: people are asked anew; the digest of the new evidence, which an approval must name, is on
      the task's report.

    What happens to a release that is rejected, or not approved in time, is a choice as with ``ModelGateOperator``:

    - ``fail``: the task fails without retries.
    - ``skip``: the task is skipped, and so is what follows.
    - ``branch``: the task succeeds, and of the tasks behind it those in ``pass_task_ids`` or those in ``fail_task_ids``
      run; the others are skipped.

    Returns ``verdict``, ``state``, ``approvers`` (each with ``by_id``, ``by_name``, ``at`` and ``comment``),
    ``author``, ``quorum``, ``expires_at``, ``approved_evidence_digest``, ``evidence_uri``, ``evidence_digest`` and
    ``report_uri``. ``PromoteModelOperator`` takes it as its argument ``approval``.

    :param model_name: name of the model; its record of decisions holds the evidence (templated)
    :param model: reference of the files that are to be released (templated)
    :param version: number of the registered version, None if it has none (templated)
    :param author: whose work it is: a name, id or mail address that Airflow may know them by, or several of the same
        person; None takes who triggered the run or else, by git, who wrote the commit of the DAG's code (templated)
    :param quorum: how many different people must approve (templated)
    :param assigned_users: who may answer, each with ``id`` and ``name`` as Airflow's auth manager knows them; empty for
        everybody who may act on the DAG (templated)
    :param expires_seconds: after so many seconds the release is rejected, and an approval of no use (templated)
    :param on_change: ``fail`` or ``ask`` (templated)
    :param on_fail: ``fail``, ``skip`` or ``branch`` (templated)
    :param pass_task_ids: with ``branch``, the tasks or task groups behind this one for approved releases
    :param fail_task_ids: with ``branch``, the tasks or task groups behind this one for others
    """

    template_fields: Sequence[str] = (
        *("model_name", "model", "version", "author", "quorum", "assigned_users", "expires_seconds"),
        *("on_change", "on_fail"),
    )
    operator_extra_links = (ReportLink(), EvidenceLink(), ModelLink())
    ui_color = "#fce4ec"
    #: Airflow looks for what a branch has skipped; without one there is nothing to find.
    inherits_from_skipmixin = True

    def __init__(
        self,
        *,
        model_name: str,
        model: Mapping[str, Any],
        version: str | None = None,
        author: str | Sequence[str] | None = None,
        quorum: int = 1,
        assigned_users: Sequence[Mapping[str, str]] = (),
        expires_seconds: float = 86_400,
        on_change: str = "fail",
        on_fail: str = "fail",
        pass_task_ids: str | Sequence[str] = (),
        fail_task_ids: str | Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model_name = model_name
        self.model = model
        self.version = version
        self.author = author
        self.quorum = quorum
        self.assigned_users = assigned_users
        self.expires_seconds = expires_seconds
        self.on_change = on_change
        self.on_fail = on_fail
        self.pass_task_ids = pass_task_ids
        self.fail_task_ids = fail_task_ids

    @airflow_errors()
    def execute(self, context: Context) -> dict[str, Any]:
        """Ask, or go on with what was asked before this task was killed."""
        from airflow_mlops.governance.approval import earlier_question, read_standing

        if self.on_change not in _ON_CHANGE:
            raise SpecificationError("on_change", self.on_change, "one of " + ", ".join(map(repr, _ON_CHANGE)))
        self._branches()
        store, who = ArtifactStore.from_config(), origin(context)
        question = self._question(context, store)
        documents = store.read_evidence(self.model_name)
        earlier = earlier_question(documents, question, (who.dag_id, who.run_id, who.task_id, who.map_index))
        if earlier is None:
            self._ask_anew(context, store, question)
        standing = read_standing(documents, earlier)
        if standing.state == "open":
            self._ask(context, store, standing, earlier)
        return self._conclude(context, store, standing, earlier)

    @airflow_errors()
    def answered(self, context: Context, event: Mapping[str, Any], question_digest: str) -> dict[str, Any]:
        """Go on after an answer, or after the time for it.

        :param event: what Airflow says of the answer
        :param question_digest: digest of the evidence with which it was asked
        """
        from airflow_mlops.governance.approval import read_standing, step
        from airflow_mlops.operators.approval_record import newest_or_none, record_void

        store, answer = ArtifactStore.from_config(), _answer(event)
        try:
            documents = store.read_evidence(self.model_name)
            before = read_standing(documents, question_digest)
        except ContractError as error:
            who = "nobody" if answer is None else answer.who
            try:
                record_void(context, store, self.model_name, answer, why=str(error))
            except ContractError as refused:  # nothing is chained to a document that was changed
                self.log.warning("That cannot be put on record: %s", refused)
            raise ContractError(f"the answer of {who} is void: {error}") from error
        after = step(before, answer, newest=newest_or_none(store, documents, before.question.model_digest))
        self.log.info("%s: %s", after.state, after.reason)
        if after.state == "open":
            self._record(context, store, after, question_digest, answer)
            self._ask(context, store, after, question_digest)
        if after.state == "void" and self.on_change == "ask":
            self._record(context, store, after, question_digest, answer)
            self._ask_anew(context, store, self._question(context, store))
        return self._conclude(context, store, after, question_digest, answer)

    def _model(self) -> ModelRef:
        from airflow_mlops.references import ModelRef

        return decode(ModelRef, self.model, where="model")

    def _question(self, context: Context, store: ArtifactStore) -> Question:
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.governance.approval import Question, check_quorum
        from airflow_mlops.operators.approval_record import evidence_now, release_author
        from airflow_mlops.operators.questions import check_users

        users = check_users(self.assigned_users)
        author = release_author(context, self.author)
        seconds = float(self.expires_seconds)
        newest, _ = evidence_now(store, store.read_evidence(self.model_name), self._model().digest)
        now = SystemClock().now()
        return Question(
            model_name=self.model_name,
            model_digest=self._model().digest,
            version=str(self.version) if self.version else None,
            evidence_digest=newest,
            author=author,
            quorum=check_quorum(self.quorum, users, author),
            asked_at=now,
            expires_at=now + seconds,
        )

    def _ask_anew(self, context: Context, store: ArtifactStore, question: Question) -> NoReturn:
        from airflow_mlops.governance.approval import Standing

        standing = Standing(question=question)
        found = self._record(context, store, standing)
        self._ask(context, store, standing, found["evidence_digest"])

    def _ask(self, context: Context, store: ArtifactStore, standing: Standing, question_digest: str) -> NoReturn:
        from airflow_mlops.clock import SystemClock
        from airflow_mlops.operators.approval_record import form_body
        from airflow_mlops.operators.questions import ask, check_users

        asked = standing.question
        number = f"version {asked.version}" if asked.version else "this candidate"
        self.log.info("Asking people until %s; %d more must approve", self._asks(standing)["until"], standing.missing)
        ask(
            context,
            subject=f"May {number} of {self.model_name} be released?",
            body=form_body(store, standing, report_address=report_url(origin(context), "approval")),
            assigned_users=check_users(self.assigned_users),
            timeout=timedelta(seconds=max(asked.expires_at - SystemClock().now(), 0)),
            resume="answered",
            fields={
                "evidence": {
                    "value": asked.evidence_digest,
                    "description": "Which evidence you approve; the task's report shows the newest.",
                    "schema": {"type": ["string", "null"], "maxLength": 100},
                }
            },
            question_digest=question_digest,
        )

    def _record(
        self,
        context: Context,
        store: ArtifactStore,
        standing: Standing,
        question_digest: str | None = None,
        answer: ReleaseAnswer | None = None,
    ) -> dict[str, Any]:
        from airflow_mlops.operators.approval_record import record_standing

        asks = self._asks(standing) if standing.state == "open" else None
        return record_standing(
            context, store, standing, model=self._model(), question_digest=question_digest, answer=answer, asks=asks
        )

    def _asks(self, standing: Standing) -> dict[str, Any]:
        from airflow_mlops.operators.gate_record import moment
        from airflow_mlops.operators.questions import check_users

        return {"until": moment(standing.question.expires_at), "assigned_users": check_users(self.assigned_users)}

    def _conclude(
        self,
        context: Context,
        store: ArtifactStore,
        standing: Standing,
        question_digest: str,
        answer: ReleaseAnswer | None = None,
    ) -> dict[str, Any]:
        from airflow_mlops.verdict import Verdict

        result = self._record(context, store, standing, question_digest, answer)
        for key, value in ({"return_value": result} | (result if self.multiple_outputs else {})).items():
            context["ti"].xcom_push(key=key, value=value)
        verdict, branches = Verdict(result["verdict"]), self._branches()
        message = f"this release of {self.model_name} does not go out: {standing.reason}"
        if verdict is Verdict.ERROR:
            raise ContractError(message)
        if self.on_fail == "skip" and not verdict.promotes:
            raise AirflowSkipException(message)
        if branches is None:
            conclude(verdict, message)
        else:
            self.log.info("%s: %s", verdict.value, standing.reason)
            self.do_branch(context, branches[verdict.promotes])
        return result

    def _branches(self) -> dict[bool, list[str]] | None:
        from airflow_mlops.operators.branches import read_branches

        if self.on_fail not in _ON_FAIL:
            raise SpecificationError("on_fail", self.on_fail, "one of " + ", ".join(map(repr, _ON_FAIL)))
        return read_branches(self.get_dag(), self.on_fail, self.pass_task_ids, self.fail_task_ids)


def _answer(event: Mapping[str, Any]) -> ReleaseAnswer | None:
    from airflow_mlops.governance.approval import ReleaseAnswer
    from airflow_mlops.operators.questions import read_answer

    said = read_answer(event)
    if said.by_id is None or event.get("timedout"):
        return None
    given = event.get("responded_at")
    return ReleaseAnswer(
        approved=said.approved,
        by_id=said.by_id,
        by_name=said.by_name or "",
        at=(given if isinstance(given, datetime) else datetime.fromisoformat(said.at)).timestamp(),
        comment=said.comment,
        evidence=str((event.get("params_input") or {}).get("evidence") or ""),
    )
