"""What every page knows: where it is, what time it is, what it leaves out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote

from fastapi import Path, Request
from pydantic import AfterValidator

from airflow_mlops.ui.reader import Problem

__all__ = ["Index", "Name", "Page", "address", "map_index_of", "page_of", "root_of"]


def _name(value: str) -> str:
    if value in ("~", ".", "..") or any(ord(letter) < 32 for letter in value):
        raise ValueError("this is no name")
    return value


#: A name in an address. To Airflow a tilde means all DAGs, so that it names none here.
Name = Annotated[str, Path(min_length=1, max_length=250), AfterValidator(_name)]
#: A map index in an address; Airflow leaves its own placeholder there for a task that is not mapped.
Index = Annotated[str, Path(pattern=r"^(-?\d{1,9}|\{MAP_INDEX\}|undefined)$")]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What every page knows.

    :param now: seconds since the epoch
    :param root: address under which these pages are
    :param assets: address of style and script
    :param airflow: address of Airflow itself
    :param address: of this page
    :param newer: address of the page with newer entries, empty if there is none
    :param older: the same for older ones
    :param hidden: how many entries of this page are of DAGs that the reader may not read
    :param hidden_models: how many models have no entry that the reader may read
    :param problems: where evidence does not verify
    :param total: number of all entries, shown or not
    :param first: number of the oldest entry of this page, 0 for none
    :param last: number of the newest
    """

    now: float
    root: str
    assets: str
    airflow: str
    address: str
    newer: str = ""
    older: str = ""
    hidden: int = 0
    hidden_models: int = 0
    problems: tuple[Problem, ...] = ()
    total: int = 0
    first: int = 0
    last: int = 0


def root_of(request: Request) -> str:
    """Return the address under which these pages are, without the host."""
    return str(request.scope.get("root_path", "")).rstrip("/")


def address(root: str, *parts: str | int) -> str:
    """Return an address below ``root``; whatever characters a part holds, it stays one part."""
    return "/".join((root, *(quote(str(part), safe="") for part in parts)))


def page_of(request: Request, *parts: str | int, query: str = "") -> Page:
    """Return what the page at ``parts`` below the root knows before it has looked at anything."""
    root = root_of(request)
    here = address(root, *parts) + (f"?{query}" if query else "")
    airflow = root.rsplit("/", 1)[0] if "/" in root else ""
    return Page(now=time.time(), root=root, assets=f"{root}/assets", airflow=airflow, address=here)


def map_index_of(text: str) -> int:
    """Return the map index of an address, -1 for a task that is not mapped."""
    return int(text) if text.lstrip("-").isdigit() else -1
