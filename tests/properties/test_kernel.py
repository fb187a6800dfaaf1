"""What must hold of every value that crosses a boundary."""

from __future__ import annotations

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_mlops.codec import canonical_json, decode, digest_of, encode
from airflow_mlops.evidence import Evidence, Origin, chain, verify_chain
from airflow_mlops.exceptions import ContractError
from airflow_mlops.manifest import FileEntry, Manifest
from airflow_mlops.references import DatasetRef, ModelRef
from airflow_mlops.verdict import CheckResult, Verdict

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
number = st.floats(allow_nan=False, allow_infinity=False)
json_value = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | number | text,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
    max_leaves=8,
)
facts = st.dictionaries(text, json_value, max_size=3)
digests = st.from_regex(r"\Asha256:[0-9a-f]{64}\Z")
checks = st.builds(
    CheckResult,
    name=text,
    verdict=st.sampled_from(Verdict),
    reason=text,
    value=st.none() | number,
    low=st.none() | number,
    sample_size=st.none() | st.integers(0),
    details=facts,
)
documents = st.builds(
    Evidence,
    decision=st.sampled_from(["validation", "gate", "rollout", "promotion", "drift"]),
    subject=text,
    verdict=st.sampled_from(Verdict),
    checks=st.lists(checks, max_size=3).map(tuple),
    origin=st.builds(Origin, dag_id=text, run_id=text, task_id=text, try_number=st.integers(0), map_index=st.just(-1)),
    decided_at=number,
    references=facts,
    policy=facts,
    notes=facts,
    seeds=st.dictionaries(text, st.integers(), max_size=2),
)
datasets = st.builds(
    DatasetRef,
    uri=text.filter(bool),
    digest=digests,
    format=text,
    size_bytes=st.integers(0),
    rows=st.integers(0),
    partition=st.none() | text,
    columns=st.dictionaries(text, text, max_size=3),
)
models = st.builds(ModelRef, uri=text.filter(bool), digest=digests, format=text, size_bytes=st.integers(0))
manifests = st.builds(
    Manifest,
    files=st.lists(st.builds(FileEntry, path=text, sha256=text, size_bytes=st.integers(0)), max_size=4).map(tuple),
)


@given(st.one_of(documents, datasets, models, manifests))
def test_every_value_round_trips_through_json(value):
    through = json.loads(json.dumps(encode(value)))
    assert decode(type(value), through) == value
    assert digest_of(through) == digest_of(encode(value))


@given(json_value)
def test_the_canonical_form_is_one(value):
    assert canonical_json(json.loads(canonical_json(value))) == canonical_json(value)


@settings(max_examples=30)
@given(st.lists(documents.map(lambda one: replace(one, checks=())), min_size=2, max_size=4), st.data())
def test_any_change_before_the_end_is_found(given_documents, data):
    made: list[Evidence] = []
    for document in given_documents:
        made.append(chain(document, made))
    assert verify_chain(made) == tuple(made)
    position = data.draw(st.integers(0, len(made) - 2))
    changed = data.draw(number.filter(lambda one: one != made[position].decided_at))
    made[position] = replace(made[position], decided_at=changed)
    try:
        verify_chain(made)
    except ContractError:
        return
    raise AssertionError(f"document {position + 1} was changed and nobody noticed")
