"""Style and script of the pages: a fixed list of the package's own files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Annotated

from fastapi import Header, HTTPException
from fastapi.responses import Response

from airflow_mlops.ui.answers import asset_answer

__all__ = ["ASSETS", "asset"]

#: Name to media type; nothing else is ever read.
ASSETS = {
    "mlops.css": "text/css; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "models.svg": "image/svg+xml",
    "models-dark.svg": "image/svg+xml",
}


@dataclass(frozen=True)
class _File:
    content: bytes
    etag: str


def asset(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    """Answer with a file of the list."""
    if name not in ASSETS:
        raise HTTPException(404, "There is no such file.")
    found = _read(name)
    known = [one.strip().removeprefix("W/") for one in (if_none_match or "").split(",")]
    return asset_answer(found.content, ASSETS[name], found.etag, known=found.etag in known)


@cache
def _read(name: str) -> _File:
    content = files("airflow_mlops").joinpath("ui/static", name).read_bytes()
    return _File(content, f'"{hashlib.sha256(content).hexdigest()[:32]}"')
