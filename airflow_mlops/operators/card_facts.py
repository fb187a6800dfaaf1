"""Gathering what a model card tells: from the record of decisions, the evaluation, the model's files and its image."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_mlops.codec import decode
from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.exceptions import ContractError, SpecificationError
from airflow_mlops.hooks.artifacts import ArtifactStore
from airflow_mlops.references import ModelRef

if TYPE_CHECKING:
    from airflow_mlops.evaluation.report import Estimate, EvaluationReport
    from airflow_mlops.governance.card_facts import Bill, Environment, Figure, Measured

__all__ = ["bills_of", "environment_of", "measured_of", "validations_of"]


def measured_of(
    store: ArtifactStore, documents: Sequence[Evidence], evaluation: Mapping[str, Any] | None
) -> Measured | None:
    """Return what the evaluation found that the newest gate judged, or else the one that is given; None for none.

    :param documents: the decisions about the model's files, oldest first
    :param evaluation: what ``EvaluateModelOperator`` returned
    :raises ContractError: if the evaluation is not what it was
    """
    from airflow_mlops.hooks.evaluations import read_evaluation

    named = [one.references.get("evaluation") for one in reversed(documents)]
    found = next((one for one in named if isinstance(one, Mapping) and one.get("uri") and one.get("digest")), None)
    if found is None and evaluation:
        found = {"uri": evaluation.get("evaluation_uri"), "digest": evaluation.get("evaluation_digest")}
        if not all(found.values()):
            raise SpecificationError("evaluation", evaluation, "what EvaluateModelOperator returned")
    if found is None:
        return None
    return _measured(read_evaluation(store, str(found["uri"]), str(found["digest"])), str(found["digest"]))


def environment_of(
    store: ArtifactStore, model: ModelRef, image: Any = None, git_revision: str | None = None
) -> Environment:
    """Return what the model needs, read from its files, whose digest is verified.

    :param image: the image in which it was trained: an encoded ImageRef, ``name@sha256:…`` or ``sha256:…``
    :param git_revision: the commit of its code
    """
    import yaml

    from airflow_mlops.governance.card_facts import Environment
    from airflow_mlops.governance.contents import image_tags
    from airflow_mlops.operators.provenance import read_contents

    folder = store.localize(model)
    contents, tags = read_contents(folder), image_tags(image)
    described = folder / "MLmodel"
    document = yaml.safe_load(described.read_text()) if described.is_file() else {}
    function = ((document if isinstance(document, Mapping) else {}).get("flavors") or {}).get("python_function") or {}
    return Environment(
        requirements=contents.requirements,
        python=str(function["python_version"]) if function.get("python_version") else None,
        inputs=tuple(_columns(contents.signature)) or None,
        image=tags.get("mlops.image_uri"),
        image_digest=tags.get("mlops.image"),
        git_revision=git_revision,
    )


def bills_of(store: ArtifactStore, given: Any, image_digest: str | None) -> tuple[Bill, ...]:
    """Return the bills of materials that are named, or else the one that the store has of the image; each is verified.

    :param given: what ``WriteImageBillOperator`` returned, once or several times; None for none
    :raises ContractError: if a bill is not what its digest promises
    """
    from airflow_mlops.governance.card_facts import Bill
    from airflow_mlops.operators.image_bills import kept_bill, read_bill

    named = _several(given, "bills")
    if named:
        found = [read_bill(store, dict(one).get("bill")) for one in named]
    else:
        kept = kept_bill(store, image_digest) if image_digest else None
        found = [kept] if kept is not None else []
    return tuple(Bill(uri=one.uri, digest=one.digest, format=one.format, components=one.components) for one in found)


def validations_of(store: ArtifactStore, given: Any) -> tuple[Evidence, ...]:
    """Return the evidence of validations.

    :param given: what ``ValidateDataOperator`` returned, once or several times; None for none
    :raises ContractError: if the record of decisions does not hold it
    """
    found = []
    for one in _several(given, "validation"):
        uri = dict(one).get("evidence_uri")
        if not uri:
            raise SpecificationError("validation", one, "what ValidateDataOperator returned")
        document = decode(Evidence, store.read_json(str(uri)), where="validation")
        if digest(document) not in map(digest, store.read_evidence(document.subject)):
            raise ContractError(f"the evidence of {document.subject!r} does not hold what lies at {uri}")
        found.append(document)
    return tuple(found)


def _several(given: Any, field: str) -> list[Mapping[str, Any]]:
    if not given:
        return []
    many = [given] if isinstance(given, Mapping) else list(given)
    if not all(isinstance(one, Mapping) for one in many):
        raise SpecificationError(field, given, "what the task returned, or a list of it")
    return many


def _columns(signature: Mapping[str, Any] | None) -> Iterator[str]:
    import json

    inputs = (signature or {}).get("inputs")
    try:
        columns = json.loads(inputs) if isinstance(inputs, str) else inputs
    except ValueError:
        columns = None
    for one in columns if isinstance(columns, list) else []:
        if isinstance(one, Mapping) and one.get("name"):
            yield f"{one['name']}: {one.get('type')}"


def _measured(report: EvaluationReport, found: str) -> Measured:
    from airflow_mlops.governance.card_facts import GroupFigures, Measured, MetricFigures, SliceFigures

    champion = report.champion.metrics if report.champion else {}
    fairness = report.diagnostics.fairness if report.diagnostics else None
    return Measured(
        digest=found,
        task=report.task,
        target=report.target,
        confidence=report.confidence,
        rows=report.candidate.rows,
        days=report.days,
        metrics=tuple(
            MetricFigures(
                name=name,
                candidate=_figure(one),
                method=one.method,
                champion=_figure(champion[name]) if name in champion else None,
                difference=_figure(report.differences[name]) if name in report.differences else None,
            )
            for name, one in report.candidate.metrics.items()
        ),
        slices=tuple(
            SliceFigures(name=part.name, rows=part.candidate.rows, figures=_figures(part.candidate.metrics))
            for part in report.slices
        ),
        fairness=tuple(
            GroupFigures(
                column=column.column,
                groups={group.name: (group.rows, _figures(group.rates)) for group in column.groups},
                gaps={name: _figure(spread.gap) for name, spread in column.spreads.items()},
                unmeasured=column.unmeasured,
            )
            for column in (fairness.columns if fairness else ())
        ),
        unmeasured=report.candidate.unmeasured,
        small_slices=report.small_slices,
    )


def _figures(estimates: Mapping[str, Estimate]) -> dict[str, Figure]:
    return {name: _figure(one) for name, one in estimates.items()}


def _figure(estimate: Estimate) -> Figure:
    from airflow_mlops.governance.card_facts import Figure

    return Figure(value=estimate.value, low=estimate.low, high=estimate.high)
