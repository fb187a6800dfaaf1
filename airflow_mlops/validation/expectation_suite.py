"""Suites in the form that Great Expectations itself writes, read so that nothing of them is dropped."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import Any

from airflow_mlops.exceptions import SpecificationError

__all__ = ["from_expectation_suite", "is_expectation_suite"]

_SUITE_KEYS = ("name", "expectations", "id", "meta", "notes", "suite_parameters")
_KEYS = ("type", "kwargs", "severity", "description", "notes", "id", "meta", "rendered_content")
_PARAMETER = "$PARAMETER"


def is_expectation_suite(document: Any) -> bool:
    """Whether a document is meant as an ``ExpectationSuite``: it has ``expectations``, not ``rules``."""
    return isinstance(document, Mapping) and "expectations" in document and "rules" not in document


def from_expectation_suite(document: Mapping[str, Any], *, where: str = "suite") -> dict[str, Any]:
    """Turn ``ExpectationSuite.to_json_dict()`` into a suite of rules, one for each expectation.

    :param document: ``name`` and ``expectations``; identifiers and notes for people are left out
    :param where: where it comes from; errors begin with it
    :raises SpecificationError: on an unknown key (naming the nearest known one), on a suite of version 0.x, and on
        parameters, which only a checkpoint fills in
    """
    _check_keys(document, _SUITE_KEYS, where)
    listed = document["expectations"]
    if not isinstance(listed, (list, tuple)):
        raise SpecificationError(f"{where}.expectations", listed, "a list of expectations")
    if document.get("suite_parameters"):
        raise SpecificationError(f"{where}.suite_parameters", document["suite_parameters"], "values written in place")
    rules = [_rule(one, f"{where}.expectations[{position}]") for position, one in enumerate(listed)]
    return {"name": document.get("name") or "", "rules": rules}


def _rule(one: Any, where: str) -> dict[str, Any]:
    if not isinstance(one, Mapping):
        raise SpecificationError(where, one, "a mapping with 'type' and 'kwargs'")
    _check_keys(one, _KEYS, where)
    kwargs = one.get("kwargs") or {}
    if isinstance(kwargs, Mapping):
        for key, value in kwargs.items():
            if isinstance(value, Mapping) and _PARAMETER in value:
                raise SpecificationError(f"{where}.kwargs.{key}", dict(value), "a value; there are no parameters here")
    rule = {"type": one.get("type", ""), "kwargs": kwargs, "because": _because(one)}
    severity = one.get("severity")
    return rule if severity is None else rule | {"severity": severity}


def _because(one: Mapping[str, Any]) -> str:
    notes = one.get("notes") or ""
    said = one.get("description") or (notes if isinstance(notes, str) else " ".join(map(str, notes)))
    return str(said)


def _check_keys(document: Mapping[str, Any], known: Collection[str], where: str) -> None:
    for key in document:
        if key in known:
            continue
        if key in ("expectation_suite_name", "expectation_type"):
            raise SpecificationError(f"{where}.{key}", document[key], "a suite written by Great Expectations 1.x")
        near = difflib.get_close_matches(str(key), known, n=1)
        hint = f"did you mean {near[0]!r}? One of" if near else "one of"
        raise SpecificationError(f"{where}.{key}", document[key], f"no such field; {hint} {', '.join(known)}")
