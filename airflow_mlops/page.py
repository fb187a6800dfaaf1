"""Reports as self-contained HTML pages with one look: no script, nothing fetched from anywhere."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined

__all__ = ["environment", "render_page"]


def render_page(template: str, /, **values: Any) -> str:
    """Render a page; every value is escaped, and a missing one is an error.

    :param template: path of a template below this package that extends ``templates/base.html``
    :param values: what the template speaks of
    """
    return environment().get_template(template).render(**values)


def environment() -> Environment:
    """Return what reads and fills templates: paths count from this package, every value is escaped."""
    return Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_read)
    )


def _read(name: str) -> str | None:
    """Return a template, None where there is none: what includes it may say that it does without."""
    path = files("airflow_mlops").joinpath(name)
    return path.read_text(encoding="utf-8") if path.is_file() else None
