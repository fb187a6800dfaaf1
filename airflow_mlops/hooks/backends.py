"""Where jobs run whose DAG does not say it. Read while the DAG is parsed: it decides what the DAG's tasks are."""

from __future__ import annotations

import json
import os
from typing import Any

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.hooks.settings import SECTION, option
from airflow_mlops.training.backends import Backend, read_backend

__all__ = ["backend_settings", "job_backend"]


def job_backend() -> Backend:
    """Where jobs run whose DAG does not say it: the variable MLOPS_BACKEND, else the option; ``local`` if neither is.

    :raises SpecificationError: if there is no such backend
    """
    value, where = _named("backend")
    return Backend.LOCAL if value is None else read_backend(value, where=where)


def backend_settings(backend: Backend) -> tuple[dict[str, Any], str]:
    """Return what is set for all jobs of a backend, and where that stands; read, not yet checked.

    The variable MLOPS_DOCKER or MLOPS_KUBERNETES, else the option of the same name; empty if neither is set.

    :raises SpecificationError: if it is no JSON object
    """
    value, where = _named(backend.value) if backend is not Backend.LOCAL else (None, backend.value)
    if value is None:
        return {}, where
    try:
        document = json.loads(value)
    except ValueError as error:
        raise SpecificationError(where, value, f"a JSON object ({error})") from error
    if not isinstance(document, dict):
        raise SpecificationError(where, value, "a JSON object")
    return document, where


def _named(name: str) -> tuple[str | None, str]:
    variable = f"{SECTION}_{name}".upper()
    value = os.environ.get(variable, "").strip()
    return (value, variable) if value else (option(name), f"[{SECTION}] {name}")
