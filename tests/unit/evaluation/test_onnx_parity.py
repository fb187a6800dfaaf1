"""Parity: what is measured, and that every bound can be broken."""

from __future__ import annotations

import pytest

from airflow_mlops.codec import decode, encode
from airflow_mlops.evaluation.onnx_parity import OnnxSpec, ParityReport, broken_bounds, measure_parity
from airflow_mlops.exceptions import ContractError, SpecificationError

np = pytest.importorskip("numpy")

GOOD = ParityReport(rows=1000, agreement=1.0, median=1e-8, p99=1e-7, maximum=1e-6, beyond=0)


def test_differences_are_told_by_their_quantiles_and_labels_by_their_share():
    original = np.full(1000, 0.4)
    exported = original.copy()
    exported[:5] = 0.6
    exported[5:20] += 0.002
    found = measure_parity(original, exported, threshold=0.5)
    assert found == ParityReport(
        rows=1000, agreement=0.995, median=0.0, p99=pytest.approx(0.002), maximum=pytest.approx(0.2), beyond=20
    )
    assert measure_parity(original, exported, threshold=None).agreement is None


def test_equal_answers_are_parity():
    found = measure_parity(np.linspace(0, 1, 1000), np.linspace(0, 1, 1000), threshold=0.5)
    assert broken_bounds(found, OnnxSpec()) == ()
    assert decode(ParityReport, encode(found)) == found


@pytest.mark.parametrize(
    ("worse", "message"),
    [
        ({"rows": 499}, "499 rows, at least 500 are asked for"),
        ({"agreement": 0.99}, "99.000 % called the same, at least 99.9 % asked for"),
        ({"median": 1e-3}, "median difference 0.001, at most 1e-05 accepted"),
        ({"p99": 0.02}, "99th percentile difference 0.02, at most 0.001 accepted"),
        ({"maximum": 0.08}, "largest difference 0.08, at most 0.05 accepted"),
    ],
)
def test_every_bound_can_be_broken(worse, message):
    assert broken_bounds(GOOD, OnnxSpec()) == ()
    assert broken_bounds(ParityReport(**{**encode(GOOD), **worse}), OnnxSpec()) == (message,)


@pytest.mark.parametrize(
    ("exported", "message"),
    [
        (np.full(10, np.nan), "10 answers that are no numbers"),
        (np.zeros(9), r"gave \(9,\) answers and the original \(10,\)"),
        (np.zeros((10, 1)), r"gave \(10, 1\) answers and the original \(10,\)"),
    ],
)
def test_what_is_no_answer_is_no_parity(exported, message):
    with pytest.raises(ContractError, match=message):
        measure_parity(np.zeros(10), exported, threshold=0.5)
    with pytest.raises(ContractError, match="answers"):
        measure_parity(np.zeros(0), np.zeros(0), threshold=0.5)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"minimum_agreement": 0}, "a share above 0, at most 1"),
        ({"maximum": -1}, "0 or a number above"),
        ({"minimum_rows": 0}, "at least 1"),
        ({"threshold": 1}, "between 0 and 1"),
        ({"numbers": "half"}, "one of 'float', 'double'"),
        ({"max": 1}, "no such field"),
    ],
)
def test_bounds_that_make_no_sense_are_refused(spec, message):
    with pytest.raises(SpecificationError, match=message):
        decode(OnnxSpec, spec, where="parity")
