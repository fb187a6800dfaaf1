"""Frozen dataclasses to and from JSON-safe values, strictly.

One codec for every value that crosses a boundary: references, specs, states, evidence, trigger events. Unknown keys,
missing keys and wrong types raise :class:`~airflow_mlops.exceptions.SpecificationError` with the path of the field.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar, Union

from airflow_mlops.exceptions import SpecificationError

__all__ = ["canonical_json", "decode", "digest_of", "encode"]

T = TypeVar("T")
_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def canonical_json(value: Any) -> str:
    """Serialise so that equal values give equal text: sorted keys, no spaces, no NaN.

    :raises ValueError: on NaN, infinity or a value that is not JSON-safe
    """
    return _CANONICAL.encode(value)


def digest_of(value: Any) -> str:
    """``sha256:…`` of the canonical JSON of an encoded value."""
    return "sha256:" + hashlib.sha256(canonical_json(value).encode()).hexdigest()


def encode(value: Any) -> Any:
    """Turn dataclasses, enumerations, tuples and mappings into JSON-safe values."""
    kind: Any = type(value)
    if kind in _AS_THEY_ARE:
        return value
    names = _names(kind)
    if names is not None:
        return {name: encode(getattr(value, name)) for name in names}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(item) for item in value]
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{kind.__name__} cannot be encoded as JSON")


def decode(cls: type[T], value: Any, *, where: str = "") -> T:
    """Build a ``cls`` from JSON-safe values.

    :param cls: a dataclass
    :param value: a mapping with exactly the fields of ``cls``; those with defaults may be missing
    :param where: what is being read; it leads every error's field path
    :raises SpecificationError: on an unknown key, a missing key or a value of the wrong type
    """
    result: T = _dataclass(cls, value, where or cls.__name__)
    return result


# A waiting rollout is decoded and encoded at every look: what a type says is worked out once for each type.
_NONE = type(None)
_AS_THEY_ARE = frozenset({str, int, float, bool, _NONE})
Reader = Callable[[Any, str], Any]


@functools.cache
def _names(kind: Any) -> tuple[str, ...] | None:
    """Return the fields of a dataclass, None for other types."""
    return tuple(field.name for field in dataclasses.fields(kind)) if dataclasses.is_dataclass(kind) else None


@functools.cache
def _shape(cls: Any) -> Mapping[str, tuple[Reader, bool]]:
    """Return how each field is read, and whether it has to be there."""
    hints = typing.get_type_hints(cls)
    return {
        field.name: (
            _reader(hints[field.name]),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(cls)
        if field.init
    }


def _dataclass(cls: Any, value: Any, where: str) -> Any:
    if isinstance(value, cls):
        return value
    if not isinstance(value, Mapping):
        raise SpecificationError(where, value, f"a mapping with the fields of {cls.__name__}")
    fields = _shape(cls)
    for key in value:
        if key not in fields:
            import difflib  # noqa: PLC0415 - for this message only, and every import of ours would pay for it

            near = difflib.get_close_matches(str(key), fields, n=1)
            hint = f"did you mean {near[0]!r}? One of" if near else "one of"
            raise SpecificationError(f"{where}.{key}", value[key], f"no such field; {hint} {', '.join(fields)}")
    arguments = {}
    for name, (read, is_required) in fields.items():
        if name in value:
            arguments[name] = read(value[name], f"{where}.{name}")
        elif is_required:
            raise SpecificationError(f"{where}.{name}", None, f"a value: {name} is required")
    return cls(**arguments)


def _reader(hint: Any) -> Reader:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    read: Reader = functools.partial(_plain, hint)
    if hint is Any:
        read = _anything
    elif origin in (Union, types.UnionType):
        read = functools.partial(_union, arguments, [_reader(choice) for choice in arguments if choice is not _NONE])
    elif origin is typing.Literal:
        read = functools.partial(_literal, arguments)
    elif origin in (tuple, list) or (isinstance(origin, type) and issubclass(origin, typing.Sequence)):
        read = functools.partial(_sequence, _reader(arguments[0]))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        read = functools.partial(_mapping, _reader(arguments[1]))
    elif dataclasses.is_dataclass(hint):
        read = functools.partial(_dataclass, hint)
    return read


def _anything(value: Any, where: str) -> Any:  # noqa: ARG001 - a reader
    return value


def _mapping(read: Reader, value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise SpecificationError(where, value, "a mapping")
    return {str(key): read(entry, f"{where}.{key}") for key, entry in value.items()}


def _union(choices: tuple[Any, ...], readers: list[Reader], value: Any, where: str) -> Any:
    if value is None and _NONE in choices:
        return None
    problem: SpecificationError | None = None
    for read in readers:
        try:
            return read(value, where)
        except SpecificationError as error:
            problem = error
    if len(readers) == 1 and problem is not None:
        raise problem
    names = " or ".join(getattr(choice, "__name__", str(choice)) for choice in choices)
    raise SpecificationError(where, value, names)


def _literal(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value not in choices:
        raise SpecificationError(where, value, "one of " + ", ".join(map(repr, choices)))
    return value


def _sequence(read: Reader, value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise SpecificationError(where, value, "a list")
    return tuple([read(entry, f"{where}[{position}]") for position, entry in enumerate(value)])


def _plain(hint: Any, value: Any, where: str) -> Any:
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
