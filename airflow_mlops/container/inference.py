"""The Open Inference Protocol v2 as this project speaks it: one tensor per feature, one output ``probability``.

Both ends use this module, so the model server, the smoke check and the traffic generator agree on every detail:

* each feature is one input tensor of shape ``[rows]`` whose ``data`` is a flat JSON list;
* ``null`` in ``data`` is a missing value, because JSON has no NaN; a column of nulls may have any datatype;
* text travels as ``BYTES``, whole numbers as ``INT64``, other numbers as ``FP64``, truth values as ``BOOL``;
* the answer is one ``FP64`` tensor named ``probability`` with a value per row.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from airflow_mlops.exceptions import ContractError, SpecificationError

__all__ = ["MAX_ROWS", "OUTPUT", "Feature", "Tensor", "build_request", "read_columns", "read_probabilities"]

Kind = Literal["string", "number", "integer", "boolean"]

MAX_ROWS = 1000
"""Rows in one request: more would keep other callers waiting."""

OUTPUT = "probability"
"""Name of the output tensor."""

_NUMBERS = ("FP64", "FP32", "INT64", "INT32", "INT16", "INT8")
_DATATYPES: Mapping[str, tuple[str, ...]] = {
    "string": ("BYTES",),
    "number": _NUMBERS,
    "integer": ("INT64", "INT32", "INT16", "INT8", "FP64", "FP32"),
    "boolean": ("BOOL",),
}


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column that the model was trained on.

    :param name: its name, also that of the input tensor
    :param kind: what its values are
    :param required: False if the tensor may be left out, which means that every value is missing
    """

    name: str
    kind: Kind
    required: bool = True


@dataclass(frozen=True, kw_only=True)
class Tensor:
    """One input tensor as it came in.

    :param data: the flat list of values; None if they were sent in another form than JSON
    """

    name: str
    datatype: str
    shape: Sequence[int]
    data: Sequence[Any] | None


def read_columns(features: Sequence[Feature], tensors: Sequence[Tensor]) -> dict[str, list[Any]]:
    """Check a request's tensors and return a list of equal length for every feature, None where a value is missing.

    :raises SpecificationError: naming the feature and what it accepts
    """
    known = {feature.name: feature for feature in features}
    found: dict[str, Tensor] = {}
    for tensor in tensors:
        if tensor.name not in known:
            raise SpecificationError(f"inputs.{tensor.name}", tensor.name, _no_such(tensor.name, list(known)))
        if tensor.name in found:
            raise SpecificationError(f"inputs.{tensor.name}", tensor.name, "each feature once; this one is repeated")
        found[tensor.name] = tensor
    absent = [feature.name for feature in features if feature.required and feature.name not in found]
    if absent:
        raise SpecificationError(
            "inputs",
            list(found),
            f"one tensor per feature; missing: {', '.join(absent)} (send null for a missing value)",
        )
    rows = _row_count(list(found.values()))
    return {
        feature.name: _column(feature, found[feature.name]) if feature.name in found else [None] * rows
        for feature in features
    }


def _no_such(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}? One of " if near else "one of "
    return f"a feature of this model; {hint}{', '.join(known)}"


def _row_count(tensors: list[Tensor]) -> int:
    lengths = {tensor.name: _length(tensor) for tensor in tensors}
    if not lengths:
        raise SpecificationError("inputs", [], "at least one input tensor")
    first_name, rows = next(iter(lengths.items()))
    for name, length in lengths.items():
        if length != rows:
            raise SpecificationError(
                f"inputs.{name}.shape",
                length,
                f"{rows} values, as many as {first_name!r} has: all tensors are equally long",
            )
    if not 1 <= rows <= MAX_ROWS:
        raise SpecificationError("inputs.shape", rows, f"1 to {MAX_ROWS} rows in one request")
    return rows


def _length(tensor: Tensor) -> int:
    where = f"inputs.{tensor.name}"
    shape = list(tensor.shape)
    if len(shape) not in (1, 2) or (len(shape) == 2 and shape[1] != 1):
        raise SpecificationError(f"{where}.shape", shape, "[rows] or [rows, 1]: one column per tensor")
    if tensor.data is None:
        raise SpecificationError(f"{where}.data", None, "a flat JSON list of values; binary tensors are not read here")
    if len(tensor.data) != shape[0]:
        raise SpecificationError(
            f"{where}.data", f"{len(tensor.data)} values", f"{shape[0]} values, as the tensor's shape {shape} says"
        )
    return shape[0]


