"""The pictures: where marks stand, that text stays text, and that they tell their numbers."""

from __future__ import annotations

import re
from itertools import pairwise
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_mlops.exceptions import SpecificationError
from airflow_mlops.plots import (
    Bar,
    Curve,
    ForestRow,
    Picture,
    ReliabilityPoint,
    bars,
    confusion,
    curves,
    forest,
    histogram,
    reliability,
)
from airflow_mlops.plots.svg import Scale, number

SVG = "{http://www.w3.org/2000/svg}"
NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


def tree(drawn: Picture) -> ET.Element:
    return ET.fromstring(drawn)


def all_of(drawn: Picture, tag: str) -> list[ET.Element]:
    return list(tree(drawn).iter(SVG + tag))


def words(drawn: Picture) -> list[str]:
    return [one.text or "" for one in all_of(drawn, "text")]


def percent(element: ET.Element, name: str) -> float:
    return float(element.attrib[name].removesuffix("%"))


def row(label: str, value: float, low: float, high: float) -> ForestRow:
    return ForestRow(label=label, value=value, low=low, high=high)


EVERY = (
    forest([row("<b>&\"'", 0.5, 0.4, 0.6)], title="<script>alert(1)</script>", reference=0.5),
    bars([Bar(label="<b>&\"'", value=1.0, low=0.5, high=1.5, other=0.7)], title="<script>alert(1)</script>"),
    curves(
        [Curve(name="<b>&\"'", points=[(0, 0), (1, 1)])], title="<script>alert(1)</script>", x_name="<x>", y_name="<y>"
    ),
    histogram(
        [0, 1, 2], [Curve(name="<b>&\"'", points=[(0, 1), (0, 2)])], title="<script>alert(1)</script>", x_name="<x>"
    ),
    reliability(
        [ReliabilityPoint(predicted=0.1, observed=0.2, low=0.1, high=0.3, rows=10)], title="<script>alert(1)</script>"
    ),
    confusion(
        true_positives=1,
        false_positives=2,
        false_negatives=3,
        true_negatives=4,
        title="<script>alert(1)</script>",
    ),
)


@pytest.mark.parametrize("drawn", EVERY)
def test_every_picture_is_well_formed_says_what_it_is_and_runs_nothing(drawn: Picture) -> None:
    root = tree(drawn)
    assert root.attrib["role"] == "img"
    assert root[0].tag == SVG + "title"
    assert root[0].text == "<script>alert(1)</script>"
    assert root[1].tag == SVG + "desc"
    assert root[1].text
    assert not all_of(drawn, "script")
    assert not all_of(drawn, "b")


@pytest.mark.parametrize("drawn", EVERY)
def test_colours_are_the_pages_own(drawn: Picture) -> None:
    found = {one.attrib[name] for one in tree(drawn).iter() for name in ("fill", "stroke") if name in one.attrib}
    assert found
    assert all(colour in {"none", "currentColor"} or colour.startswith("var(--") for colour in found)


@pytest.mark.parametrize("drawn", EVERY)
def test_nothing_is_fetched(drawn: Picture) -> None:
    assert "href" not in drawn
    assert "url(" not in drawn


def test_a_template_takes_a_picture_as_it_is_and_escapes_everything_else() -> None:
    jinja2 = pytest.importorskip("jinja2", reason="pages are rendered with it")
    template = jinja2.Environment(autoescape=True).from_string("{{ drawn }}{{ words }}")
    assert template.render(drawn=EVERY[0], words="<b>") == f"{EVERY[0]}&lt;b&gt;"


def test_intervals_stand_in_order_and_the_line_at_its_place() -> None:
    drawn = forest([row("one", 0.2, 0.1, 0.3), row("two", 0.8, 0.6, 0.9)], title="t", reference=0.3)
    first, second = all_of(drawn, "circle")
    assert percent(first, "cx") < percent(second, "cx")
    assert float(first.attrib["cy"]) < float(second.attrib["cy"])
    lines = all_of(drawn, "line")
    reference = next(one for one in lines if "--ink" in one.attrib["stroke"])
    interval = next(one for one in lines if one.attrib["stroke-width"] == "3")
    assert percent(interval, "x1") < percent(first, "cx") < percent(interval, "x2")
    assert percent(interval, "x2") == percent(reference, "x1") == percent(reference, "x2")
    assert "one: 0.20 (0.10 to 0.30)" in (tree(drawn)[1].text or "")


def test_differences_have_signs_and_zero_has_none() -> None:
    drawn = forest([row("d", 0.0, -0.01, 0.02)], title="t", reference=0.0, signed=True)
    shown = words(drawn)
    assert any(re.fullmatch(r"0\.0+ \(-0\.01\d* to \+0\.02\d*\)", one) for one in shown)


def test_a_long_label_is_cut_and_kept_whole_for_those_who_point_at_it() -> None:
    long = "carrier = " + "x" * 80
    drawn = forest([row(long, 1, 0, 2)], title="t")
    text = next(one for one in all_of(drawn, "text") if (one.text or "").startswith("carrier"))
    assert (text.text or "").endswith("…")
    assert text[0].text == long


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS).map(sorted), min_size=1, max_size=6), NUMBERS)
def test_whatever_the_numbers_are_the_marks_stand_inside(many: list[list[float]], reference: float) -> None:
    drawn = forest([row("r", one[1], one[0], one[2]) for one in many], title="t", reference=reference)
    places = [percent(one, name) for one in all_of(drawn, "line") for name in ("x1", "x2")]
    places += [percent(one, "cx") for one in all_of(drawn, "circle")]
    assert all(0 <= place <= 100 for place in places)


