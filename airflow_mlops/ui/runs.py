"""Pages about a DAG run and a task instance, and the figures of a rollout under way."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse, JSONResponse

from airflow_mlops.codec import encode
from airflow_mlops.evidence import Evidence, Origin
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.flow import run_flow
from airflow_mlops.governance.timeline import TimelineEntry, timeline
from airflow_mlops.ui.answers import json_answer, page_answer
from airflow_mlops.ui.frame import Index, Name, Page, address, map_index_of, page_of
from airflow_mlops.ui.reader import EvidenceReader, Problem
from airflow_mlops.ui.sources import artifact_store, evidence_reader, live_rollout_of, report_address, report_name
from airflow_mlops.ui.view import render

__all__ = ["ReportRow", "live_figures", "run_page", "task_page"]

#: Documents of a subject that are looked at for those of a run: the newest, and those since the run's own time.
_NEWEST, _SINCE = 60, 200
_MOMENT = re.compile(r"__(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d+)?(?:\+\d{2}:\d{2}|Z)?)")


@dataclass(frozen=True, kw_only=True)
class ReportRow:
    """A report that a task has kept.

    :param task: the task, with its map index where it has one
    """

    name: str
    task: str
    address: str


def run_page(request: Request, dag_id: Name, run_id: Name) -> HTMLResponse:
    """Show what a DAG run decided, as a flow."""
    known = page_of(request, "runs", dag_id, run_id)
    entries, known = _decided(evidence_reader(), dag_id, run_id, known)
    html = render(
        "run.html",
        dag_id=dag_id,
        run_id=run_id,
        flow=run_flow(dag_id, run_id, entries),
        entries=entries,
        reports=_reports(known, dag_id, run_id),
        page=known,
    )
    return page_answer(html)


def task_page(request: Request, dag_id: Name, run_id: Name, task_id: Name, map_index: Index) -> HTMLResponse:
    """Show a task instance: its reports, what it decided, and its rollout while it lasts."""
    index = map_index_of(map_index)
    known = page_of(request, "tasks", dag_id, run_id, task_id, index)
    who = Origin(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index, try_number=0)
    entries, known = _decided(evidence_reader(), dag_id, run_id, known)
    live = live_rollout_of(who)
    html = render(
        "task.html",
        dag_id=dag_id,
        run_id=run_id,
        task_id=task_id,
        map_index=index,
        who=who,
        reports=tuple(_reports(known, dag_id, run_id, task_id, index)),
        live=live,
        live_address=address(known.root, "live", dag_id, run_id, task_id, index),
        live_stale=live is not None and live.is_stale(known.now),
        entries=tuple(one for one in entries if (one.origin.task_id, one.origin.map_index) == (task_id, index)),
        page=known,
    )
    return page_answer(html, has_frame=True)


def live_figures(request: Request, dag_id: Name, run_id: Name, task_id: Name, map_index: Index) -> JSONResponse:
    """Answer where a rollout stands: the figures, and the part of the page that shows them."""
    index = map_index_of(map_index)
    known = page_of(request, "tasks", dag_id, run_id, task_id, index)
    live = live_rollout_of(Origin(dag_id=dag_id, run_id=run_id, task_id=task_id, map_index=index, try_number=0))
    if live is None:
        raise HTTPException(404, f"Task {task_id} of run {run_id} of {dag_id} has published no rollout.")
    stale = live.is_stale(known.now)
    answer: dict[str, Any] = {
        "html": render("live.html", live=live, live_stale=stale, page=known),
        "at": live.looked_at,
        "ended": live.ended,
        "stale": stale,
        "rollout": encode(live),
    }
    return json_answer(answer)


def _reports(page: Page, dag_id: str, run_id: str, task_id: str | None = None, index: int = -1) -> list[ReportRow]:
    return [
        ReportRow(
            name=name,
            task=who.task_id if who.map_index < 0 else f"{who.task_id} [{who.map_index}]",
            address=report_address(page.root, who, name),
        )
        for who, name in artifact_store().reports(dag_id, run_id)
        if task_id is None or (who.task_id, who.map_index) == (task_id, index)
    ]


def _decided(reader: EvidenceReader, dag_id: str, run_id: str, page: Page) -> tuple[tuple[TimelineEntry, ...], Page]:
    """Return a run's decisions in the order in which they were taken, in whatever chains they are."""
    found: list[Document] = []
    problems: set[Problem] = set()
    began = _began(run_id)
    for subject in reader.subjects():
        for document in _near(reader, subject, began, problems):
            who = document.evidence.origin
            if (who.dag_id, who.run_id) == (dag_id, run_id):
                found.append(document)

    def report(evidence: Evidence) -> str:
        name = report_name(evidence)
        return report_address(page.root, evidence.origin, name) if name else ""

    entries = sorted(timeline(found, report_address=report), key=lambda entry: (entry.decided_at, entry.number))
    return tuple(entries), replace(page, total=len(entries))


def _near(reader: EvidenceReader, subject: str, began: float | None, problems: set[Problem]) -> tuple[Document, ...]:
    """Return documents of a subject among which those of the run are, unless it decided long after it began."""
    chain = reader.chain(subject)
    newest = reader.page(chain, None, 1)
    if began is not None and newest.documents and newest.documents[-1].evidence.decided_at < began:
        return ()
    numbers = set(range(chain.total - _NEWEST + 1, chain.total + 1))
    if began is not None:
        first = reader.position(chain, began)
        numbers = set(range(max(first, chain.total - _NEWEST + 1), chain.total + 1)) | set(range(first, first + _SINCE))
    extract = reader.extract(chain, numbers)
    problems.update(extract.problems)
    return extract.documents


def _began(run_id: str) -> float | None:
    """Return the moment in a run's id: no run decides before it. None where the id was chosen by hand."""
    match = _MOMENT.search(run_id)
    if match is None:
        return None
    moment = datetime.fromisoformat(match[1])
    return moment.timestamp() if moment.tzinfo else None
