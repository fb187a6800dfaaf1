"""A model card as Markdown that model hubs read, and as a page.

The front matter is that of Hugging Face's model cards, https://huggingface.co/docs/hub/model-cards, with the figures as
``model-index``, after https://github.com/huggingface/hub-docs/blob/main/modelcard.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from airflow_mlops.governance.card import Block, Code, Section, training_data
from airflow_mlops.governance.card_facts import CardFacts, Measured
from airflow_mlops.governance.markdown import code, escaped, table
from airflow_mlops.page import render_page

__all__ = ["front_matter", "render_html", "render_markdown"]

#: What hubs call the tasks of an evaluation.
_TASKS = {"classification": "tabular-classification", "regression": "tabular-regression"}
#: Metrics that hubs know by another name.
_METRICS = {"brier": "brier_score"}


def front_matter(facts: CardFacts) -> dict[str, Any]:
    """Return the metadata that hubs read; what nobody says is ``unknown`` or not there."""
    text, measured = facts.text, facts.measured
    task = _TASKS.get(measured.task, "other") if measured else None
    found: dict[str, Any] = {
        "language": list(text.language),
        "license": text.license or "unknown",
        "license_name": text.license_name,
        "license_link": text.license_link,
        "pipeline_tag": task if task != "other" else None,
        "tags": list(dict.fromkeys([*text.tags, *([task] if task and task != "other" else []), "airflow-mlops"])),
        "datasets": list(text.datasets),
        "metrics": [_METRICS.get(one.name, one.name) for one in measured.metrics] if measured else [],
    }
    if measured:
        found["model-index"] = [{"name": facts.model_name, "results": [_result(facts, measured, str(task))]}]
    return {name: value for name, value in found.items() if value not in (None, [])}


def render_markdown(facts: CardFacts, sections: Sequence[Section]) -> str:
    """Return the card as Markdown with front matter; every value in it is escaped."""
    matter = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True, width=110)
    lines = ["---", matter.rstrip("\n"), "---", "", f"# {escaped(_title(facts))}", ""]
    lines += [f"Made from evidence about the files {code(facts.model.digest)}.", ""]
    for section in sections:
        lines += [f"## {section.title}", ""]
        for lack in section.missing:
            lines += [f"- **Missing:** {escaped(lack)}"]
        lines += [""] if section.missing else []
        for block in section.blocks:
            lines += [*_block(block), ""]
        if section.sources:
            lines += [f"From {', '.join(code(one) for one in dict.fromkeys(section.sources))}.", ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def render_html(facts: CardFacts, sections: Sequence[Section]) -> str:
    """Return the card as a page."""
    return render_page(
        "governance/templates/card.html",
        title=_title(facts),
        model_digest=facts.model.digest,
        sections=[
            {
                "key": one.key,
                "title": one.title,
                "missing": one.missing,
                "sources": list(dict.fromkeys(one.sources)),
                "blocks": one.blocks,
            }
            for one in sections
        ],
        complete=sum(not one.missing for one in sections),
        is_code=lambda value: isinstance(value, Code),
    )


def _title(facts: CardFacts) -> str:
    return f"{facts.model_name}, version {facts.version}" if facts.version else facts.model_name


def _result(facts: CardFacts, measured: Measured, task: str) -> dict[str, Any]:
    found, _ = training_data(facts.documents)
    judged = [one for role, one in found if not role.startswith("train")]
    dataset = judged[-1] if judged else {}
    name = f"{facts.model_name} {dataset.get('partition') or 'evaluation data'}"
    about: dict[str, Any] = {"type": facts.model_name, "name": name, "split": "test"}
    if dataset:
        about["revision"] = str(dataset["digest"])
        about["args"] = {"rows": dataset.get("rows"), "partition": dataset.get("partition")}
    return {"task": {"type": task, "name": measured.task}, "dataset": about, "metrics": _figures(measured)}


def _figures(measured: Measured) -> list[dict[str, Any]]:
    return [
        {
            "type": _METRICS.get(one.name, one.name),
            "name": one.name,
            "value": one.candidate.value,
            "args": {
                "low": one.candidate.low,
                "high": one.candidate.high,
                "confidence": measured.confidence,
                "method": one.method,
                "evaluation": measured.digest,
            },
        }
        for one in measured.metrics
    ]


def _block(block: Block) -> list[str]:
    lines = [escaped(block.text)] if block.text else []
    if block.text and (block.items or block.rows):
        lines.append("")
    lines += [f"- {_inline(item)}" for item in block.items]
    if block.head:
        lines += table(block.head, ([_inline(cell) for cell in row] for row in block.rows))
    return lines


def _inline(value: str) -> str:
    return code(value) if isinstance(value, Code) else escaped(value)