@given(NUMBERS, st.floats(1e-6, 1e6))
def test_ticks_are_few_even_and_on_the_scale(low: float, span: float) -> None:
    scale = Scale(low, low + span, 0, 100)
    ticks = scale.ticks()
    assert len(ticks) <= 8
    assert all(scale.low - 1e-6 * span <= tick <= scale.high + 1e-6 * span for tick in ticks)
    steps = [second - first for first, second in pairwise(ticks)]
    assert all(step == pytest.approx(steps[0], rel=1e-3, abs=1e-9) for step in steps)


@pytest.mark.parametrize(
    ("found", "step", "sign", "text"),
    [
        (0.12345, 0.01, False, "0.12"),
        (0.5, 0.25, False, "0.50"),
        (0.0, 0.1, True, "0.0"),
        (0.02, 0.01, True, "+0.02"),
        (-0.0001, 0.01, True, "0.00"),
        (12000.0, 1000.0, False, "12,000"),
        (0.00123, None, False, "0.00123"),
        (0.0, None, True, "0"),
    ],
)
def test_numbers_have_the_digits_that_matter(found: float, step: float | None, sign: bool, text: str) -> None:
    assert number(found, step=step, sign=sign) == text


def test_bars_grow_from_zero_both_ways() -> None:
    drawn = bars([Bar(label="up", value=3.0), Bar(label="down", value=-1.0)], title="t")
    up, down = all_of(drawn, "rect")
    assert percent(up, "x") == pytest.approx(percent(down, "x") + percent(down, "width"), abs=0.02)
    assert percent(up, "width") == pytest.approx(3 * percent(down, "width"), abs=0.05)


def test_nothing_but_zeros_is_still_a_picture() -> None:
    (only,) = all_of(bars([Bar(label="none", value=0.0)], title="t"), "rect")
    assert percent(only, "width") == 0


def test_a_curve_goes_from_corner_to_corner() -> None:
    drawn = curves([Curve(name="c", points=[(0, 0), (1, 1)])], title="t", x_name="x", y_name="y")
    (line,) = all_of(drawn, "polyline")
    assert line.attrib["points"] == "0.0,1000.0 1000.0,0.0"
    assert "c" in words(drawn)


def test_a_histogram_is_steps_that_begin_and_end_at_nothing() -> None:
    drawn = histogram([0, 1, 2], [Curve(name="c", points=[(0, 1), (0, 2)])], title="t", x_name="x")
    (line,) = all_of(drawn, "polyline")
    assert line.attrib["points"].split() == [
        *("0.0,1000.0", "0.0,500.0", "500.0,500.0"),
        *("500.0,0.0", "1000.0,0.0", "1000.0,1000.0"),
    ]
    with pytest.raises(SpecificationError, match="2 bins"):
        histogram([0, 1, 2], [Curve(name="c", points=[(0, 1)])], title="t", x_name="x")


def test_a_calibrated_group_stands_on_the_diagonal() -> None:
    point = ReliabilityPoint(predicted=0.2, observed=0.2, low=0.1, high=0.4, rows=9)
    drawn = reliability([point], title="t")
    (mark,) = all_of(drawn, "circle")
    diagonal = next(one for one in all_of(drawn, "line") if "stroke-dasharray" in one.attrib)
    x1, x2 = percent(diagonal, "x1"), percent(diagonal, "x2")
    y1, y2 = float(diagonal.attrib["y1"]), float(diagonal.attrib["y2"])
    along = (percent(mark, "cx") - x1) / (x2 - x1)
    assert float(mark.attrib["cy"]) == pytest.approx(y1 + along * (y2 - y1), abs=0.1)


def test_a_confusion_matrix_tells_counts_and_shares_of_the_label() -> None:
    drawn = confusion(true_positives=30, false_positives=5, false_negatives=10, true_negatives=1995, title="t")
    shown = words(drawn)
    assert [one for one in shown if one.replace(",", "").isdigit()] == ["30", "10", "5", "1,995"]
    assert "75.0%" in shown
    assert "label 0, predicted 1: 5 (0.2% of the label)" in (tree(drawn)[1].text or "")


@pytest.mark.parametrize(
    "draw",
    [
        lambda: forest([], title="t"),
        lambda: forest([row("r", float("nan"), 0, 1)], title="t"),
        lambda: forest([row("r", 0, 0, float("inf"))], title="t"),
        lambda: bars([], title="t"),
        lambda: bars([Bar(label="b", value=float("nan"))], title="t"),
        lambda: curves([], title="t", x_name="x", y_name="y"),
        lambda: curves([Curve(name="c", points=[(0, float("nan"))])], title="t", x_name="x", y_name="y"),
        lambda: reliability([], title="t"),
        lambda: confusion(true_positives=0, false_positives=0, false_negatives=0, true_negatives=0, title="t"),
        lambda: confusion(true_positives=-1, false_positives=0, false_negatives=0, true_negatives=9, title="t"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw: object) -> None:
    with pytest.raises(SpecificationError):
        draw()  # type: ignore[operator]
