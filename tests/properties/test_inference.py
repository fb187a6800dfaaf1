"""What goes out is what arrives."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.container.inference import Feature, Tensor, build_request, read_columns

VALUES = {
    "string": st.text(),
    "number": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)),
    "integer": st.integers(-(2**53), 2**53),
    "boolean": st.booleans(),
}


@st.composite
def columns(draw):
    kinds = draw(
        st.dictionaries(st.text(min_size=1, max_size=5), st.sampled_from(sorted(VALUES)), min_size=1, max_size=5)
    )
    rows = draw(st.integers(1, 4))
    data = {
        name: draw(st.lists(st.none() | VALUES[kind], min_size=rows, max_size=rows)) for name, kind in kinds.items()
    }
    return kinds, data


@given(columns())
def test_values_survive_the_journey(made):
    kinds, data = made
    rows = [dict(zip(data, values, strict=True)) for values in zip(*data.values(), strict=True)]
    request = json.loads(json.dumps(build_request(rows, "id")))
    tensors = [Tensor(**tensor) for tensor in request["inputs"]]
    features = [Feature(name=name, kind=kind) for name, kind in kinds.items()]
    assert read_columns(features, tensors) == data
