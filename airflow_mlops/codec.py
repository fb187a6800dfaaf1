"""Frozen dataclasses to and from JSON-safe values, strictly.

One codec for every value that crosses a boundary: references, specs, states, evidence, trigger events. Unknown keys,
missing keys and wrong types raise :class:`~airflow_mlops.exceptions.SpecificationError` with the path of the field.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Mapping
from enum import Enum
from typing import Any, TypeVar, Union

from airflow_mlops.exceptions import SpecificationError

__all__ = ["canonical_json", "decode", "digest_of", "encode"]

T = TypeVar("T")


def canonical_json(value: Any) -> str:
    """Serialise so that equal values give equal text: sorted keys, no spaces, no NaN.

    :raises ValueError: on NaN, infinity or a value that is not JSON-safe
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def digest_of(value: Any) -> str:
    """``sha256:…`` of the canonical JSON of an encoded value."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def encode(value: Any) -> Any:
    """Turn dataclasses, enumerations, tuples and mappings into JSON-safe values."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: encode(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{type(value).__name__} cannot be encoded as JSON")


def decode(cls: type[T], value: Any, *, where: str = "") -> T:
    """Build a ``cls`` from JSON-safe values.

    :param cls: a dataclass
    :param value: a mapping with exactly the fields of ``cls``; those with defaults may be missing
    :param where: what is being read; it leads every error's field path
    :raises SpecificationError: on an unknown key, a missing key or a value of the wrong type
    """
    result: T = _dataclass(cls, value, where or cls.__name__)
    return result


@functools.cache
def _shape(cls: Any) -> tuple[dict[str, dataclasses.Field[Any]], dict[str, Any]]:
    """Return what may be given and its types; resolving annotations costs more than everything else here."""
    fields = {field.name: field for field in dataclasses.fields(cls) if field.init}
    return fields, typing.get_type_hints(cls)


def _dataclass(cls: Any, value: Any, where: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise SpecificationError(where, value, f"a mapping with the fields of {cls.__name__}")
    fields, hints = _shape(cls)
    for key in value:
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}? One of" if near else "one of"
            raise SpecificationError(f"{where}.{key}", value[key], f"no such field; {hint} {', '.join(fields)}")
    arguments = {}
    for name, field in fields.items():
        if name in value:
            arguments[name] = _value(hints[name], value[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise SpecificationError(f"{where}.{name}", None, f"a value: {name} is required")
    return cls(**arguments)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = typing.get_origin(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _union(typing.get_args(hint), value, where)
    if origin is typing.Literal:
        return _literal(typing.get_args(hint), value, where)
    if origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        return _sequence(typing.get_args(hint)[0], value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        item = typing.get_args(hint)[1]
        if not isinstance(value, Mapping):
            raise SpecificationError(where, value, "a mapping")
        return {str(key): _value(item, entry, f"{where}.{key}") for key, entry in value.items()}
    return _plain(hint, value, where)


def _union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    real = [choice for choice in choices if choice is not type(None)]
    problem: SpecificationError | None = None
    for choice in real:
        try:
            return _value(choice, value, where)
        except SpecificationError as error:
            problem = error
    if len(real) == 1 and problem is not None:
        raise problem
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise SpecificationError(where, value, names)


def _literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in choices:
        raise SpecificationError(where, value, "one of " + ", ".join(map(repr, choices)))
    return value


def _sequence(item: Any, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SpecificationError(where, value, "a list")
    return tuple(_value(item, entry, f"{where}[{position}]") for position, entry in enumerate(value))


def _plain(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where)
    if isinstance(hint, type) and issubclass(hint, Enum):
        try:
            return hint(value.value if isinstance(value, Enum) else value)
        except ValueError:
            raise SpecificationError(where, value, "one of " + ", ".join(repr(e.value) for e in hint)) from None
    if hint is float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise SpecificationError(where, value, "a finite number")
        return float(value)
    if hint is int and isinstance(value, bool):
        raise SpecificationError(where, value, "a whole number")
    if not isinstance(value, hint):
        names = {int: "a whole number", str: "a string", bool: "true or false"}
        raise SpecificationError(where, value, names.get(hint, getattr(hint, "__name__", str(hint))))
    return value
