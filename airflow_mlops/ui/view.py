"""Pages of the Airflow UI: templates below ``ui/templates`` with their filters and pictures."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment

from airflow_mlops.page import environment
from airflow_mlops.ui.format import FILTERS
from airflow_mlops.ui.pictures import PICTURES

__all__ = ["render"]


def render(template: str, /, **values: Any) -> str:
    """Fill a template; every value is escaped, and a missing one is an error.

    :param template: its name below ``ui/templates``
    :param values: what it speaks of
    """
    return _environment().get_template(f"ui/templates/{template}").render(**values)


@cache
def _environment() -> Environment:
    found = environment()
    found.filters.update(FILTERS)
    found.globals.update(PICTURES)
    return found
