"""Pages about models: all of them, one, one of its releases, and two of these side by side."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated
from urllib.parse import urlencode

from fastapi import Depends, HTTPException, Query, Request
from fastapi.responses import HTMLResponse

from airflow_mlops.evidence import Evidence
from airflow_mlops.governance.decided import Document
from airflow_mlops.governance.overview import ModelOverview, overview
from airflow_mlops.governance.timeline import ReleaseRecord, TimelineEntry, releases, timeline
from airflow_mlops.ui.access import MayRead, dag_reader
from airflow_mlops.ui.answers import page_answer
from airflow_mlops.ui.followed import followed
from airflow_mlops.ui.frame import Name, Page, address, page_of
from airflow_mlops.ui.reader import Chain, EvidenceReader, Extract, Problem
from airflow_mlops.ui.sources import evidence_reader, report_address, report_name
from airflow_mlops.ui.view import render

__all__ = ["compare_page", "model_page", "models_page", "release_page"]

_MODELS = 25  # of a page
_DOCUMENTS = 60
#: Documents before and after one that belong to the same release, if they are this near.
_AROUND = 150
#: Documents that a list, and a model's page, read before they say that they looked no further back.
_SHALLOW, _DEEP, _MORE = 25, 400, 400
_VALIDATIONS = 40
_DATA = frozenset({"validation", "evaluation"})

May = Annotated[MayRead, Depends(dag_reader)]
Number = Annotated[int, Query(ge=1, le=999_999)]


def models_page(request: Request, may_read: May, page: Annotated[int, Query(ge=1, le=10_000)] = 1) -> HTMLResponse:
    """Show all models, by name."""
    reader = evidence_reader()
    known = page_of(request, "models", query=urlencode({"page": page}) if page > 1 else "")
    names, hidden, broken = _visible(reader, may_read)
    shown = names[(page - 1) * _MODELS : page * _MODELS]
    if page > 1 and not shown:
        raise HTTPException(404, f"There are only {len(names)} models.")
    here = address(known.root, "models")
    found = [_overview(reader, reader.chain(name), may_read, known.now, at_least=100, more=50) for name in shown]
    known = replace(
        known,
        total=len(names),
        hidden_models=hidden,
        problems=(Problem(0, "", f"the evidence of {broken} of all subjects cannot be read"),) if broken else (),
        first=(page - 1) * _MODELS + 1 if shown else 0,
        last=(page - 1) * _MODELS + len(shown),
        newer=f"{here}?page={page - 1}" if page > 1 else "",
        older=f"{here}?page={page + 1}" if len(names) > page * _MODELS else "",
    )
    return page_answer(render("models.html", models=tuple(one for one, _ in found), page=known))


def model_page(
    request: Request, name: Name, may_read: May, before: Annotated[int | None, Query(ge=2, le=1_000_000)] = None
) -> HTMLResponse:
    """Show one model: how it stands, and its releases from the newest."""
    reader = evidence_reader()
    chain = _chain(reader, name, may_read)
    known = page_of(request, "models", name, query=urlencode({"before": before}) if before else "")
    glance, looked = _overview(reader, chain, may_read, known.now, at_least=_DEEP, more=_MORE)
    found = reader.page(chain, before, _DOCUMENTS)
    here = address(known.root, "models", name)
    readable, known = _withhold(found, may_read, known)
    ahead = 0 if before is None else before + _DOCUMENTS
    known = replace(
        known,
        problems=tuple(sorted({*known.problems, *looked.problems})),
        newer="" if not ahead else f"{here}?before={ahead}" if ahead <= chain.total else here,
        older=f"{here}?before={found.looked_back_to}" if found.documents and found.looked_back_to > 1 else "",
    )
    gathered = releases(readable, report_address=_reports(known))
    return page_answer(render("model.html", overview=glance, releases=gathered, page=known), has_form=True)


def release_page(request: Request, name: Name, number: int, may_read: May) -> HTMLResponse:
    """Show one release, decision by decision."""
    reader = evidence_reader()
    chain = _chain(reader, name, may_read)
    known = page_of(request, "models", name, "releases", number)
    release, known = _release(reader, chain, number, may_read, known)
    validations = _validations(reader, release, may_read, known)
    html = render("release.html", release=release, entries=release.entries, validations=validations, page=known)
    return page_answer(html)


def compare_page(request: Request, name: Name, left: Number, right: Number, may_read: May) -> HTMLResponse:
    """Show two releases of a model side by side."""
    reader = evidence_reader()
    chain = _chain(reader, name, may_read)
    known = page_of(request, "models", name, "compare", query=urlencode({"left": left, "right": right}))
    one, known = _release(reader, chain, left, may_read, known)
    other, known = _release(reader, chain, right, may_read, known)
    return page_answer(render("compare.html", left=one, right=other, page=known))


def _visible(reader: EvidenceReader, may_read: MayRead) -> tuple[list[str], int, int]:
    """Return the models of which something may be shown, how many others there are, and how many cannot be read."""
    names, hidden, broken = [], 0, 0
    for subject in reader.subjects():
        chain = reader.chain(subject)
        found = reader.newest_of_each_kind(chain, at_least=1)
        if not _is_model(found):
            found = reader.newest_of_each_kind(chain, at_least=_SHALLOW)
        if _is_model(found) and _may_see(reader, chain, found, may_read):
            names.append(subject)
        elif _is_model(found):
            hidden += 1
        elif found.total and not found.documents:
            broken += 1
    return names, hidden, broken


def _is_model(found: Extract) -> bool:
    """Whether this is about a model; chains of datasets hold validations only."""
    return any(document.evidence.decision not in _DATA for document in found.documents)


def _may_see(reader: EvidenceReader, chain: Chain, found: Extract, may_read: MayRead) -> bool:
    """Whether one of the decisions at hand may be shown, or else one of those on the first page."""

    def any_of(documents: Sequence[Document]) -> bool:
        return any(may_read(document.evidence.origin.dag_id) for document in documents)

    return any_of(found.documents) or any_of(reader.page(chain, None, _DOCUMENTS).documents)


def _chain(reader: EvidenceReader, name: str, may_read: MayRead) -> Chain:
    """Return a model's chain; one of which nothing may be read looks the same as one that does not exist."""
    chain = reader.chain(name)
    found = reader.newest_of_each_kind(chain, at_least=_SHALLOW)
    if chain.total and not found.documents:
        raise HTTPException(409, "; ".join(problem.message for problem in found.problems[:3]))
    if chain.total and _may_see(reader, chain, found, may_read):
        return chain
    raise HTTPException(404, f"There is no model {name!r}, or none of its decisions is of a DAG that you may read.")


