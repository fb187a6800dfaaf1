"""What the gate leaves behind: its page, and one evidence document for its judgement and one for a person's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.clock import SystemClock
from airflow_mlops.codec import decode
from airflow_mlops.evidence import Evidence, Origin, digest
from airflow_mlops.exceptions import ContractError
from airflow_mlops.hooks.artifacts import ArtifactStore, report_parts
from airflow_mlops.hooks.evaluations import read_evaluation
from airflow_mlops.hooks.names import original_name
from airflow_mlops.links.base import report_url
from airflow_mlops.links.report import publish_report
from airflow_mlops.operators.record import record
from airflow_mlops.verdict import CheckResult, Verdict, combine

if TYPE_CHECKING:
    from airflow_mlops.evaluation.approval import Answer
    from airflow_mlops.evaluation.policy import GatePolicy
    from airflow_mlops.evaluation.report import EvaluationReport

__all__ = ["Judgement", "asked_about", "moment", "record_answer", "record_judgement", "record_void"]

_LIBRARIES = ("numpy", "scipy")


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """All that the gate's page and evidence tell.

    :param model_name: the model
    :param policy: what was asked
    :param checks: what was concluded
    :param references: what it rests on: candidate, champion, dataset and evaluation
    :param report: what was measured; None if that could not be read
    :param uses: how many candidates the data have decided about
    :param asks: ``until`` and ``assigned_users``, if a person is asked
    """

    model_name: str
    policy: GatePolicy
    checks: tuple[CheckResult, ...]
    references: Mapping[str, Any]
    report: EvaluationReport | None
    uses: int | None
    asks: Mapping[str, Any] | None = None


def record_judgement(context: Context, store: ArtifactStore, judged: Judgement) -> dict[str, Any]:
    """Write page and evidence of what the gate concludes, and return the task's result."""
    report_uri = _publish(context, store, judged)
    notes = {
        "report_uri": report_uri,
        "days": judged.report.days if judged.report else None,
        "holdout": {"uses": judged.uses},
        **({"asks": judged.asks} if judged.asks else {}),
    }
    uri, found = record(
        context,
        store,
        decision="gate",
        subject=judged.model_name,
        verdict=combine(judged.checks),
        checks=judged.checks,
        references=judged.references,
        policy=judged.policy,
        notes=notes,
        distributions=_LIBRARIES,
    )
    return _result(judged.checks, combine(judged.checks), uri, found, report_uri) | {"approval": None}


def asked_about(store: ArtifactStore, uri: str, promised: str) -> tuple[Evidence, EvaluationReport]:
    """Read the evidence that a person was shown, and its evaluation; both must be what they were.

    :raises ContractError: if one of them changed, is gone, or the chain of evidence does not hold it; also if its
        policy asks nobody about such a candidate
    """
    from airflow_mlops.evaluation.policy import parse_policy

    document = decode(Evidence, store.read_json(uri), where="evidence")
    if digest(document) != promised:
        raise ContractError(f"the evidence at {uri} does not have the digest {promised}; it was changed")
    if promised not in map(digest, store.read_evidence(document.subject)):
        raise ContractError(f"the evidence of {document.subject!r} does not hold {promised} any more")
    rule = parse_policy(document.policy).approval
    if rule is None or not rule.wants(document.checks):
        raise ContractError("the policy lets nobody decide about a candidate that was judged like this")
    evaluation = document.references["evaluation"]
    return document, read_evaluation(store, str(evaluation["uri"]), str(evaluation["digest"]))


def record_answer(
    context: Context, store: ArtifactStore, answer: Answer, asked: Evidence, report: EvaluationReport, *, uri: str
) -> dict[str, Any]:
    """Write what a person decided: evidence chained to what they saw, and the page once more; return the result.

    :param asked: the evidence of the gate's own judgement
    :param report: the evaluation behind it
    :param uri: where that evidence is
    """
    from airflow_mlops.evaluation.approval import answer_check
    from airflow_mlops.evaluation.policy import parse_policy

    check = answer_check(asked.verdict, answer)
    judged = Judgement(
        model_name=asked.subject,
        policy=parse_policy(asked.policy),
        checks=asked.checks,
        references=asked.references,
        report=report,
        uses=(asked.notes.get("holdout") or {}).get("uses"),
        asks=asked.notes.get("asks"),
    )
    report_uri = _publish(context, store, judged, answer=check)
    approval = {"approved": answer.approved, "by_id": answer.by_id, "by_name": answer.by_name, "at": answer.at}
    approval |= {"comment": answer.comment}
    written, found = record(
        context,
        store,
        decision="approval",
        subject=asked.subject,
        verdict=check.verdict,
        checks=(check,),
        references={**asked.references, "gate": {"uri": uri, "digest": digest(asked)}},
        policy=judged.policy,
        notes={"report_uri": report_uri, "approval": approval, "gate_verdict": asked.verdict.value},
    )
    result = _result((*asked.checks, check), check.verdict, written, found, report_uri)
    return result | {"approval": {**approval, "gate_evidence_uri": uri, "gate_evidence_digest": digest(asked)}}


def record_void(context: Context, store: ArtifactStore, model_name: str, answer: Answer, *, uri: str, why: str) -> None:
    """Put on record that somebody answered, and that it counts for nothing."""
    check = CheckResult(name="approval", verdict=Verdict.ERROR, reason=f"the answer of {answer.who} is void: {why}")
    record(
        context,
        store,
        decision="approval",
        subject=model_name,
        verdict=Verdict.ERROR,
        checks=(check,),
        references={"gate": {"uri": uri}},
        notes={"approval": {"approved": answer.approved, "by_id": answer.by_id, "at": answer.at, "void": True}},
    )


def moment(seconds: float | None = None) -> str:
    """Return a time, or now, as people read it."""
    at = SystemClock().now() if seconds is None else seconds
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _publish(context: Context, store: ArtifactStore, judged: Judgement, *, answer: CheckResult | None = None) -> str:
    from airflow_mlops.evaluation.html import render_html

    evaluation = judged.references.get("evaluation")
    page = render_html(
        judged.report,
        judged.policy,
        judged.checks,
        model_name=judged.model_name,
        judged_at=moment(),
        uses=judged.uses,
        asks=judged.asks,
        answer=answer,
        evaluation_address=_address(store, evaluation.get("report_uri") if isinstance(evaluation, Mapping) else None),
    )
    return publish_report(context, store, "gate", page)


def _result(checks: Sequence[CheckResult], verdict: Verdict, uri: str, found: str, report_uri: str) -> dict[str, Any]:
    return {
        "verdict": verdict.value,
        "evidence_uri": uri,
        "evidence_digest": found,
        "report_uri": report_uri,
        "checks": [{"name": one.name, "verdict": one.verdict.value, "reason": one.reason} for one in checks],
    }


def _address(store: ArtifactStore, uri: Any) -> str | None:
    """Address on the web server of a report that a task has kept; None if it is none."""
    below = f"{store.uri('reports')}/"
    if not isinstance(uri, str) or not uri.startswith(below):
        return None
    names = [original_name(part) for part in uri.removeprefix(below).removesuffix(".html").split("/")]
    if len(names) != len(("dag", "run", "task", "map index", "name")) or not names[3].lstrip("-").isdigit():
        return None
    who = Origin(dag_id=names[0], run_id=names[1], task_id=names[2], map_index=int(names[3]), try_number=0)
    same = store.uri(*report_parts(who.dag_id, who.run_id, who.task_id, who.map_index, names[4])) == uri
    return report_url(who, names[4]) if same else None
