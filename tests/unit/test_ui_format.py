"""How pages write values."""

from __future__ import annotations

import pytest

from airflow_mlops.ui.format import age, clock, iso, part, plain, short, sign, when
from airflow_mlops.verdict import Verdict


@pytest.mark.parametrize(
    ("found", "written"),
    [
        (None, "-"),
        (0, "0"),
        (27_564, "27,564"),
        (27_564.0, "27,564"),
        (1234.5, "1,234"),
        (0.63891, "0.6389"),
        (-0.00087934, "-0.0008793"),
        ("2013-01", "2013-01"),
        (float("inf"), "inf"),
    ],
)
def test_numbers_are_written_for_people(found: object, written: str) -> None:
    assert plain(found) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (None, "unknown"),
        (-5.0, "less than a second"),
        (0.4, "less than a second"),
        (1.0, "1 second"),
        (119.0, "1 minute"),
        (7200.0, "2 hours"),
        (41.5 * 86400, "41 days"),
    ],
)
def test_ages_have_one_unit(seconds: float | None, written: str) -> None:
    assert age(seconds) == written


def test_moments_are_in_utc() -> None:
    assert when(0.0) == "1970-01-01 00:00:00 UTC"
    assert when(None) == "unknown"
    assert iso(0.0) == "1970-01-01T00:00:00Z"
    assert clock(3661.0) == "01:01:01"


def test_every_verdict_has_a_sign_of_its_own() -> None:
    signs = [sign(verdict) for verdict in Verdict]
    assert len(set(signs)) == len(signs)
    assert "-" not in signs


def test_parts_of_addresses_stay_one_part() -> None:
    assert part("a/../b?c#d") == "a%2F..%2Fb%3Fc%23d"
    assert short("sha256:" + "a" * 64) == "sha256:" + "a" * 12
    assert short(None) == "none"