def _column(feature: Feature, tensor: Tensor) -> list[Any]:
    where = f"inputs.{feature.name}"
    data = list(tensor.data or ())
    accepted = _DATATYPES[feature.kind]
    if tensor.datatype not in accepted and any(value is not None for value in data):
        raise SpecificationError(
            f"{where}.datatype",
            tensor.datatype,
            f"{' or '.join(accepted)} for the {feature.kind} feature {feature.name!r}",
        )
    read, words = _READERS[feature.kind]
    column = []
    for position, value in enumerate(data):
        try:
            column.append(None if value is None else read(value))
        except ValueError:
            raise SpecificationError(f"{where}.data[{position}]", value, f"{words}, or null if missing") from None
    return column


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError(value)  # noqa: TRY004 - the caller turns it into a message
    return value


def _number(value: Any) -> float:
    if not _is_number(value) or not math.isfinite(value):
        raise ValueError(value)
    return float(value)


def _integer(value: Any) -> int:
    number = _number(value)
    if not number.is_integer():
        raise ValueError(value)
    return int(value)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(value)  # noqa: TRY004 - the caller turns it into a message
    return value


_READERS: Mapping[str, tuple[Callable[[Any], Any], str]] = {
    "string": (_string, "a string"),
    "number": (_number, "a finite number"),
    "integer": (_integer, "a whole number"),
    "boolean": (_boolean, "true or false"),
}


def build_request(rows: Sequence[Mapping[str, Any]], request_id: str | None = None) -> dict[str, Any]:
    """Turn feature rows into the body of an inference request.

    :param rows: feature name to value, the same names in every row; None and NaN are missing values
    :param request_id: names the request in the prediction log; None lets the server choose
    :raises SpecificationError: on no rows, on rows with different names and on values that JSON cannot carry
    """
    if not rows:
        raise SpecificationError("rows", [], "at least one row")
    names = list(rows[0])
    for position, row in enumerate(rows):
        if set(row) != set(names):
            raise SpecificationError(
                f"rows[{position}]", sorted(row), f"the features of the first row: {sorted(names)}"
            )
    inputs = []
    for name in names:
        data = [_sendable(name, row[name]) for row in rows]
        inputs.append({"name": name, "shape": [len(rows)], "datatype": _datatype(data), "data": data})
    return {"inputs": inputs} if request_id is None else {"id": request_id, "inputs": inputs}


def _sendable(name: str, value: Any) -> Any:
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        if math.isinf(value):
            raise SpecificationError(f"rows.{name}", value, "a finite number; JSON has no infinity")
        return None if math.isnan(value) else value
    raise SpecificationError(f"rows.{name}", value, "a string, a number, true or false, or None if missing")


def _datatype(data: Sequence[Any]) -> str:
    present = [value for value in data if value is not None]
    if any(isinstance(value, str) for value in present):
        return "BYTES"
    if present and all(isinstance(value, bool) for value in present):
        return "BOOL"
    if present and all(isinstance(value, int) and not isinstance(value, bool) for value in present):
        return "INT64"
    return "FP64"


def read_probabilities(document: Any, rows: int) -> list[float]:
    """Take the probabilities out of an inference response.

    :param document: the decoded JSON body
    :param rows: how many rows were asked for
    :raises ContractError: if the output is not there or has another length
    """
    outputs = document.get("outputs") if isinstance(document, Mapping) else None
    for output in outputs if isinstance(outputs, list) else ():
        if isinstance(output, Mapping) and output.get("name") == OUTPUT:
            data = output.get("data")
            if not isinstance(data, list) or len(data) != rows or not all(map(_is_number, data)):
                raise ContractError(
                    f"the model server answered {data!r:.200} for {rows} rows; one number each was expected"
                )
            return [float(value) for value in data]
    raise ContractError(f"the model server's answer has no output {OUTPUT!r}: {document!r:.200}")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
