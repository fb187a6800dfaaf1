"""Shares of the traffic: what the pictures show and tell."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots import Picture, weight_bar, weights_over_time

SVG = "{http://www.w3.org/2000/svg}"
CHANGES = [(0.0, {"v1": 90, "v2": 10}), (60.0, {"v1": 50, "v2": 50}), (90.0, {"v2": 100})]


def all_of(drawn: Picture, tag: str) -> list[ET.Element]:
    return list(ET.fromstring(drawn).iter(SVG + tag))


@given(st.lists(st.integers(0, 100), min_size=1, max_size=4).filter(any))
def test_a_bar_is_full_and_divided_like_the_weights(weights: list[int]) -> None:
    drawn = weight_bar({f"v{number}": weight for number, weight in enumerate(weights)}, title="flights")
    widths = [float(box.attrib["width"].removesuffix("%")) for box in all_of(drawn, "rect")]
    assert sum(widths) == pytest.approx(100, abs=0.05)
    shares = [weight / sum(weights) for weight in weights if weight]
    assert widths == pytest.approx([100 * share for share in shares], abs=0.01)


def test_the_target_under_test_has_the_colour() -> None:
    drawn = weight_bar({"v1": 75, "v2": 25}, title="flights", new="v2")
    assert ["--new" in box.attrib["fill"] for box in all_of(drawn, "rect")] == [False, True]
    assert all_of(drawn, "desc")[0].text == "v1 75 %, v2 25 %"


def test_weights_are_level_until_they_change() -> None:
    drawn = weights_over_time(CHANGES, title="flights", new="v2", until=120.0)
    drawn_of_candidate = [one for one in all_of(drawn, "line") if "--new" in one.attrib["stroke"]]
    level = [one for one in drawn_of_candidate if one.attrib["y1"] == one.attrib["y2"]]
    heights = [float(one.attrib["y1"]) for one in level[:3]]
    assert heights == sorted(heights, reverse=True)
    assert [one.attrib["x1"] for one in level[:3]] == ["0.00%", "49.50%", "74.25%"]
    told = all_of(drawn, "desc")[0].text
    assert told == "from 00:00:00 v1 90 %, v2 10 %; from 00:01:00 v1 50 %, v2 50 %; from 00:01:30 v2 100 %"


def test_lines_are_told_apart_without_colours() -> None:
    drawn = weights_over_time(CHANGES, title="flights", new="v2", until=120.0)
    for one in all_of(drawn, "line"):
        if one.attrib["stroke-width"] == "2":
            assert ("stroke-dasharray" in one.attrib) == ("--soft" in one.attrib["stroke"])


def test_one_moment_is_a_picture_too() -> None:
    assert all_of(weights_over_time(CHANGES[:1], title="flights", until=0.0), "line")


@pytest.mark.parametrize("weights", [{}, {"v1": 0}, {"v1": -1, "v2": 101}])
def test_a_bar_of_nothing_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(SpecificationError, match="percent of at least one target"):
        weight_bar(weights, title="flights")


def test_changes_out_of_order_are_refused() -> None:
    with pytest.raises(SpecificationError, match="oldest first"):
        weights_over_time(CHANGES[::-1], title="flights", until=120.0)


def test_names_stay_text() -> None:
    for drawn in (
        weight_bar({"<b>&\"'": 1}, title="<script>"),
        weights_over_time([(0.0, {"<b>&\"'": 100})], title="<script>", until=1.0),
    ):
        assert "<b>" not in drawn
        assert "<script>" not in drawn
        assert not [one for one in ET.fromstring(drawn).iter() if "style" in one.attrib]  # the pages' policy forbids it
