"""What the approval of a release leaves behind: its page and its evidence; and what people are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import Context

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.links.report import publish_report
from airflow_mlops.operators.gate_record import moment
from airflow_mlops.operators.provenance import code_tags
from airflow_mlops.operators.record import record
from airflow_mlops.references import ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

if TYPE_CHECKING:
    from airflow_mlops.governance.approval import Author, ReleaseAnswer, Standing

__all__ = ["evidence_now", "form_body", "newest_or_none", "record_standing", "record_void", "release_author"]


def release_author(context: Context, given: Any) -> Author:
    """Return whose work is released: as the argument says, or who triggered the run, or who wrote its commit.

    :param given: a name, several of the same person, or None
    :raises SpecificationError: if nobody says who it is
    """
    from airflow_mlops.governance.approval import Author

    if given:
        names = [given] if isinstance(given, str) else given
        if not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
            raise SpecificationError("author", given, "a name, or a list of names of the same person")
        return Author(names=tuple(names), source="argument")
    user = getattr(context["dag_run"], "triggering_user_name", None)
    if user:
        return Author(names=(str(user),), source="run")
    written = _committer(context)
    if written is None:
        accepted = "the author's name: nobody triggered this run, and git does not say who wrote its commit"
        raise SpecificationError("author", given, accepted)
    return Author(names=written, source="commit")


def evidence_now(
    store: ArtifactStore, documents: Sequence[Evidence], model_digest: str
) -> tuple[str, tuple[Evidence, ...]]:
    """Return the digest of the newest evidence that a release rests on, and all of it, oldest first.

    :param documents: all documents of the model's chain, verified, oldest first
    :raises ContractError: if there is none, it lets the model not go on, or its evaluation is not what it was
    """
    from airflow_mlops.governance.concerning import basis

    found = basis(documents, model_digest)
    if not found:
        raise ContractError(f"there is nothing to approve: no evidence is about the model {model_digest}")
    judged = _judged(found)
    if judged is not None:
        if not judged.verdict.promotes:
            raise ContractError(f"the gate's verdict is {judged.verdict.value}; a release rests on 'pass' or 'warn'")
        _check_evaluation(store, judged)
    return digest(found[-1]), found


def newest_or_none(store: ArtifactStore, documents: Sequence[Evidence], model_digest: str) -> str | None:
    """Return the digest of the newest evidence, None if a release can rest on it no more."""
    try:
        return evidence_now(store, documents, model_digest)[0]
    except ContractError:
        return None


def form_body(store: ArtifactStore, standing: Standing, *, report_address: str) -> str:
    """Return the question in Markdown, with the evidence as tables.

    :param report_address: where the task's report is
    """
    from airflow_mlops.evaluation.approval import check_table
    from airflow_mlops.governance.approval_form import form

    asked = standing.question
    _, found = evidence_now(store, store.read_evidence(asked.model_name), asked.model_digest)
    judged = _judged(found)
    checks = check_table(judged.checks) if judged is not None and judged.checks else []
    return form(asked, found, checks, report_address=report_address, until=moment(asked.expires_at))


def record_standing(
    context: Context,
    store: ArtifactStore,
    standing: Standing,
    *,
    model: ModelRef,
    question_digest: str | None = None,
    answer: ReleaseAnswer | None = None,
    asks: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Write how it stands: the page, and evidence unless it says so already; return the task's result.

    :param model: the files that are to be released
    :param question_digest: digest of the evidence with which the question was asked; None for that itself
    :param answer: what was answered last
    :param asks: ``until`` and ``assigned_users`` while people are asked
    """
    from airflow_mlops.governance.approval import conclusion, notes
    from airflow_mlops.governance.approval_form import render_html
    from airflow_mlops.governance.concerning import basis

    documents = store.read_evidence(standing.question.model_name)
    found = basis(documents, model.digest)
    judged = _judged(found)
    check = conclusion(standing, Verdict.WARN if judged is None else judged.verdict)
    page = render_html(standing, found, check, moment=moment, asks=asks)
    report_uri = publish_report(context, store, "approval", page)
    references: dict[str, Any] = {"candidate": model, "evidence": {"digest": standing.question.evidence_digest}}
    if question_digest is not None:
        references["question"] = {"digest": question_digest}
    uri, written = record(
        context,
        store,
        decision="approval",
        subject=standing.question.model_name,
        verdict=check.verdict,
        checks=(check,),
        references=references,
        notes={**notes(standing, answer), "report_uri": report_uri, **({"asks": asks} if asks else {})},
    )
    said = notes(standing)
    return {
        "verdict": check.verdict.value,
        **{key: said[key] for key in ("state", "approvers", "author", "quorum", "expires_at", "version")},
        "approved_evidence_digest": standing.question.evidence_digest,
        "evidence_uri": uri,
        "evidence_digest": written,
        "report_uri": report_uri,
    }


def record_void(
    context: Context, store: ArtifactStore, model_name: str, answer: ReleaseAnswer | None, *, why: str
) -> None:
    """Put on record that somebody answered, and that it counts for nothing."""
    who = "nobody" if answer is None else answer.who
    check = CheckResult(name="approval", verdict=Verdict.ERROR, reason=f"the answer of {who} is void: {why}")
    record(
        context,
        store,
        decision="approval",
        subject=model_name,
        verdict=Verdict.ERROR,
        checks=(check,),
        notes={"answer": None if answer is None else encode(answer), "void": True},
    )


def _judged(found: Sequence[Evidence]) -> Evidence | None:
    """Return what a gate, or a person whom it asked, concluded last."""
    return next((one for one in reversed(found) if one.decision in ("gate", "approval")), None)


def _check_evaluation(store: ArtifactStore, judged: Evidence) -> None:
    named = judged.references.get("evaluation")
    if isinstance(named, Mapping) and named.get("uri"):
        found = store.manifest(str(named["uri"])).digest
        if found != named.get("digest"):
            raise ContractError(f"{named['uri']}: the gate judged {named.get('digest')}, and {found} lies there now")


def _committer(context: Context) -> tuple[str, ...] | None:
    from airflow_mlops.hooks.checkout import author_of

    bundle = getattr(context["ti"], "bundle_instance", None)
    revision, folder = code_tags(context).get("mlops.git_revision"), getattr(bundle, "path", None)
    return author_of(Path(folder), revision) if revision and folder else None
