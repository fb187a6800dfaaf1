from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from airflow_mlops.codec import canonical_json, decode, digest_of, encode
from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.verdict import Verdict


@dataclass(frozen=True, kw_only=True)
class Inner:
    share: float
    label: str | None = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    count: int
    flag: bool = False
    mode: Literal["fast", "slow"] = "fast"
    verdict: Verdict = Verdict.PASS
    inner: Inner | None = None
    steps: tuple[Inner, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)
    threshold: int | str = 0


FULL = Outer(
    name="n",
    count=3,
    flag=True,
    mode="slow",
    verdict=Verdict.WARN,
    inner=Inner(share=0.5, label="l"),
    steps=(Inner(share=1.0), Inner(share=0.0)),
    extra={"a": [1, {"b": None}]},
    threshold="high",
)


def test_a_value_round_trips():
    assert decode(Outer, encode(FULL)) == FULL
    assert decode(Outer, FULL) is FULL
    assert decode(Outer, {"name": "n", "count": 1}) == Outer(name="n", count=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cuont": 1}, r"Outer\.cuont: 1 is not accepted; expected no such field; did you mean 'count'\? One of name"),
        ({"zzz": 1}, r"expected no such field; one of name, count"),
        ({"count": "3"}, r"Outer\.count: '3' is not accepted; expected a whole number"),
        ({"count": True}, r"Outer\.count: True is not accepted; expected a whole number"),
        ({"count": 1.5}, r"expected a whole number"),
        ({"flag": 1}, r"Outer\.flag: 1 is not accepted; expected true or false"),
        ({"name": None}, r"Outer\.name: None is not accepted; expected a string"),
        ({"mode": "quick"}, r"Outer\.mode: 'quick' is not accepted; expected one of 'fast', 'slow'"),
        ({"verdict": "great"}, r"Outer\.verdict: 'great' is not accepted; expected one of 'pass', 'warn'"),
        ({"inner": {"share": "much"}}, r"Outer\.inner\.share: 'much' is not accepted; expected a finite number"),
        ({"inner": {"share": math.nan}}, r"Outer\.inner\.share: nan is not accepted; expected a finite number"),
        ({"inner": {}}, r"Outer\.inner\.share: None is not accepted; expected a value: share is required"),
        ({"inner": 7}, r"Outer\.inner: 7 is not accepted; expected a mapping with the fields of Inner"),
        ({"steps": [{"share": 1}, {"share": None}]}, r"Outer\.steps\[1\]\.share: None"),
        ({"steps": "abc"}, r"Outer\.steps: 'abc' is not accepted; expected a list"),
        ({"extra": [1]}, r"Outer\.extra: \[1\] is not accepted; expected a mapping"),
        ({"threshold": 1.5}, r"Outer\.threshold: 1\.5 is not accepted; expected int or str"),
    ],
)
def test_a_wrong_value_is_named_with_its_path(change, message):
    with pytest.raises(SpecificationError, match=message):
        decode(Outer, encode(FULL) | change)


def test_a_missing_field_is_named():
    with pytest.raises(SpecificationError, match=r"policy\.name: None is not accepted; expected a value: name is requ"):
        decode(Outer, {"count": 1}, where="policy")


def test_what_is_no_json_is_refused():
    with pytest.raises(TypeError, match="set cannot be encoded as JSON"):
        encode({"a": {1}})
    with pytest.raises(ValueError, match="Out of range float"):
        canonical_json(math.inf)


def test_equal_values_have_equal_digests():
    assert digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
    assert digest_of({"a": 1}) != digest_of({"a": 2})
    assert canonical_json({"ä": "é"}) == '{"ä":"é"}'
