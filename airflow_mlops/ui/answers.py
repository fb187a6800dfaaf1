"""Answers of the web application: each kind with the headers that let a browser do no more than it needs."""

from __future__ import annotations

from typing import Any

from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

__all__ = ["asset_answer", "json_answer", "moved_answer", "page_answer", "report_answer"]

_COMMON = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "private, no-store",
}
#: A page loads style, script and figures from here; ``{form}`` is filled by :func:`page_answer`.
_PAGE = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-ancestors 'self'; base-uri 'none'; form-action {form}"
)
#: A report holds values of data that somebody else delivered: no scripts, no requests, no origin.
_REPORT = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'; sandbox; "
    "frame-ancestors 'self'"
)
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def page_answer(html: str, status: int = 200, *, has_form: bool = False, has_frame: bool = False) -> HTMLResponse:
    """Answer with a page.

    :param has_form: whether it holds a form that asks another page of ours
    :param has_frame: whether it shows a report in a frame
    """
    policy = _PAGE.format(form="'self'" if has_form else "'none'") + ("; frame-src 'self'" if has_frame else "")
    return HTMLResponse(html, status, _COMMON | {"Content-Security-Policy": policy})


def report_answer(content: bytes) -> HTMLResponse:
    """Answer with a report, in a page that can do nothing."""
    return HTMLResponse(content, headers=_COMMON | {"Content-Security-Policy": _REPORT})


def moved_answer(address: str) -> Response:
    """Answer that a page is elsewhere."""
    return RedirectResponse(address, 308, _COMMON | {"Content-Security-Policy": _NOTHING})


def json_answer(value: Any, status: int = 200) -> JSONResponse:
    """Answer with data for a script."""
    return JSONResponse(value, status, _COMMON | {"Content-Security-Policy": _NOTHING})


def asset_answer(content: bytes, media_type: str, etag: str, *, known: bool) -> Response:
    """Answer with a file of the package; whoever has it asks only whether it is still the same.

    :param known: whether the browser has just this
    """
    headers = _COMMON | {"Content-Security-Policy": _NOTHING, "Cache-Control": "private, no-cache", "ETag": etag}
    return Response(status_code=304, headers=headers) if known else Response(content, 200, headers, media_type)
