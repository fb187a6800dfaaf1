"""JSON Schemas of the documents that leave this package, for readers in any language.

A document's number is its version: a form that changes gets a new file, and the old one stays.
"""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["load_schema", "names"]


def names() -> tuple[str, ...]:
    """Names of all schemas, for example ``evidence-1``."""
    found = (entry.name for entry in files(__name__).iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in found if name.endswith(".json")))


def load_schema(name: str) -> dict[str, Any]:
    """Return a schema.

    :param name: name and version of the document, for example ``evidence-1``
    :raises SpecificationError: if there is none
    """
    if name not in names():
        raise SpecificationError("schema", name, "one of " + ", ".join(names()))
    schema: dict[str, Any] = json.loads((files(__name__) / f"{name}.json").read_text())
    return schema
