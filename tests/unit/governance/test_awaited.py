from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.governance.awaited import Awaited, RegisteredVersion, Sighting, Watched
from airflow_mlops.governance.versions import model_tags
from airflow_mlops.references import ModelRef

MODEL = ModelRef(uri="file:///m", digest="sha256:" + "a" * 64, format="mlflow", size_bytes=12)


def _seen(*numbers: int, champion: int | None = None, pending: int | None = None, **tags: str) -> Sighting:
    return Sighting(
        aliases={"champion": str(champion)} if champion else {},
        versions=tuple(
            RegisteredVersion(
                name="m", number=number, tags=tags, status="PENDING_REGISTRATION" if number == pending else "READY"
            )
            for number in numbers
        ),
    )


@pytest.mark.parametrize(
    ("awaited", "seen", "found"),
    [
        ({}, _seen(), None),
        ({}, _seen(1, 2), "2"),
        ({"after_version": "2"}, _seen(1, 2), None),
        ({"after_version": "2"}, _seen(1, 2, 10), "10"),
        ({"after_version": "2"}, _seen(2, 3, pending=3), None),
        ({"alias": "champion"}, _seen(1, 2), None),
        ({"alias": "champion"}, _seen(1, 2, champion=1), "1"),
        ({"alias": "champion", "after_version": "1"}, _seen(1, 2, champion=1), None),
        ({"alias": "champion", "after_version": "2"}, _seen(1, 2, champion=1), "1"),
        ({"tag": "ok"}, _seen(1, ok=""), None),
        ({"tag": "ok"}, _seen(1, ok="yes"), "1"),
        ({"tag": "ok", "tag_value": "no"}, _seen(1, ok="yes"), None),
        ({"tag": "ok", "tag_value": "yes"}, _seen(1, ok="yes"), "1"),
        ({"tag": "ok", "alias": "champion"}, _seen(1, champion=1), None),
    ],
)
def test_the_newest_version_that_fits_is_found(awaited, seen, found):
    one = Awaited(model_name="m", **awaited).found(seen)
    assert (one.version if one else None) == found


@pytest.mark.parametrize(
    ("awaited", "message"),
    [
        ({"model_name": ""}, "model_name: '' is not accepted"),
        ({"alias": "production"}, "one of 'champion', 'challenger'"),
        ({"after_version": "v3"}, "after_version: 'v3' is not accepted; expected a version number such as '3'"),
        ({"tag_value": "x"}, "the key of the tag"),
    ],
)
def test_what_no_version_can_be_is_refused(awaited, message):
    with pytest.raises(SpecificationError, match=message):
        Awaited(**({"model_name": "m"} | awaited))


def test_it_says_what_is_waited_for():
    assert Awaited(model_name="m", after_version="3").words == "a version of 'm' higher than 3"
    awaited = Awaited(model_name="m", alias="champion", after_version="3", tag="ok", tag_value="yes")
    assert awaited.words == "the champion of 'm' other than 3 with the tag ok = 'yes'"


def test_a_version_says_where_its_files_are_if_it_knows():
    assert RegisteredVersion(name="m", number=1, tags=model_tags(MODEL)).model == MODEL
    assert RegisteredVersion(name="m", number=1).model is None


def _told(watched: Watched, seen: Sighting, cursor: str) -> tuple[list[str], str]:
    told = []
    for event, behind in watched.news(seen, cursor):
        cursor = behind
        told += [event.version] if event else []
    return told, cursor


def test_a_version_that_is_still_being_made_holds_up_those_after_it():
    watched = Watched(model_name="m")
    assert _told(watched, _seen(1, 2, 3, pending=2), "0") == (["1"], "1")
    assert _told(watched, _seen(1, 2, 3), "1") == (["2", "3"], "3")
    assert watched.start(_seen(1, 2, 3, pending=2)) == "1"
    assert watched.start(_seen()) == "0"


def test_an_alias_that_moved_while_we_looked_is_told_of_later():
    watched = Watched(model_name="m", alias="champion")
    assert _told(watched, _seen(1, champion=2), "1") == ([], "1")
    assert _told(watched, _seen(1, 2, champion=2), "1") == (["2"], "2")
    assert _told(watched, _seen(1, 2), "2") == ([], "")


def test_the_same_event_has_the_same_key_whoever_tells_of_it():
    watched = Watched(model_name="m")
    (one, _), (other, _) = watched.news(_seen(1, 2), "0")
    ((again, _),) = watched.news(_seen(1, 2, note="later"), "1")
    assert other.key == again.key != one.key


@given(st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), max_size=30))
def test_every_version_is_told_of_once_however_looks_and_registrations_alternate(steps):
    watched, cursor, told, count = Watched(model_name="m"), "0", [], 0
    for made, is_pending, looks in steps:
        count += made
        if looks:
            seen = _seen(*range(1, count + 1), pending=count if is_pending else None)
            new, cursor = _told(watched, seen, cursor)
            told += new
    new, _ = _told(watched, _seen(*range(1, count + 1)), cursor)
    assert told + new == [str(number) for number in range(1, count + 1)]
