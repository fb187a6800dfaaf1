"""Requests and answers of the Open Inference Protocol."""

from __future__ import annotations

import math

import pytest

from airflow_mlops.container.inference import (
    MAX_ROWS,
    Feature,
    Tensor,
    build_request,
    read_columns,
    read_probabilities,
)
from airflow_mlops.exceptions import ContractError, SpecificationError

FEATURES = (
    Feature(name="carrier", kind="string"),
    Feature(name="distance", kind="integer"),
    Feature(name="temp", kind="number"),
    Feature(name="holiday", kind="boolean", required=False),
)
GOOD = {"carrier": ["UA"], "distance": [1400], "temp": [39.5]}
DATATYPES = {"carrier": "BYTES", "distance": "INT64", "temp": "FP64", "holiday": "BOOL"}


def tensors(columns, **changes):
    """One tensor per column; ``changes`` replaces parts of the tensor of that name."""
    made = []
    for name, data in columns.items():
        parts = {"name": name, "datatype": DATATYPES.get(name, "FP64"), "shape": [len(data)], "data": data}
        made.append(Tensor(**(parts | changes.get(name, {}))))
    return made


def test_columns_come_in_the_order_of_the_features_and_optional_ones_may_be_absent():
    columns = read_columns(FEATURES, tensors(dict(reversed(GOOD.items()))))
    assert columns == {"carrier": ["UA"], "distance": [1400], "temp": [39.5], "holiday": [None]}
    assert list(columns) == [feature.name for feature in FEATURES]


def test_null_is_a_missing_value_and_a_column_of_nulls_may_have_any_datatype():
    columns = read_columns(FEATURES, tensors(GOOD | {"carrier": [None]}, carrier={"datatype": "FP64"}))
    assert columns["carrier"] == [None]


def test_whole_numbers_may_travel_as_floats_and_floats_as_whole_numbers():
    made = tensors(
        GOOD | {"distance": [1400.0], "temp": [39]}, distance={"datatype": "FP64"}, temp={"datatype": "INT64"}
    )
    assert read_columns(FEATURES, made)["distance"] == [1400]


@pytest.mark.parametrize(
    ("columns", "changes", "message"),
    [
        (GOOD | {"tmp": [1.0]}, {}, "inputs.tmp: .* did you mean 'temp'. One of carrier, distance, temp, holiday"),
        ({"temp": [1.0]}, {}, "one tensor per feature; missing: carrier, distance"),
        ({}, {}, "missing: carrier, distance, temp"),
        (GOOD | {"temp": [1.0, 2.0]}, {}, "inputs.temp.shape: 2 .* 1 values, as many as 'carrier' has"),
        (GOOD, {"temp": {"shape": [3]}}, r"inputs.temp.data: '1 values' .* 3 values, as the tensor's shape \[3\] says"),
        (GOOD, {"temp": {"shape": [1, 2]}}, r"inputs.temp.shape: \[1, 2\] .* one column per tensor"),
        (GOOD, {"temp": {"data": None}}, "inputs.temp.data: None .* a flat JSON list of values"),
        (GOOD, {"carrier": {"datatype": "FP64"}}, "inputs.carrier.datatype: 'FP64' .* BYTES for the string feature"),
        (GOOD | {"carrier": [7]}, {}, r"inputs.carrier.data\[0\]: 7 .* a string, or null if missing"),
        (GOOD | {"temp": ["warm"]}, {}, r"inputs.temp.data\[0\]: 'warm' .* a finite number, or null if missing"),
        (GOOD | {"temp": [math.nan]}, {}, r"inputs.temp.data\[0\]: nan .* a finite number, or null if missing"),
        (GOOD | {"temp": [True]}, {}, r"inputs.temp.data\[0\]: True .* a finite number"),
        (GOOD | {"distance": [1.5]}, {}, r"inputs.distance.data\[0\]: 1.5 .* a whole number"),
        (GOOD | {"holiday": [1]}, {}, r"inputs.holiday.data\[0\]: 1 .* true or false"),
        ({name: [] for name in GOOD}, {}, f"inputs.shape: 0 .* 1 to {MAX_ROWS} rows"),
        ({name: data * (MAX_ROWS + 1) for name, data in GOOD.items()}, {}, f"1 to {MAX_ROWS} rows"),
    ],
)
def test_a_wrong_request_is_told_what_is_accepted(columns, changes, message):
    with pytest.raises(SpecificationError, match=message):
        read_columns(FEATURES, tensors(columns, **changes))


def test_a_repeated_feature_is_refused():
    made = tensors(GOOD)
    with pytest.raises(SpecificationError, match=r"inputs.carrier: .* each feature once"):
        read_columns(FEATURES, [*made, made[0]])


def test_datatypes_follow_the_values():
    rows = [{"a": "x", "b": 1, "c": 1, "d": True, "e": None}, {"a": None, "b": 2, "c": 2.5, "d": False, "e": None}]
    request = build_request(rows, "flight-1")
    assert request["id"] == "flight-1"
    assert {tensor["name"]: tensor["datatype"] for tensor in request["inputs"]} == {
        "a": "BYTES", "b": "INT64", "c": "FP64", "d": "BOOL", "e": "FP64"
    }  # fmt: skip
    assert all(tensor["shape"] == [2] for tensor in request["inputs"])


def test_nan_is_sent_as_null():
    assert build_request([{"temp": math.nan}])["inputs"][0]["data"] == [None]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "at least one row"),
        ([{"a": 1}, {"b": 1}], r"rows\[1\]: \['b'\] .* the features of the first row: \['a'\]"),
        ([{"a": math.inf}], "rows.a: inf .* JSON has no infinity"),
        ([{"a": [1]}], r"rows.a: \[1\] .* a string, a number"),
    ],
)
def test_rows_that_cannot_be_sent_are_refused(rows, message):
    with pytest.raises(SpecificationError, match=message):
        build_request(rows)


def test_probabilities_are_read_from_the_output():
    assert read_probabilities({"outputs": [{"name": "probability", "data": [0.25, 1]}]}, 2) == [0.25, 1.0]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"outputs": []}, "no output 'probability'"),
        (["nonsense"], "no output 'probability'"),
        ({"outputs": [{"name": "probability", "data": [0.5]}]}, r"\[0.5\] for 2 rows; one number each"),
        ({"outputs": [{"name": "probability", "data": ["a", "b"]}]}, "one number each"),
    ],
)
def test_an_answer_without_probabilities_is_an_error(document, message):
    with pytest.raises(ContractError, match=message):
        read_probabilities(document, 2)
