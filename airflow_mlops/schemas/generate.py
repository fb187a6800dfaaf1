"""Write the schemas from the dataclasses: ``python -m airflow_mlops.schemas.generate``."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Union

from airflow_mlops.evaluation.policy import GatePolicy
from airflow_mlops.evidence import Evidence
from airflow_mlops.manifest import Manifest
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.training.contract import JobRequest, JobResult

__all__ = ["DOCUMENTS", "main", "schema_of"]

DOCUMENTS: dict[str, type] = {
    "dataset-ref-1": DatasetRef,
    "evidence-1": Evidence,
    "gate-policy-1": GatePolicy,
    "job-request-1": JobRequest,
    "job-result-1": JobResult,
    "manifest-1": Manifest,
    "model-ref-1": ModelRef,
}
_PLAIN: dict[Any, dict[str, Any]] = {
    Any: {},
    bool: {"type": "boolean"},
    float: {"type": "number"},
    int: {"type": "integer"},
    str: {"type": "string"},
    type(None): {"type": "null"},
}


def schema_of(cls: type, title: str) -> dict[str, Any]:
    """Describe a dataclass as the codec writes it: every unknown key is an error."""
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return head | _object(cls)


def _object(cls: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = [field for field in dataclasses.fields(cls) if field.init]
    missing = dataclasses.MISSING
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {field.name: _field(field, hints[field.name]) for field in fields},
        "required": [one.name for one in fields if one.default is missing and one.default_factory is missing],
    }


def _field(field: dataclasses.Field[Any], hint: Any) -> dict[str, Any]:
    return {"const": field.default} if field.name.endswith("_version") else _value(hint)


def _value(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin in (Union, types.UnionType):
        return {"anyOf": [_value(one) for one in arguments]}
    if origin is typing.Literal:
        return {"enum": list(arguments)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _value(arguments[1])}
    if origin is tuple:
        return {"type": "array", "items": _value(arguments[0])}
    return _class(hint)


def _class(hint: Any) -> dict[str, Any]:
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {"enum": [one.value for one in hint]}
    if dataclasses.is_dataclass(hint):
        return _object(hint)
    raise TypeError(f"{hint} has no schema; teach it to airflow_mlops.schemas.generate")


def main() -> None:
    """Write every schema beside this file."""
    for name, cls in DOCUMENTS.items():
        text = json.dumps(schema_of(cls, name), indent=2) + "\n"
        Path(__file__).with_name(f"{name}.json").write_text(text)


if __name__ == "__main__":
    main()
