"""A model card: what a model is for, what it was made of, what was measured, and what is missing, from evidence.

The sections follow Mitchell et al., Model Cards for Model Reporting, 2019, https://arxiv.org/abs/1810.03993. Nothing is
left out where nobody said it: a section tells what it lacks. Equal facts give an equal card.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from airflow_mlops.evidence import Evidence, digest
from airflow_mlops.governance.approval_form import summary_of
from airflow_mlops.governance.card_facts import CardFacts, CardText, Figure, Measured
from airflow_mlops.verdict import CheckResult, Verdict

__all__ = ["SECTIONS", "Block", "Code", "Section", "card_checks", "card_sections", "shown", "training_data"]

SECTIONS: Mapping[str, str] = {
    "intended_use": "Intended use",
    "data": "Data",
    "metrics": "Metrics",
    "slices": "Parts of the data",
    "fairness": "Fairness",
    "limits": "Limits",
    "approvals": "Approvals",
    "environment": "Environment",
    "bill_of_materials": "Bill of materials",
    "evidence": "Evidence",
}


class Code(str):
    """Text of a program, such as a digest."""

    __slots__ = ()


@dataclass(frozen=True, kw_only=True)
class Block:
    """A paragraph, a list or a table.

    :param text: the paragraph, or what stands above list or table
    :param items: the list
    :param head: names of the table's columns
    :param rows: its rows
    """

    text: str = ""
    items: tuple[str, ...] = ()
    head: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Section:
    """One section.

    :param missing: what it lacks, each in a sentence
    :param sources: digests of the evidence and documents from which its figures are
    """

    key: str
    blocks: tuple[Block, ...] = ()
    missing: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """What stands above it."""
        return SECTIONS[self.key]


def card_sections(facts: CardFacts) -> tuple[Section, ...]:
    """Return all sections in their order, whatever is known."""
    return (
        _intended_use(facts.text),
        _data(facts),
        _metrics(facts.measured),
        _slices(facts.measured),
        _fairness(facts.measured),
        _limits(facts),
        _approvals(facts.documents),
        _environment(facts),
        _bills(facts),
        _evidence(facts),
    )


def card_checks(sections: Sequence[Section]) -> tuple[CheckResult, ...]:
    """Return a judgement for every section: it passes if nothing is missing."""
    return tuple(
        CheckResult(
            name=f"card.{one.key}",
            verdict=Verdict.WARN if one.missing else Verdict.PASS,
            reason=f"missing: {'; '.join(one.missing)}" if one.missing else "complete",
        )
        for one in sections
    )


def shown(figure: Figure | None, sign: str = "") -> str:
    """Return a figure with its interval, as text."""
    if figure is None:
        return "–"  # noqa: RUF001 - a dash where there is no number
    if figure.low is None or figure.high is None:
        return f"{figure.value:{sign}.4f}"
    return f"{figure.value:{sign}.4f} ({figure.low:{sign}.4f} to {figure.high:{sign}.4f})"


def training_data(documents: Sequence[Evidence]) -> tuple[list[tuple[str, Mapping[str, Any]]], list[str]]:
    """Return role and reference of every dataset that the decisions name, and the digests of these decisions."""
    found: dict[str, tuple[str, Mapping[str, Any]]] = {}
    sources = []
    for document in documents:
        named = list(_datasets(document))
        found.update({str(one["digest"]): (role, one) for role, one in named if str(one["digest"]) not in found})
        sources += [digest(document)] if named else []
    return sorted(found.values(), key=lambda one: not one[0].startswith("train")), sources


def _datasets(document: Evidence) -> Iterator[tuple[str, Mapping[str, Any]]]:
    roles = document.references.get("datasets")
    given: dict[str, Any] = dict(roles) if isinstance(roles, Mapping) else {}
    if "dataset" in document.references:
        given.setdefault("evaluation", document.references["dataset"])
    for role, many in given.items():
        for one in many if isinstance(many, (list, tuple)) else [many]:
            if isinstance(one, Mapping) and one.get("digest"):
                yield role, one


def _intended_use(text: CardText) -> Section:
    said = [text.description, text.intended_use]
    blocks = [Block(text=part) for words in said if words for part in _paragraphs(words)]
    if text.out_of_scope:
        blocks += [Block(text="Not to be used for:"), *(Block(text=part) for part in _paragraphs(text.out_of_scope))]
    if text.contact:
        blocks.append(Block(text=f"Contact: {text.contact}"))
    lacks = {
        "intended_use": "nobody says what the model is for",
        "out_of_scope": "nobody says what it must not be used for",
        "contact": "nobody says whom to ask",
        "license": "nobody says under which licence it is",
    }
    if text.license:
        named = text.license_name or text.license
        blocks.append(Block(text=f"Licence: {named}" + (f", {text.license_link}" if text.license_link else "")))
    missing = tuple(f"{why} ({name})" for name, why in lacks.items() if not getattr(text, name))
    return Section(key="intended_use", blocks=tuple(blocks), missing=missing)


def _data(facts: CardFacts) -> Section:
    found, sources = training_data(facts.documents)
    validated = {_digest(one, "dataset"): one for one in facts.validations}
    rows, missing = [], []
    for role, one in found:
        judged = validated.get(str(one["digest"]))
        if judged is None:
            missing.append(f"no validation of the data {_called(role, one)}")
        size = f"{one['rows']:,}" if isinstance(one.get("rows"), int) else "unknown"
        verdict = "missing" if judged is None else f"{judged.subject}: {judged.verdict.value}"
        known = (str(one.get("partition") or "–"), size, str(one.get("format", "unknown")), verdict)  # noqa: RUF001
        rows.append((role, *known, Code(str(one["digest"]))))
    head = ("role", "partition", "rows", "format", "validation", "digest")
    blocks = [Block(head=head, rows=tuple(rows))] if rows else []
    schemas: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for role, one in found:
        if one.get("columns"):
            schemas.setdefault(tuple(one["columns"].items()), []).append(_called(role, one))
    for columns, names in schemas.items():
        pairs = tuple((Code(column), Code(kind)) for column, kind in columns)
        blocks.append(Block(text=f"Columns of {', '.join(names)}:", head=("column", "type"), rows=pairs))
    if not found:
        missing.append("no decision names the data that the model was made of")
    elif not any(role.startswith("train") for role, _ in found):
        missing.append("no decision names the data that it was trained on")
    if found and not schemas:
        missing.append("no decision names the columns of the data")
    known_digests = {str(one["digest"]) for _, one in found}
    sources += [digest(one) for name, one in validated.items() if name in known_digests]
    return Section(key="data", blocks=tuple(blocks), missing=tuple(missing), sources=tuple(sources))


def _metrics(measured: Measured | None) -> Section:
    if measured is None:
        return Section(key="metrics", missing=("no evaluation of the model is known",))
    text = (
        f"{measured.rows:,} rows with the label {measured.target}, in {measured.days:,} groups within which rows are "
        f"not independent; {100 * measured.confidence:g} % intervals."
    )
    rows = tuple(
        (one.name, shown(one.candidate), shown(one.champion), shown(one.difference, "+"), one.method)
        for one in measured.metrics
    )
    head = ("metric", "this model", "champion then", "difference, same rows", "intervals")
    missing = tuple(f"{name} was not measured: {why}" for name, why in measured.unmeasured.items())
    return Section(
        key="metrics", blocks=(Block(text=text, head=head, rows=rows),), missing=missing, sources=(measured.digest,)
    )


def _slices(measured: Measured | None) -> Section:
    if measured is None or not (measured.slices or measured.small_slices):
        return Section(key="slices", missing=("no part of the data was measured by itself",))
    names = list(dict.fromkeys(name for part in measured.slices for name in part.figures))
    rows = tuple(
        (part.name, f"{part.rows:,}", *(shown(part.figures.get(name)) for name in names)) for part in measured.slices
    )
    blocks = [Block(head=("part", "rows", *names), rows=rows)] if rows else []
    missing = tuple(f"{name}: {rows} rows are too few to measure" for name, rows in measured.small_slices.items())
    return Section(key="slices", blocks=tuple(blocks), missing=missing, sources=(measured.digest,))


def _fairness(measured: Measured | None) -> Section:
    if measured is None or not measured.fairness:
        return Section(key="fairness", missing=("nobody asked how groups of people or things are treated",))
    blocks, missing = [], []
    for column in measured.fairness:
        names = list(dict.fromkeys(name for _, rates in column.groups.values() for name in rates))
        rows = tuple(
            (group, f"{count:,}", *(shown(rates.get(name)) for name in names))
            for group, (count, rates) in column.groups.items()
        )
        apart = tuple(f"{name}: the groups lie {shown(gap)} apart" for name, gap in column.gaps.items())
        blocks += [
            Block(text=f"By {column.column}:", head=("group", "rows", *names), rows=rows),
            *([Block(items=apart)] if apart else []),
        ]
        missing += [f"{name} by {column.column}: {why}" for name, why in column.unmeasured.items()]
    return Section(key="fairness", blocks=tuple(blocks), missing=tuple(missing), sources=(measured.digest,))


def _limits(facts: CardFacts) -> Section:
    blocks, missing, sources = [], [], []
    if facts.text.limits:
        blocks.append(Block(text="What the author says:", items=facts.text.limits))
    else:
        missing.append("nobody states the model's limits (limits)")
    judged = next((one for one in reversed(facts.documents) if one.decision == "gate"), None)
    if judged is None:
        missing.append("no gate has judged the model")
    else:
        found = tuple(f"{one.verdict.value}: {one.reason}" for one in judged.checks if one.verdict is not Verdict.PASS)
        text = "What the gate found:" if found else "The gate has found nothing against it."
        blocks.append(Block(text=text, items=found))
        sources.append(digest(judged))
    return Section(key="limits", blocks=tuple(blocks), missing=tuple(missing), sources=tuple(sources))


def _approvals(documents: Sequence[Evidence]) -> Section:
    # Of a question that was answered in several steps, only the end is told here; all steps are in the evidence.
    given = [one for one in documents if one.decision == "approval" and one.notes.get("state") != "open"]
    rows = []
    for one in given:
        for who, at, comment in _approvers(one) or [("nobody", _moment(one.decided_at), "")]:
            rows.append((one.verdict.value, who, at, comment, summary_of(one), Code(digest(one))))
    head = ("verdict", "who", "when", "comment", "what was decided", "evidence")
    blocks = (Block(head=head, rows=tuple(rows)),) if rows else ()
    missing = () if rows else ("no person has approved the model",)
    return Section(key="approvals", blocks=blocks, missing=missing, sources=tuple(digest(one) for one in given))


def _approvers(document: Evidence) -> list[tuple[str, str, str]]:
    notes = document.notes
    if "approvers" in notes:
        return [
            (str(one["by_name"] or one["by_id"]), _moment(one["at"]), str(one.get("comment", "")))
            for one in notes["approvers"]
        ]
    given = notes.get("approval")
    if not isinstance(given, Mapping) or not given.get("by_id"):
        return []
    return [(str(given.get("by_name") or given["by_id"]), str(given.get("at", "")), str(given.get("comment", "")))]


def _environment(facts: CardFacts) -> Section:
    needs = facts.environment
    said: list[tuple[str, str]] = []
    lacks = {
        "python": ("the version of Python", needs.python),
        "image": ("the image in which it was trained", needs.image_digest),
        "git_revision": ("the commit of its code", needs.git_revision),
        "requirements": ("its libraries with their versions", needs.requirements),
        "inputs": ("the columns that it reads", needs.inputs),
    }
    image = f"{needs.image}@{needs.image_digest}" if needs.image and needs.image_digest else needs.image_digest
    for name, value in (("Python", needs.python), ("image", image), ("commit", needs.git_revision)):
        if value:
            said.append((name, Code(value)))
    said += [("files", Code(facts.model.digest)), ("size", f"{facts.model.size_bytes:,} bytes as {facts.model.format}")]
    blocks = [Block(head=("what", "which"), rows=tuple(said))]
    if needs.requirements:
        blocks.append(Block(text="Libraries:", items=tuple(Code(line) for line in needs.requirements)))
    if needs.inputs:
        blocks.append(Block(text="Columns that it reads:", items=tuple(Code(line) for line in needs.inputs)))
    missing = tuple(f"nobody says {what}" for what, value in lacks.values() if not value)
    return Section(key="environment", blocks=tuple(blocks), missing=missing, sources=(facts.model.digest,))


def _bills(facts: CardFacts) -> Section:
    rows = tuple((one.format, f"{one.components:,}", one.uri, Code(one.digest)) for one in facts.bills)
    if not rows:
        return Section(key="bill_of_materials", missing=("no bill of materials of its image is known",))
    head = ("format", "components", "where", "digest")
    return Section(
        key="bill_of_materials",
        blocks=(Block(head=head, rows=rows),),
        sources=tuple(one.digest for one in facts.bills),
    )


def _evidence(facts: CardFacts) -> Section:
    documents = (*facts.validations, *facts.documents)
    if not documents:
        return Section(key="evidence", missing=("there is no evidence about these files",))
    head = ("decision", "about", "verdict", "when", "task", "digest")
    rows = tuple(
        (
            one.decision,
            one.subject,
            one.verdict.value,
            _moment(one.decided_at),
            f"{one.origin.dag_id}.{one.origin.task_id}, {one.origin.run_id}",
            Code(digest(one)),
        )
        for one in documents
    )
    return Section(key="evidence", blocks=(Block(head=head, rows=rows),), sources=_digests(documents))


def _digests(documents: Iterable[Evidence]) -> tuple[str, ...]:
    return tuple(digest(one) for one in documents)


def _digest(document: Evidence, role: str) -> str:
    found = document.references.get(role)
    return str(found.get("digest")) if isinstance(found, Mapping) else ""


def _called(role: str, dataset: Mapping[str, Any]) -> str:
    return f"{role} {dataset['partition']}" if dataset.get("partition") else role


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
