from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import DigestMismatchError, LeaseHeldError, SpecificationError
from airflow_mlops.verdict import CheckResult, Verdict, combine


def _check(verdict: Verdict) -> CheckResult:
    return CheckResult(name="x", verdict=verdict, reason="because")


def test_no_checks_are_an_error():
    assert combine([]) is Verdict.ERROR
    assert not combine([]).promotes


@given(st.lists(st.sampled_from(Verdict), min_size=1))
def test_the_worst_wins_in_any_order(verdicts: list[Verdict]):
    worst = combine(map(_check, verdicts))
    assert worst in verdicts
    assert all(verdict.severity <= worst.severity for verdict in verdicts)
    assert combine(map(_check, reversed(verdicts))) is worst


def test_only_pass_and_warn_promote():
    assert [verdict for verdict in Verdict if verdict.promotes] == [Verdict.PASS, Verdict.WARN]


@pytest.mark.parametrize(
    "error",
    [
        SpecificationError("steps[1].weight_percent", 140, "a number from 0 to 100"),
        DigestMismatchError("file:///m", "sha256:a", "sha256:b"),
        LeaseHeldError("flights", "run 7"),
    ],
)
def test_errors_cross_processes(error):
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), vars(copy)) == (type(error), str(error), vars(error))


def test_a_long_value_is_shortened_in_the_message():
    assert len(str(SpecificationError("field", "x" * 10_000, "less"))) < 300