def _overview(
    reader: EvidenceReader, chain: Chain, may_read: MayRead, now: float, *, at_least: int, more: int = 0
) -> tuple[ModelOverview, Extract]:
    found = reader.newest_of_each_kind(chain, at_least=at_least, more=more)
    known = overview(
        chain.subject,
        found.documents,
        now=now,
        decisions=found.total,
        looked_back_to=found.looked_back_to,
        may_read=may_read,
    )
    return followed(known, now=now), found


def _withhold(found: Extract, may_read: MayRead, page: Page) -> tuple[list[Document], Page]:
    """Return what may be shown, and the page with the number of what may not."""
    readable = [document for document in found.documents if may_read(document.evidence.origin.dag_id)]
    last = found.documents[-1].number if found.documents else 0
    return readable, replace(
        page,
        hidden=page.hidden + len(found.documents) - len(readable),
        problems=tuple(sorted({*page.problems, *found.problems})),
        total=found.total,
        first=found.looked_back_to if last else 0,
        last=last,
    )


def _release(
    reader: EvidenceReader, chain: Chain, number: int, may_read: MayRead, page: Page
) -> tuple[ReleaseRecord, Page]:
    if not 1 <= number <= chain.total:
        raise HTTPException(404, f"The evidence of {chain.subject!r} has no document {number}.")
    found = reader.extract(chain, range(number - _AROUND, number + _AROUND + 1))
    readable, page = _withhold(found, may_read, page)
    for release in releases(readable, report_address=_reports(page)):
        if any(entry.number == number for entry in release.entries):
            return release, page
    # Withheld, no release, or it does not verify: the same answer, because the first must not be told from the others.
    raise HTTPException(404, f"Document {number} of {chain.subject!r} belongs to no release that can be shown.")


def _validations(
    reader: EvidenceReader, release: ReleaseRecord, may_read: MayRead, page: Page
) -> tuple[TimelineEntry, ...]:
    """Return what was said of the release's datasets shortly before it, in the chains of their suites."""
    wanted = {reference.digest for reference in release.datasets}
    found: list[TimelineEntry] = []
    for subject in reader.subjects() if wanted else ():
        chain = reader.chain(subject)
        newest = reader.newest_of_each_kind(chain, at_least=1).documents
        if not newest or newest[-1].evidence.decision != "validation":
            continue
        last = reader.position(chain, release.began_at)
        near = reader.extract(chain, range(last - _VALIDATIONS, last)).documents
        entries = timeline([one for one in near if may_read(one.evidence.origin.dag_id)], report_address=_reports(page))
        found += [entry for entry in entries if wanted & {one.digest for one in entry.references}]
    return tuple(sorted(found, key=lambda entry: entry.decided_at))


def _reports(page: Page) -> Callable[[Evidence], str]:
    def find(evidence: Evidence) -> str:
        name = report_name(evidence)
        return report_address(page.root, evidence.origin, name) if name else ""

    return find
