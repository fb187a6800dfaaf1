"""Quantiles of Student's distribution."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.stats.student import student_quantile


@pytest.mark.parametrize(
    ("confidence", "degrees", "expected"),
    [
        # Published tables of critical values.
        (0.95, 1, 12.7062047362),
        (0.95, 2, 4.3026527297),
        (0.90, 5, 2.0150483733),
        (0.95, 29, 2.0452296421),
        (0.99, 30, 2.7499956536),
        (0.95, 1_000_000, 1.9599663),
    ],
)
def test_it_agrees_with_the_tables(confidence, degrees, expected):
    assert student_quantile(confidence, degrees) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("confidence", "degrees"), [(1.0, 5), (0.0, 5), (0.95, 0)])
def test_what_has_no_quantile_is_refused(confidence, degrees):
    with pytest.raises(SpecificationError, match=r"confidence|degrees_of_freedom"):
        student_quantile(confidence, degrees)
