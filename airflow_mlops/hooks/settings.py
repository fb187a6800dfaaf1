"""The options of the section ``[mlops]``.

They are read when a task runs, but for those that say where jobs run: these decide what the DAG's tasks are.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from airflow.sdk.configuration import conf

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.training.backends import Backend, read_backend

__all__ = ["artifact_root", "backend_settings", "job_backend", "local_home", "model_python", "option"]

SECTION = "mlops"


def option(name: str) -> str | None:
    """Return an option of the section, None where it is unset or empty."""
    value: str | None = conf.get(SECTION, name, fallback=None)
    return (value or "").strip() or None


def artifact_root() -> str:
    """URI under which references, reports and evidence are kept.

    :raises SpecificationError: if the option is not set
    """
    return _required("artifact_root", "s3://aws_default@my-bucket/mlops or file:///srv/mlops")


def model_python() -> Path:
    """Interpreter of the environment in which models are trained and evaluated.

    :raises SpecificationError: if the option is not set or names no file
    """
    path = Path(_required("model_python", "/srv/envs/model/bin/python"))
    if not path.is_file():
        raise SpecificationError("[mlops] model_python", str(path), "the path of a Python interpreter that exists")
    return path


def local_home() -> Path | None:
    """Folder of the embedded stack, None where none is configured."""
    value = option("local_home")
    return Path(value) if value else None


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


def _required(name: str, example: str) -> str:
    value = option(name)
    if value is None:
        raise SpecificationError(
            f"[{SECTION}] {name}",
            value,
            f"a value: set this option in airflow.cfg or in the environment as "
            f"AIRFLOW__{SECTION.upper()}__{name.upper()}, for example {example}",
        )
    return value
