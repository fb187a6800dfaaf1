"""When data are ready, from one look to the next."""

from __future__ import annotations

import pytest

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.validation.readiness import Arrival, FileFact, look

PART = FileFact(path="part-0.parquet", size_bytes=10, version="1")
MARKER = FileFact(path="_SUCCESS", size_bytes=0)
HIDDEN = FileFact(path="_temporary/part-1.parquet", size_bytes=10)


def arrival(**change) -> Arrival:
    return Arrival(**({"uri": "/data/2013-03", "quiet_seconds": 60} | change))


def test_data_are_ready_when_they_have_not_changed_for_long_enough():
    first = look(arrival(), [PART], None, now=1000)
    second = look(arrival(), [PART], first.unchanged, now=1059)
    third = look(arrival(), [PART, HIDDEN], second.unchanged, now=1060)

    assert [one.ready for one in (first, second, third)] == [False, False, True]
    assert third.reason == "1 data file(s) with 10 bytes, unchanged for 60 of 60 seconds"


@pytest.mark.parametrize(
    "later",
    [
        [FileFact(path="part-0.parquet", size_bytes=11, version="1")],
        [FileFact(path="part-0.parquet", size_bytes=10, version="2")],
        [FileFact(path="part-1.parquet", size_bytes=10, version="1")],
        [PART, FileFact(path="part-1.parquet", size_bytes=0)],
    ],
)
def test_any_change_begins_the_quiet_time_anew(later):
    first = look(arrival(), [PART], None, now=1000)
    second = look(arrival(), later, first.unchanged, now=1100)

    assert not second.ready
    assert second.unchanged is not None
    assert second.unchanged.since == 1100


def test_data_that_vanish_are_forgotten():
    first = look(arrival(), [PART], None, now=1000)
    gone = look(arrival(), [], first.unchanged, now=1030)
    back = look(arrival(), [PART], gone.unchanged, now=1060)

    assert (gone.unchanged, gone.reason) == (None, "0 data file(s) with 0 bytes, 1 expected")
    assert not back.ready


def test_a_marker_decides_at_once_but_not_without_data():
    waiting = arrival(marker="_SUCCESS", min_files=1)

    assert not look(waiting, [PART], None, now=0).ready
    assert look(waiting, [PART, MARKER], None, now=0).ready
    empty = look(waiting, [MARKER, HIDDEN], None, now=0)
    assert (empty.ready, empty.reason) == (False, "0 data file(s) with 0 bytes, 1 expected, although _SUCCESS is there")


def test_a_marker_is_no_data_whatever_its_name():
    waiting = arrival(marker="done.txt", min_files=2)

    assert not look(waiting, [PART, FileFact(path="done.txt", size_bytes=1)], None, now=0).ready


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"uri": "data"}, "uri"),
        ({"marker": ""}, "marker"),
        ({"marker": "/data/_SUCCESS"}, "marker"),
        ({"quiet_seconds": 0}, "quiet_seconds"),
        ({"quiet_seconds": "60"}, "quiet_seconds"),
        ({"min_files": 0}, "min_files"),
    ],
)
def test_what_could_be_ready_before_anything_has_come_is_refused(change, field):
    with pytest.raises(SpecificationError, match=f"^{field}: "):
        arrival(**change)
